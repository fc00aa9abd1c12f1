"""A generator that remembers: StyleGAN2's synthesis and one w for each training image, learnt together.

Generative latent optimisation (Bojanowski et al. 2018, arXiv 1707.05776) without a mapping: the loss is that of
`lib.training.gan.inversion`, pixels and Laplacian pyramid, and what is optimised are the weights and the latents.
Nothing rewards new images. It is the fixture of spec §9.5 of Pennisi et al. 2023: a generator that
holds a near-duplicate of every patient at a known place, so that what claims to avoid patients can be tested.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lib.core import seeding
from lib.models.gan.stylegan2 import SIZES, Generator
from lib.training.gan.inversion import laplacian_distance
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.trainer import finished_training, run_training


class AutoDecoder(NamedTuple):
    """Outcome of `train_autodecoder`, frozen."""

    generator: Generator  # its `synthesis` only: the mapping is untrained
    latents: Tensor  # (n, latent), the w of each training image


def train_autodecoder(
    images, *, path, seed: int, steps: int, batch: int = 32, latent: int = 512, maps: tuple = (512, 16384),
    learning_rate: float = 1e-2, latent_rate: float = 2e-2, device: torch.device | None = None,
    save_seconds: float = 60.0, progress: Callable | None = None,
) -> AutoDecoder:  # fmt: skip
    """Train weights and latents to draw the images (n, s, s) or (n, c, s, s) uint8 again, or fetch them from `path`.

    Each of `steps` updates draws `batch` images; both rates of Adam fall to 0 as a half cosine. The latents start as
    the first `latent` principal components of the images (Bojanowski et al., spec §4), each times the root of its SD,
    all together of mean square 1: neighbours then share what they have in common. latent, maps: see
    lib.models.gan.stylegan2. path, save_seconds and progress: see `lib.training.loop.trainer.run_training`; the
    randomness of a step depends on (seed, step) alone. ValueError for images of another kind, a batch or latent above
    n, or divergence.
    """
    device = device or seeding.device()
    examples = DeviceDataset(images, None, device=device)
    shape = tuple(examples.values.shape)
    if shape[2] != shape[3] or shape[2] not in SIZES or examples.values.dtype != torch.uint8:
        raise ValueError(f"The training images are {shape}, {examples.values.dtype}: give uint8 squares of {SIZES}.")
    for name, value in (("batch", batch), ("latent", latent)):
        if not 1 <= value <= shape[0]:
            raise ValueError(f"{name} is {value} for {shape[0]} images: give 1 to that many.")
    settings = {
        "model": "auto-decoder", "image_size": shape[2], "channels": shape[1], "latent": latent, "maps": maps,
        "steps": steps, "batch": batch, "learning_rate": learning_rate, "latent_rate": latent_rate, "seed": seed,
        "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: _Decoding(examples, settings, device), name="auto-decoder", path=path, settings=settings, steps=steps,
        save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _trained(tensors, settings, device)


def load_autodecoder(path, *, device: torch.device | None = None) -> AutoDecoder:
    """The finished training in folder `path`, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _trained(*finished_training(path, "auto-decoder"), device or seeding.device())


class _Decoding:
    """Generator, latents and their optimiser: `lib.training.loop.trainer.Steps`."""

    def __init__(self, examples: DeviceDataset, settings: dict, device: torch.device):
        self.examples, self.settings = examples, settings
        with seeding.initialising(settings["seed"], "autodecoder"):
            self.generator = _generator(settings).to(device)
        self.latents = _principal(examples, settings["latent"]).requires_grad_()
        weights = [value for name, value in self.generator.named_parameters() if not name.startswith("label_map")]
        rates = (weights, settings["learning_rate"]), ([self.latents], settings["latent_rate"])
        groups = [{"params": params, "lr": rate, "highest": rate} for params, rate in rates]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of weights and latents."""
        s = self.settings
        for group in self.adam.param_groups:
            group["lr"] = group["highest"] * (0.5 + 0.5 * math.cos(math.pi * step / s["steps"]))
        random = seeding.torch_generator(s["seed"], "autodecoder", step)
        rows = torch.randperm(len(self.examples), generator=random)[: s["batch"]].to(self.latents.device)
        drawn, wanted = self.generator.synthesis(self.latents[rows]), self.examples.inputs(rows)
        loss = (laplacian_distance(drawn, wanted) + (drawn - wanted).square().mean(dim=(1, 2, 3))).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss": loss.detach()}

    def tensors(self) -> dict[str, Tensor]:
        """The generator's weights and buffers, and the latents."""
        return {f"generator.{key}": value for key, value in self.generator.state_dict().items()} | {
            "latents": self.latents.detach()
        }

    def state(self) -> dict:
        """The optimiser's state."""
        return {"adam": self.adam.state_dict()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        self.generator.load_state_dict(_weights(tensors))
        with torch.no_grad():
            self.latents.copy_(tensors["latents"])
        self.adam.load_state_dict(state["adam"])


def _generator(settings: dict) -> Generator:
    return Generator(settings["image_size"], 1, settings["channels"], settings["latent"], settings["maps"])


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("generator."): value for key, value in tensors.items() if key != "latents"}


def _trained(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> AutoDecoder:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        generator = _generator(settings)
    generator.load_state_dict(_weights(tensors))
    return AutoDecoder(generator.to(device).requires_grad_(False).eval(), tensors["latents"].to(device))


def _principal(examples: DeviceDataset, latent: int) -> Tensor:
    """Where the latents start (n, latent)."""
    pixels = examples.inputs(slice(None)).flatten(1).double()
    left, sd, _ = torch.linalg.svd(pixels - pixels.mean(dim=0), full_matrices=False)
    left = left * left[left.abs().argmax(dim=0), torch.arange(left.shape[1])].sign()  # the sign is arbitrary
    found = left[:, :latent] * sd[:latent].sqrt()
    return (found / found.square().mean().sqrt()).float()
