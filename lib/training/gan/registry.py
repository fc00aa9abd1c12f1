"""Every generator by its name: how it is trained, and how a finished training is loaded.

A new one is a module with a subclass of `lib.training.gan.sampling.TrainedGenerator` and a function that trains it, and
a line in `register` below. lib.generators is the public face.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from lib.core import seeding
from lib.training.dp.gan import DPGAN, train_dpgan
from lib.training.gan.acgan import ACGAN, train_acgan
from lib.training.gan.autodecoder import AutoDecoder, train_autodecoder
from lib.training.gan.dcgan import DCGAN, train_dcgan
from lib.training.gan.fedgan import FedGAN, train_fedgan
from lib.training.gan.progan import ProGAN, train_progan
from lib.training.gan.sampling import TrainedGenerator
from lib.training.gan.stylegan2 import StyleGAN2, train_stylegan2
from lib.training.loop.trainer import finished_training

STORE = Path(__file__).resolve().parents[3] / "weights"  # trained generators that come with the suite

_REGISTERED: dict[str, tuple[type[TrainedGenerator], Callable[..., TrainedGenerator]]] = {}


def register(kind: type[TrainedGenerator], trained: Callable[..., TrainedGenerator]) -> None:
    """Let `train` and `load` know the generator `kind.name`, which trained(images, [labels,] path=, seed=, …) trains.

    ValueError for a name that is registered already.
    """
    if kind.name in _REGISTERED:
        raise ValueError(f"a generator {kind.name!r} is registered already: choose another name")
    _REGISTERED[kind.name] = kind, trained


register(DCGAN, train_dcgan)
register(ACGAN, train_acgan)
register(ProGAN, train_progan)
register(StyleGAN2, train_stylegan2)
register(AutoDecoder, train_autodecoder)
register(FedGAN, train_fedgan)
register(DPGAN, train_dpgan)


def names() -> tuple[str, ...]:
    """The registered names."""
    return tuple(_REGISTERED)


def train(name: str, images, labels=None, *, path, seed: int, **options) -> TrainedGenerator:
    """Train generator `name` on images (n, s, s) or (n, c, s, s) uint8, or finish or fetch the one in folder `path`.

    labels: n of them, None for a generator without. options: those of the method, see `train_…` in its module.
    ValueError for a name that is not registered, and what the method refuses.
    """
    if name not in _REGISTERED:
        raise ValueError(f"unknown generator {name!r}: choose one of {', '.join(names())}")
    data = (images,) if labels is None else (images, labels)
    return _REGISTERED[name][1](*data, path=path, seed=seed, **options)


def load(name_or_folder: str | Path, *, device: torch.device | None = None, **options) -> TrainedGenerator:
    """The finished training in a folder, or of that name in the `STORE`, whatever its settings.

    options: of `restored`, such as after= of a FedGAN. FileNotFoundError when nothing is there; ValueError when the
    training is unfinished or not of a registered generator, or a file is damaged.
    """
    folder = Path(name_or_folder)
    stored = sorted(place.name for place in STORE.iterdir() if place.is_dir()) if STORE.is_dir() else []
    if str(name_or_folder) in stored and not folder.exists():
        folder = STORE / folder
    elif not folder.exists():
        known = f", and no stored one of that name, but {', '.join(stored)}" if stored else ""
        raise FileNotFoundError(
            f"There is no trained generator in {folder}{known}: run the notebook that trains it first."
        )
    tensors, settings = finished_training(folder, "generator")
    if settings.get("model") not in _REGISTERED:
        raise ValueError(f"The training in {folder} is not of a known generator, which are {', '.join(names())}.")
    kind, _ = _REGISTERED[settings["model"]]
    return kind.restored(tensors, settings, device or seeding.device(), **options)
