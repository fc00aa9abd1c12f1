"""The three sets of an audit, brought to one size and grey scale, and what makes an audit impossible, refused."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io.user_images import OpenedImages, TooSmallError, counted, open_images
from lib.cohorts.phantoms import mass
from lib.cohorts.public import open_public
from lib.core.seeding import numpy_generator

FEWEST = 10  # images, and patients, of each real set


class AuditSets(NamedTuple):
    """What `open_sets` returns. `images` are (n, size, size) uint8; `source_name` of each is its file's name."""

    train: Cohort  # patients of train and heldout share one numbering
    heldout: Cohort
    synthetic: Cohort  # each image its own patient
    small: dict[str, np.ndarray]  # the images of each set at the audited size, uint8, none constant
    found: dict[str, int]  # images there before any rule, by set
    rules: dict[str, tuple[str, ...]]  # what was done to each set, in sentences
    exact: dict[str, np.ndarray]  # rows of synthetic that equal an image of "train", of "heldout", pixel by pixel

    @property
    def parts(self) -> dict[str, Cohort]:
        """The three sets by name."""
        return {"train": self.train, "heldout": self.heldout, "synthetic": self.synthetic}

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that stand for the images of all three sets."""
        return hashlib.sha256(b"".join(part.images.tobytes() for part in self.parts.values())).hexdigest()[:8]

    def rows(self) -> list[dict]:
        """A table: what was found, what is audited, of how many patients, and which rules were applied."""
        size = "×".join(map(str, self.train.images.shape[1:]))
        table = []
        for name, part in self.parts.items():
            row = {"set": name, "found": self.found[name], "audited": len(part), "pixels": size}
            row["patients"] = None if name == "synthetic" else len(np.unique(part.patient))
            table.append(row | {"rules applied": "; ".join(self.rules[name]) or "none was needed"})
        return table


def example_sets(cohort: str, *, patients: int, size: int, seed: int) -> dict[str, Cohort]:
    """Sets to try an audit on, as `open_sets` takes them.

    "public": the published images of MCGAN, as synthetic; the CBIS-DDSM crops that it was trained on; and the test
    crops of CBIS-DDSM as held out. The validation crops are left out: whether MCGAN saw them is not stated.
    "phantom": drawn masses of `patients` patients at `size`; the synthetic set, masses of as many disjoint patients,
    copies nobody.
    Raises ValueError for another cohort.
    """
    if cohort == "public":
        crops = open_public("cbis_ddsm")
        return {"train": crops.subset("train"), "heldout": crops.subset("test"), "synthetic": open_public("mcgan")}
    if cohort != "phantom":
        raise ValueError(f"unknown cohort {cohort!r}: choose phantom or public")
    rngs = (numpy_generator(seed, name) for name in ("real", "other"))
    real, other = (mass.draw(patients=patients, image_size=size, rng=rng) for rng in rngs)
    # The two draws number their images alike.
    other.source_name = np.char.add("another ", np.asarray(other.source_name, str))
    return {"train": real[real.split == 0], "heldout": real[real.split > 0], "synthetic": other}


def open_sets(
    *,
    train: str | Path | Cohort,
    heldout: str | Path | Cohort,
    synthetic: str | Path | Cohort,
    sizes: Sequence[int],
    audit_size: int,
    most: int,
    patients: str | Path | None = None,
    rng: np.random.Generator,
) -> AuditSets:
    """Open the sets by `open_images`, at the largest of `sizes` that no image falls short of, and bring them together.

    Copies are looked for at `audit_size`, or at that size if it is smaller; each of `sizes` is a multiple of it or
    below.

    If one of them has more than 8 bits, every image of all three is stretched from its darkest to its brightest
    pixel; otherwise grey levels stay as they are. Constant images are left out. Equal names of patients, or numbers
    in cohort files, mean the same patient; `patients` is a table for the real sets.
    Raises ValueError for other sizes, what `open_images` refuses, a patient or an identical image in both real sets,
    and a set of fewer than ten images that vary, or a real one of fewer than ten patients.
    """
    sources = {"train": (train, patients), "heldout": (heldout, patients), "synthetic": (synthetic, None)}
    if any(size > audit_size and size % audit_size for size in sizes):
        raise ValueError(f"sizes are {list(sizes)}: give multiples of the audited size, {audit_size}, or less")
    opened, short = _at_fitting_size(sources, sorted(sizes, reverse=True), most, rng)
    stretch = not all(part.is_8_bit for part in opened.values())
    rules, images, small, keeps = {}, {}, {}, {}
    for name, part in opened.items():
        images[name] = _grey_levels(part.images, stretch)
        small[name] = _averaged(images[name], audit_size)
        pixels = small[name].reshape(len(part.images), -1)
        keeps[name] = keep = np.flatnonzero(pixels.max(axis=1) > pixels.min(axis=1))
        images[name], small[name] = images[name][keep], small[name][keep]
        lost = len(part.images) - len(keep)
        rules[name] = part.rules + short + ("stretched from darkest to brightest, image by image",) * stretch
        rules[name] += (f"{counted(lost, 'constant image')} left out",) * bool(lost)
        _require_enough(name, part, keep)
    codes = _joint(opened, keeps)
    _require_disjoint_images(images, {name: opened[name].names[keeps[name]] for name in opened})
    cohorts = {}
    for name, split in (("train", "train"), ("heldout", "test"), ("synthetic", "train")):
        n = len(images[name])
        cohorts[name] = Cohort(
            images[name], codes[name], np.zeros(n), np.full(n, SPLITS[split]),
            source_name=opened[name].names[keeps[name]], name=name, label_names=("image",),
        )  # fmt: skip
    exact = {name: _identical(images["synthetic"], images[name]) for name in ("train", "heldout")}
    return AuditSets(
        **cohorts, small=small, found={name: part.found for name, part in opened.items()}, rules=rules, exact=exact
    )


def _at_fitting_size(sources, sizes, most: int, rng) -> tuple[dict[str, OpenedImages], tuple[str, ...]]:
    """The opened sets, and the rule if an image is smaller than the first of `sizes`."""
    larger, state = None, rng.bit_generator.state
    for size in sizes:
        rng.bit_generator.state = state  # the same images are drawn: those that fell short are among them
        try:
            opened = {
                n: open_images(s, size=size, most=most, patients=table, rng=rng) for n, (s, table) in sources.items()
            }
        except TooSmallError:
            if size == sizes[-1]:
                raise
            larger = size
        else:
            return opened, _short_images(opened, size, larger) if larger else ()
    raise ValueError("sizes is empty: give the sizes that an audit may work at")


def _short_images(opened: dict[str, OpenedImages], size: int, larger: int) -> tuple[str]:
    """Why the sets are at `size`: which images fall short of the `larger` one, the next that was asked for."""
    short = {name: part.names[part.sides < larger] for name, part in opened.items()}
    few = [f"{counted(len(of), 'image')} of {name}, the first {of[0]}" for name, of in short.items() if len(of)]
    return (f"audited at {size}×{size} pixels, as some are smaller than {larger}×{larger}: {' and '.join(few)}",)


def _identical(synthetic: np.ndarray, real: np.ndarray) -> np.ndarray:
    known = {image.tobytes() for image in real}
    return np.flatnonzero([image.tobytes() in known for image in synthetic])


def _grey_levels(images: np.ndarray, stretch: bool) -> np.ndarray:
    if stretch:
        low, high = (extreme(images, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
        images = (images - low) * (255 / np.where(high > low, high - low, 1))
    return np.rint(np.clip(images, 0, 255)).astype(np.uint8)


def _averaged(images: np.ndarray, size: int) -> np.ndarray:
    if images.shape[1] <= size:
        return images
    step = images.shape[1] // size
    mean = images.reshape(len(images), size, step, size, step).mean(axis=(2, 4), dtype=np.float32)
    return np.rint(mean).astype(np.uint8)


def _require_enough(name: str, part: OpenedImages, keep: np.ndarray) -> None:
    if len(keep) < FEWEST:
        raise ValueError(
            f"{name}: {counted(len(keep), 'image')}, constant ones left out; an audit needs {FEWEST} in each set"
        )
    people = len(np.unique(part.patients[keep]))
    if name != "synthetic" and people < FEWEST:
        raise ValueError(f"{name}: {counted(people, 'patient')}; an audit needs {FEWEST} in each real set")


def _joint(opened: dict[str, OpenedImages], keeps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Patient codes by set; the real sets share one numbering."""
    # Of all that is there, read or not, constant or not: an image that is left out reveals an overlap as well.
    train, heldout = (opened[name].everyone for name in ("train", "heldout"))
    both = np.intersect1d(train, heldout)
    if len(both):
        raise ValueError(
            f"train and heldout share {counted(len(both), 'patient')}, the first is {both[0]}; take each out of one of "
            "them (in cohort files, equal numbers mean the same patient)"
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
            f"train and heldout share {counted(len(twice), 'image')}, the first is {twice[0][0]} = {twice[0][1]}; "
            "take each out of one of them"
        )
