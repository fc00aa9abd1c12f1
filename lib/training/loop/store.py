"""The store: finished trainings that come with the suite, so that what takes an hour need not be repeated.

A training is a function of its settings, which hold the seed and the version of its code, and of its images, which are
known by a summary: another machine rounds a few pixels of the same phantom otherwise. So it is found by them::

    weights/NAME/checkpoint.json, final.safetensors     a finished checkpoint of the networks that draw, and no others
                 probe.json, curve.csv                  what it draws from two fixed latents; its learning curve
                 card.json                              of which images, by which machine, in how many hours, how good
                 images.json                            the summary of those images

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

from lib.core import distributed as ranks
from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.core.paths import trains_anew
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.image_summary import are_alike, summary

STORE = Path(__file__).resolve().parents[3] / "weights"
CARD = "card.json"
_IMAGES = "images.json"
_TOGETHER = ("probe.json", "curve.csv")  # copied with the weights
_Asked = tuple[Callable[[], dict] | None, str | None]
_asked: contextvars.ContextVar[_Asked] = contextvars.ContextVar("asked", default=(None, None))


def stored_names() -> list[str]:
    """The names in the store, sorted."""
    return sorted(card.parent.name for card in STORE.glob(f"*/{CARD}"))


@contextlib.contextmanager
def asking(images: Callable[[], dict], *, command: str | None = None) -> Iterator[None]:
    """Inside, what is trained on images of the summary `images()` is looked for in the store; outside, nothing is.

    command: where it is neither finished nor stored it is refused, naming this command, which trains it. None: it is
    trained.
    """
    before = _asked.set((images, command))
    try:
        yield
    finally:
        _asked.reset(before)


def keep_summary(folder: Path, images, labels) -> None:
    """Leave the summary of the images and labels beside the training of them in `folder`, which `keep` takes along."""
    file, text = Path(folder) / _IMAGES, json.dumps(summary(images, labels))
    if ranks.is_writer() and not (file.exists() and file.read_text(encoding="utf-8") == text):
        with atomic(file) as partial:
            partial.write_text(text, encoding="utf-8")


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
    images, _ = _asked.get()
    if images is None or trains_anew():
        return False
    for name in stored_names():
        source = Checkpoint(STORE / name, None)
        if _but_for(source.stored(), "data") == _but_for(checkpoint.settings, "data") and _is_of(name, images()):
            read_card(name)
            checkpoint.adopt(source, name)
            for file in (source.path / together for together in _TOGETHER):
                if file.exists():
                    with atomic(checkpoint.path / file.name) as partial:
                        shutil.copyfile(file, partial)
            return True
    return False


def assert_may_train(name: str, checkpoint: Checkpoint) -> None:
    """Raise FileNotFoundError inside `asking` with a command, naming it, and its hours where they are known."""
    _, command = _asked.get()
    if command is None or trains_anew():
        return
    hours, wanted = "", _but_for(checkpoint.settings, "seed", "data")
    for other in stored_names():
        if _but_for(Checkpoint(STORE / other, None).stored(), "seed", "data") == wanted:
            hours = f", in about {read_card(other)['hours']:.1f} hours on one core as fast as that of weights/{other}"
    raise FileNotFoundError(f"No {name} of these images and settings is stored in weights/: {command} trains it{hours}")


def _is_of(name: str, images: dict) -> bool:
    file = STORE / name / _IMAGES
    try:
        return are_alike(read_object(file), images)
    except (ValueError, OSError) as error:
        raise ValueError(f"The summary {file} is damaged: take it from the repository again.") from error


def _but_for(settings: dict | None, *names: str) -> dict:
    return {key: value for key, value in (settings or {}).items() if key not in names}


def keep(
    folder: Path,
    name: str,
    *,
    about: str,
    needed: set[str],
    facts: dict,
    gate: dict,
    complete: Callable[[Path], None],
) -> Path:
    """Store the finished training in `folder` as weights/`name`, its weights in float16, and return that folder.

    about: of which images, and what of them can be made again. needed: the first parts of the tensors' names that
    drawing needs. facts: more entries of its card. gate: measure → value of how good it is. complete: called with the
    folder before it is put in place, to add what belongs to it. ValueError for a name that is taken or no name of a
    folder, for an unfinished training, and for one in the run of real images; then, and on a full disk, the store is as
    before.
    """
    if any(part.startswith("own-") or "-public" in part for part in Path(folder).resolve().parts):
        raise ValueError(f"{folder} is of a run on real images, whose weights stay with them: store those of phantoms")
    if not name.replace("-", "").replace("_", "").isalnum() or (STORE / name).exists():
        raise ValueError(f"weights/{name}: give a new name of letters, digits and hyphens")
    source = Checkpoint(folder, None)
    found = source.load()
    if found is None or not source.finished:
        raise ValueError(f"{folder} holds no finished training, which alone is stored")
    if not all((Path(folder) / file).exists() for file in (_IMAGES, "probe.json")):
        raise ValueError(f"{folder} does not say of which images it is: train it again by lib.generators.train")
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
            "hours": round(made.get("seconds", 0) / 3600, 2), **facts, "gate": gate,
        }  # fmt: skip
        card |= {key: made.get(key) for key in ("revision", "date", "torch", "arithmetic", "machine")}
        for file in (Path(folder) / _IMAGES, Path(folder) / "curve.csv"):
            shutil.copyfile(file, part / file.name)
        (part / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
        complete(part)
        os.replace(part, STORE / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return STORE / name
