"""MCGAN as its authors published it: medigan's model 00008_C-DCGAN_MMG_MASSES, read into this suite's DCGAN.

Its file was not at hand. What is known of it, and from where (read in November 2026):

- medigan config/global.json: the file's name, 128 px, 100 latent numbers, class 0 malignant and 1 benign, MIT; record
  7382545, version 1.0.1, of November 2022. Version 1.0.0 has one file instead, 1750.pt, of June 2022.
- mammo_dp at 20caed7, mammo_gans_iwbi2022 before it and medigan's templates/examples: a checkpoint is a dict whose
  "generator" is the state dict, which names the first four layers with weights twice, in `first_layers` and in `main`;
  beside it may stand discriminators and optimisers. Width 64, an embedding of 2 classes and leaky slope 0.1 are those
  of mammo_dp's dcgan_config.yaml.
- inferred: that this file is laid out so, and has BatchNorm, since InstanceNorm cannot vary an image's mean as the
  published images do (spec §4.1). Any other layout is refused.
- measured on the 3,000 published images: black is 0 of the tanh, white 1, and what lies below 0 wraps around to white.
  In 205 of them neighbours differ by more than 200 grey values, in none of the 1,104 real crops (spec §7.1-6).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.core.inputs import reading
from lib.core.paths import root
from lib.core.regular_files import require_regular
from lib.core.seeding import initialising
from lib.models.gan.dcgan import Generator
from lib.models.pretrained.weights import load_stored, require_finite

WEIGHTS = "1400_ckpt_train_cbis_ddsm.pt"
DOI = "10.5281/zenodo.6647349"
_PARTS = {
    "generator", "discriminator", "discriminator2", "optim_generator", "optim_discriminator", "optim_discriminator2",
}  # fmt: skip
_OURS = {"main": "layers", "embed_nn": "condition"}
_FIRST = ("main.0.", "main.1.", "main.3.", "main.4.")  # which `first_layers` names again; 2 and 5 are ReLUs


class MCGAN(Generator):
    """(n, 100) noise and (n,) int64 classes, 0 malignant and 1 benign -> (n, 1, 128, 128) in [-1, 1].

    The published network draws black as 0, having seen real crops in [0, 1]. Here it is -1, as in every generator of
    this suite, and what lies below is clipped.
    """

    def __init__(self):
        super().__init__(image_size=128, latent=100, classes=2, width=64, norm="batch")

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return 2 * super().forward(noise, labels).clamp_min(0) - 1


def load_mcgan(path=None) -> MCGAN:
    """The network with its published weights, frozen, in eval mode, on the CPU, from `path` or data/weights/.

    FileNotFoundError that says where to get the file; ValueError for a damaged file, and for one that has a key, a
    shape or a dtype too few, too many or other than the published generator, in which nothing is guessed.
    """
    path = reading(path or root() / "data" / "weights" / WEIGHTS)
    if not path.exists():
        raise FileNotFoundError(
            f"There are no MCGAN weights at {path}: download 00008_C-DCGAN_MMG_MASSES.zip from https://doi.org/{DOI} "
            f"and put {WEIGHTS} out of it into data/weights/."
        )
    require_regular(path)
    try:
        stored = load_stored(path)
    except Exception as error:  # whatever a hostile or truncated file makes the reader raise
        raise ValueError(f"The weights file {path} is damaged or not plain tensors: download it again.") from error
    with initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        network = MCGAN()
    published = {_published(key): value for key, value in network.state_dict().items()}
    state = _generator(stored, published, path)
    network.load_state_dict({key: state[_published(key)] for key in network.state_dict()})
    return network.requires_grad_(False).eval()


def _published(key: str) -> str:
    """The published name of our `key`."""
    for theirs, ours in _OURS.items():
        if key.startswith(f"{ours}."):
            return f"{theirs}.{key.removeprefix(f'{ours}.')}"
    raise AssertionError(key)


def _generator(stored: Any, published: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state dict of the generator in `stored`, if it is `published` in names, shapes and dtypes."""
    parts = stored if isinstance(stored, dict) else {}
    state = parts.get("generator")
    if not isinstance(state, dict) or not parts.keys() <= _PARTS:
        found = ", ".join(sorted(repr(key) for key in parts)[:3]) or type(stored).__name__
        raise _refused(
            path, f"it holds {found}, and not a 'generator' beside nothing but discriminators and optimisers"
        )
    named_twice = {f"first_layers.{key.removeprefix('main.')}": key for key in published if key.startswith(_FIRST)}
    expected = dict(published)
    if any(str(key).startswith("first_layers.") for key in state):
        expected |= {alias: published[key] for alias, key in named_twice.items()}
    faults = [f"{key!r} is missing" for key in expected if key not in state]
    faults += [f"{key!r} is unknown" for key in state if key not in expected]
    faults += [
        f"{key!r} is {_kind(state[key])}, not {_kind(like)}"
        for key, like in expected.items()
        if key in state and _kind(state[key]) != _kind(like)
    ]
    if not faults:
        require_finite(state, path)
        faults = [
            f"{alias!r} is not equal to {key!r}"
            for alias, key in named_twice.items()
            if alias in state and not torch.equal(state[alias], state[key])
        ]
    if faults:
        raise _refused(path, f"{len(faults)} of its generator's keys differ, {faults[0]}")
    return state


def _kind(value: Any) -> str:
    """Dtype and shape of a tensor, or the type of what is none."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def _refused(path: Path, why: str) -> ValueError:
    return ValueError(f"The weights file {path} is not {WEIGHTS} as it is known, for {why}; get it from doi {DOI}.")
