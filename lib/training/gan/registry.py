"""Every generator by its name: how it is trained, and how a finished training is loaded.

A new one is a module with a subclass of `lib.training.gan.sampling.TrainedGenerator` and a function that trains it, and
a line in `register` below. lib.generators is the public face.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lib.core import seeding
from lib.training.dp.gan import DPGAN, train_dpgan
from lib.training.gan.acgan import ACGAN, train_acgan
from lib.training.gan.autodecoder import AutoDecoder, train_autodecoder
from lib.training.gan.dcgan import DCGAN, train_dcgan
from lib.training.gan.fedgan import FedGAN, resolved, train_fedgan
from lib.training.gan.probe import check_probe, keep_probe, labels_of_probe
from lib.training.gan.progan import ProGAN, train_progan
from lib.training.gan.sampling import TrainedGenerator
from lib.training.gan.stylegan2 import StyleGAN2, train_stylegan2
from lib.training.loop import store
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.image_summary import summary
from lib.training.loop.trainer import finished_training


class _Entry(NamedTuple):
    kind: type[TrainedGenerator]
    trained: Callable[..., TrainedGenerator]
    options_of: Callable | None


_REGISTERED: dict[str, _Entry] = {}


def register(
    kind: type[TrainedGenerator], trained: Callable[..., TrainedGenerator], *, options_of: Callable | None = None
) -> None:
    """Let `train` and `load` know the generator `kind.name`, which trained(images, [labels,] path=, seed=, …) trains.

    options_of: where `trained` ends in `**options`, the function that takes them, each with a default. ValueError for a
    name that is registered already.
    """
    if kind.name in _REGISTERED:
        raise ValueError(f"a generator {kind.name!r} is registered already: choose another name")
    _REGISTERED[kind.name] = _Entry(kind, trained, options_of)


register(DCGAN, train_dcgan)
register(ACGAN, train_acgan)
register(ProGAN, train_progan)
register(StyleGAN2, train_stylegan2)
register(AutoDecoder, train_autodecoder)
register(FedGAN, train_fedgan, options_of=resolved)
register(DPGAN, train_dpgan)


def names() -> tuple[str, ...]:
    """The registered names."""
    return tuple(_REGISTERED)


def train(
    name: str, images, labels=None, *, path, seed: int, unless_stored: str | None = None, **options
) -> TrainedGenerator:  # fmt: skip
    """Train generator `name` on images (n, s, s) or (n, c, s, s) uint8, or finish or fetch the one in folder `path`.

    labels: n of them, None for a generator without. options: those of the method, see `train_…` in its module.
    unless_stored: the command that trains it, to be named where it is neither finished nor stored in weights/, instead
    of training it here.

    FileNotFoundError then. ValueError for a name that is not registered, an option that the method does not know or
    misses, labels that it misses or does not take, a folder that holds the training of another model, a network that
    draws other images than when it was trained, and what the method refuses.
    """
    if name not in names():
        raise ValueError(f"unknown generator {name!r}: choose one of {', '.join(names())}")
    entry = _REGISTERED[name]
    _check_call(entry, labels is not None, options)
    stored = Checkpoint(path, None).stored()
    if stored is not None and stored.get("model") != name:
        raise ValueError(
            f"The folder {path} holds the training of {stored.get('model')!r}, not of {name}: give another."
        )
    data = (images,) if labels is None else (images, labels)
    with store.asking(lambda: summary(images, labels), command=unless_stored):
        generator = entry.trained(*data, path=path, seed=seed, **options)
    store.keep_summary(path, images, labels)
    keep_probe(path, generator, labels=labels)
    return generator


def _check_call(entry: _Entry, labelled: bool, options: dict) -> None:
    """ValueError unless `entry.trained` takes these options, and labels or none as they are given."""
    name, parameters = entry.kind.name, inspect.signature(entry.trained).parameters
    if labelled != ("labels" in parameters):
        advice = "without labels: give none" if labelled else "on labels: give one, or a row of them, for each image"
        raise ValueError(f"{name} is trained {advice}")
    own = {key: p for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and key not in ("path", "seed")}
    more = inspect.signature(entry.options_of).parameters if entry.options_of else {}
    known = [*own, *(key for key, parameter in more.items() if parameter.default is not parameter.empty)]
    missing = [key for key, parameter in own.items() if parameter.default is parameter.empty and key not in options]
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"{name} has no option {', '.join(unknown)}: choose of {', '.join(known)}")
    if missing:
        raise ValueError(f"{name} is not trained without {', '.join(missing)}: give it as an option")


def load(name_or_folder: str | Path, *, device: torch.device | None = None, **options) -> TrainedGenerator:
    """The finished training in a folder, or of that name in weights/, whatever its settings.

    options: of `restored`, such as after= of a FedGAN. FileNotFoundError when nothing is there; ValueError when the
    training is unfinished or not of a registered generator, its network draws other images than when it was trained,
    or a file is damaged, and for an unknown option.
    """
    folder = Path(name_or_folder)
    stored = store.stored_names()
    if str(name_or_folder) in stored and not folder.exists():
        store.read_card(folder.name)
        folder = store.STORE / folder
    elif not folder.exists():
        kept = {name: Checkpoint(store.STORE / name, None).stored() or {} for name in stored}
        offered = [name for name, settings in kept.items() if settings.get("model") in names()]
        others = f", and no stored one of that name, but {', '.join(offered)}" if offered else ""
        advice = "run the notebook that trains it first"
        if str(name_or_folder) in names():
            advice = f"give the folder of a finished training, or train one of {', '.join(names())} first"
        raise FileNotFoundError(f"There is no trained generator in {folder}{others}: {advice}.")
    tensors, settings = finished_training(folder, "generator")
    if settings.get("model") not in names():
        raise ValueError(f"The training in {folder} is not of a known generator, which are {', '.join(names())}.")
    kind = _REGISTERED[settings["model"]].kind
    known = list(inspect.signature(kind.restored).parameters)[3:]  # after tensors, settings and the device
    if unknown := [key for key in options if key not in known]:
        raise ValueError(f"{kind.name} is loaded without {', '.join(unknown)}: known are {', '.join(known) or 'none'}")
    try:
        generator = kind.restored(tensors, settings, device or seeding.device(), **options)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"The training in {folder} is damaged or foreign, for its settings do not fit its weights: "
            "delete the folder and train again."
        ) from error
    if not options:  # which ask for another generator of the same training than the probe's
        check_probe(folder, generator)
    return generator


def keep(
    folder: Path, name: str, *, about: str, labels: Sequence[str] = (), gate: dict[str, float] | None = None
) -> Path:  # fmt: skip
    """Store the finished training in `folder` as weights/`name`: the weights that drawing needs, in float16.

    about: of which images, and how these are made again. labels: the names of its labels. gate: measure → value of
    how good it is. Returns the folder, with a card and a probe of the stored weights. ValueError as `load`, for a name
    that is taken, and for a training that is not finished; the store is then as before.
    """
    generator = load(folder)
    tensors, settings = finished_training(folder, "generator")

    def is_needed(part: str) -> bool:
        left = {key: value for key, value in tensors.items() if key.split(".")[0] != part}
        try:
            type(generator).restored(left, settings, torch.device("cpu"))
        except (RuntimeError, LookupError):
            return True
        return False

    parts = {key.split(".")[0] for key in tensors}
    needed = {part for part in parts if part.startswith(generator.also_stored) or is_needed(part)}

    def add_probe(made: Path) -> None:
        keep_probe(made, load(made), labels=labels_of_probe(folder))

    facts = {"labels": list(labels)} if labels else {}
    return store.keep(folder, name, about=about, needed=needed, facts=facts, gate=gate or {}, complete=add_probe)
