"""The store: finished trainings that come with the suite, so that what takes an hour need not be repeated.

A training is a function of its settings, which hold the seed, the digest of the images and the version of its code. So
it is found by them, whoever asks::

    weights/NAME/checkpoint.json, final.safetensors     a finished checkpoint of the networks that draw, and no others
                 probe.json, curve.csv                  what it draws from two fixed latents; its learning curve
                 card.json                              of which images, by which machine, in how many hours, how good

Only what was trained on phantoms is kept there. The environment variable SUITE_TRAIN=1 (`./run_all.sh --train`) has
everything trained anew.
"""

import contextlib
import contextvars
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.core.paths import trains_anew
from lib.training.loop.checkpoint import Checkpoint

STORE = Path(__file__).resolve().parents[3] / "weights"
CARD = "card.json"
_TOGETHER = ("probe.json", "curve.csv")  # copied with the weights
_command: contextvars.ContextVar[str | None] = contextvars.ContextVar("command", default=None)


def stored_names() -> list[str]:
    """The names in the store, sorted."""
    return sorted(card.parent.name for card in STORE.glob(f"*/{CARD}"))


@contextlib.contextmanager
def only_stored(command: str | None) -> Iterator[None]:
    """Inside, what is neither finished nor stored is refused, with the `command` that trains it; None refuses none."""
    before = _command.set(command)
    try:
        yield
    finally:
        _command.reset(before)


def read_card(name: str) -> dict:
    """The card of a stored training. ValueError where it is damaged, or tells of other weights than lie beside it."""
    file = STORE / name / CARD
    try:
        card = read_object(file)
        hours = float(card["hours"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"The card {file} is damaged: take it from the repository again.") from error
    if card.get("sha256") != Checkpoint(file.parent, None).weights_digest():
        raise ValueError(f"The card {file} tells of other weights than lie beside it: take both from the repository.")
    return card | {"hours": hours}


def fetch(checkpoint: Checkpoint) -> bool:
    """Put the stored training with the settings of `checkpoint` into its folder; whether there is one.

    ValueError where what is stored is damaged; then nothing was copied.
    """
    if trains_anew():
        return False
    for name in stored_names():
        source = Checkpoint(STORE / name, None)
        if source.stored() == checkpoint.settings:
            read_card(name)
            checkpoint.adopt(source, name)
            for file in (source.path / together for together in _TOGETHER):
                if file.exists():
                    with atomic(checkpoint.path / file.name) as partial:
                        shutil.copyfile(file, partial)
            return True
    return False


def assert_may_train(name: str, checkpoint: Checkpoint) -> None:
    """Raise FileNotFoundError, naming the command and its hours where they are known, inside `only_stored`."""
    if (command := _command.get()) is None or trains_anew():
        return
    hours, settings = "", checkpoint.settings or {}
    for other in stored_names():
        stored = Checkpoint(STORE / other, None).stored() or {}
        if all(stored.get(key) == value for key, value in settings.items() if key not in ("seed", "data")):
            hours = f", in about {read_card(other)['hours']:.1f} hours on one core as fast as that of weights/{other}"
    raise FileNotFoundError(f"No {name} of these images and settings is stored in weights/: {command} trains it{hours}")


def keep(
    folder: Path, name: str, *, about: str, needed: set[str], gate: dict, complete: Callable[[Path], None]
) -> Path:  # fmt: skip
    """Store the finished training in `folder` as weights/`name`, its weights in float16, and return that folder.

    about: of which images, and what of them can be made again. needed: the first parts of the tensors' names that
    drawing needs. gate: measure → value of how good it is. complete: called with the folder before it is put in place,
    to add what belongs to it. ValueError for a name that is taken or no name of a folder,
    and for an unfinished training; then, and on a full disk, the store is as before.
    """
    if not name.replace("-", "").replace("_", "").isalnum() or (STORE / name).exists():
        raise ValueError(f"weights/{name}: give a new name of letters, digits and hyphens")
    source = Checkpoint(folder, None)
    found = source.load()
    if found is None or not source.finished:
        raise ValueError(f"{folder} holds no finished training, which alone is stored")
    tensors = {key: value for key, value in found[0].items() if key.split(".")[0] in needed}
    # Means and variances of a batch norm are few, and may be smaller or larger than float16 holds.
    halved = {
        key: value.half() if value.dtype == torch.float32 and value.ndim > 1 else value
        for key, value in tensors.items()
    }
    part = STORE / f".{name}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        Checkpoint(part, source.settings).save(halved, None, found[2], finished=True, made=source.made)
        made = source.made
        card = {
            "name": name, "about": about, "sha256": Checkpoint(part, None).weights_digest(),
            "hours": round(made.get("seconds", 0) / 3600, 2), "gate": gate,
        }  # fmt: skip
        card |= {key: made.get(key) for key in ("revision", "date", "torch", "arithmetic", "machine")}
        if (curve := Path(folder) / "curve.csv").exists():
            shutil.copyfile(curve, part / curve.name)
        (part / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
        complete(part)
        os.replace(part, STORE / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return STORE / name
