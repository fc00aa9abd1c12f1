"""The three sets of an audit, brought to one size and grey scale, and what makes an audit impossible, refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.cohort import SPLITS, Cohort
from lib.datasets.own_images import OpenedImages, TooSmallError, open_images

FEWEST = 10  # images, and patients, of each real set


class AuditSets(NamedTuple):
    """What `open_sets` returns. `images` are (n, size, size) uint8, none constant; `key` of each is its file's name."""

    train: Cohort
    heldout: Cohort
    synthetic: Cohort  # each image its own patient
    found: dict[str, int]  # images there before any rule, by set
    rules: dict[str, tuple[str, ...]]  # what was done to each set, in sentences
    exact: np.ndarray  # rows of synthetic that equal a training image at this size

    @property
    def real(self) -> Cohort:
        """Training and held-out images, in this order, `set` 0 and 2."""
        columns = [
            np.concatenate([getattr(c, name) for c in (self.train, self.heldout)]) for name in ("id", "dis", "set")
        ]
        images, key = (
            np.concatenate([getattr(c, name) for c in (self.train, self.heldout)]) for name in ("images", "key")
        )
        return Cohort(images, *columns, key=key, name="real", labels=("image",))


def open_sets(
    *,
    train: str | Path | Cohort,
    heldout: str | Path | Cohort,
    synthetic: str | Path | Cohort,
    sizes: Sequence[int],
    most: int,
    patients: str | Path | None = None,
    rng: np.random.Generator,
) -> AuditSets:
    """Open the sets by `open_images`, at the largest of `sizes` that no image falls short of, and bring them together.

    If one of them has more than 8 bits, every image of all three is stretched from its darkest to its brightest
    pixel; otherwise grey levels stay as they are. Constant images are left out. Equal names of patients, or numbers
    in cohort files, mean the same patient; `patients` is a table for the real sets.
    Raises ValueError for what `open_images` refuses, a patient or an identical image in both real sets, and a set of
    fewer than ten images that vary, or a real one of fewer than ten patients.
    """
    sources = {"train": (train, patients), "heldout": (heldout, patients), "synthetic": (synthetic, None)}
    opened, short = _at_fitting_size(sources, sorted(sizes, reverse=True), most, rng)
    stretch = not all(part.is_8_bit for part in opened.values())
    rules, images, keeps = {}, {}, {}
    for name, part in opened.items():
        pixels = part.images.reshape(len(part.images), -1)
        keeps[name] = keep = pixels.max(axis=1) > pixels.min(axis=1)
        rules[name] = part.rules + short
        rules[name] += ("stretched from darkest to brightest, image by image",) * stretch
        images[name] = _grey_levels(part.images[keep], stretch)
        varied = images[name].reshape(len(images[name]), -1) if keep.any() else np.zeros((0, 1))
        still = varied.max(axis=1) > varied.min(axis=1)  # one grey level apart before rounding, none after
        images[name], keeps[name] = images[name][still], np.flatnonzero(keep)[still]
        if lost := len(keep) - len(keeps[name]):
            rules[name] += (f"{lost} constant images left out",)
        _require_enough(name, part, keeps[name])
    codes = _joint(opened, keeps)
    _require_disjoint_images(images, {name: opened[name].names[keeps[name]] for name in opened})
    cohorts = {}
    for name, split in (("train", "train"), ("heldout", "test"), ("synthetic", "train")):
        n = len(images[name])
        cohorts[name] = Cohort(
            images[name], codes[name], np.zeros(n), np.full(n, SPLITS[split]), key=opened[name].names[keeps[name]],
            name=name, labels=("image",),
        )  # fmt: skip
    known = {image.tobytes() for image in images["train"]}
    exact = np.flatnonzero([image.tobytes() in known for image in images["synthetic"]])
    return AuditSets(**cohorts, found={name: part.found for name, part in opened.items()}, rules=rules, exact=exact)


def _at_fitting_size(sources, sizes, most: int, rng) -> tuple[dict[str, OpenedImages], tuple[str, ...]]:
    """The opened sets, and the rule if an image is smaller than the first of `sizes`."""
    for size in sizes:
        try:
            opened = {
                n: open_images(s, size=size, most=most, patients=table, rng=rng) for n, (s, table) in sources.items()
            }
        except TooSmallError:
            if size == sizes[-1]:
                raise
        else:
            return opened, (f"audited at {size}×{size} pixels, as an image is smaller than {sizes[0]}",) * (
                size < sizes[0]
            )
    raise ValueError("sizes is empty: give the sizes that an audit may work at")


def _grey_levels(images: np.ndarray, stretch: bool) -> np.ndarray:
    if stretch and len(images):
        low, high = (extreme(images, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
        images = (images - low) * (255 / (high - low))
    return np.rint(np.clip(images, 0, 255)).astype(np.uint8)


def _require_enough(name: str, part: OpenedImages, keep: np.ndarray) -> None:
    if len(keep) < FEWEST:
        raise ValueError(f"{name}: {len(keep)} images that are not constant; an audit needs {FEWEST} in each set")
    people = len(np.unique(part.patients[keep]))
    if name != "synthetic" and people < FEWEST:
        raise ValueError(f"{name}: {people} patients; an audit needs {FEWEST} in each real set")


def _joint(opened: dict[str, OpenedImages], keeps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Patient codes by set; the real sets share one numbering."""
    # Of all that is there, read or not, constant or not: an image that is left out betrays an overlap as well.
    train, heldout = (opened[name].everyone for name in ("train", "heldout"))
    both = np.intersect1d(train, heldout)
    if len(both):
        raise ValueError(
            f"{len(both)} patients are in both train and heldout, the first is {both[0]}; take each out of one of them "
            "(in cohort files, equal numbers mean the same patient)"
        )
    everyone = np.concatenate([train, heldout])
    number = dict(zip(everyone.tolist(), range(len(everyone)), strict=True))
    codes = {n: np.array([number[p] for p in opened[n].patients[keeps[n]].tolist()]) for n in ("train", "heldout")}
    return codes | {"synthetic": np.arange(len(keeps["synthetic"]))}


def _require_disjoint_images(images: dict[str, np.ndarray], names: dict[str, np.ndarray]) -> None:
    first = {image.tobytes(): name for image, name in zip(images["train"], names["train"].tolist(), strict=True)}
    heldout = zip(images["heldout"], names["heldout"].tolist(), strict=True)
    twice = [(first[image.tobytes()], name) for image, name in heldout if image.tobytes() in first]
    if twice:
        raise ValueError(
            f"{len(twice)} images are in both train and heldout, the first is {twice[0][0]} = {twice[0][1]}; "
            "take each out of one of them"
        )
