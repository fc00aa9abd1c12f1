"""The three sets of an audit, brought to one size and grey scale, and what makes an audit impossible, refused."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io.image_description import READ, Described, describe_images
from lib.cohorts.io.image_search import Note
from lib.cohorts.io.patient_naming import SAID
from lib.cohorts.io.resampling import TooSmallError, side
from lib.cohorts.io.user_images import Drawn, OpenedImages, counted, draw, existing, locate, read_drawn
from lib.cohorts.phantoms import mass
from lib.cohorts.public import open_public
from lib.core.seeding import numpy_generator

SIZES = (64, 32, 16)  # pixels a side, at the largest of which, that all images reach, a thorough audit works
FEWEST = 10  # images, and patients, of each real set
FEW_SHORT = 0.05  # of a set, or one image; as many that are too small are left out
PERCENTILES = (1, 99)  # of an image's pixels, that become black and white: a marker's edge is beyond them
_BLOCK = 512  # images that are computed with at a time


class AuditSets(NamedTuple):
    """What `open_sets` returns. `images` are (n, size, size) uint8; `source_name` of each is its file's name."""

    train: Cohort  # patients of train and heldout share one numbering
    heldout: Cohort | None  # None: no real image is known not to have been trained on
    synthetic: Cohort  # each image its own patient
    small: dict[str, np.ndarray]  # the images of each set at the audited size, uint8, none constant
    found: dict[str, int]  # images there before any rule, by set
    rules: dict[str, tuple[str, ...]]  # what was done to each set, in sentences
    exact: dict[str, np.ndarray]  # rows of synthetic that equal an image of "train", of "heldout", pixel by pixel
    passed: dict[str, tuple[Note, ...]]  # files that are no image, and images that were left out, by set
    patients_from: dict[str, dict[str, int]]  # by real set, images by what named their patients (`patient_naming`)

    @property
    def parts(self) -> dict[str, Cohort]:
        """The sets by name, three, or two without held-out images."""
        held = {} if self.heldout is None else {"heldout": self.heldout}
        return {"train": self.train, **held, "synthetic": self.synthetic}

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that stand for the images of all three sets and for whose they are."""
        parts = (array.tobytes() for part in self.parts.values() for array in (part.images, part.patient))
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

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
    heldout: str | Path | Cohort | None,
    synthetic: str | Path | Cohort,
    sizes: Sequence[int],
    audit_size: int,
    most: int,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    fit: str = "pad",
    strict: bool = False,
    rng: np.random.Generator,
) -> AuditSets:
    """Open the sets by the rules of `user_images`, at the largest of `sizes` that fits, and bring them together.

    heldout: None, or the word "none", where there are no real images that were not trained on.
    Copies are looked for at `audit_size`, or at that size if it is smaller; each of `sizes` is a multiple of it or
    below. A few images that fall short of `audit_size` are left out and listed (FEW_SHORT of each set, or one); with
    more of them, or with images that fall short of a larger size alone, all sets are brought to a smaller one.

    If an image of one of them has more than 8 bits and no window in its header, every image of all three is stretched
    between its PERCENTILES; otherwise grey levels stay as they are. Constant images are left out. Equal names of
    patients, or numbers in cohort files, mean the same patient; `patients` (a table) and `patient_from` are for the
    real sets. strict: refuse what would be passed over or left out for its size.
    Raises ValueError, before an image is read, for other sizes and what `locate` refuses; and for what `read_drawn`
    refuses, a patient or an identical image in both real sets, and a set of fewer than ten images that vary, or a
    real one of fewer than ten patients, twenty without held-out images.
    """
    if any(size > audit_size and size % audit_size for size in sizes):
        raise ValueError(f"sizes are {list(sizes)}: give multiples of the audited size, {audit_size}, or less")
    sources = _given(train, heldout, synthetic)
    for source in sources.values():
        if not isinstance(source, Cohort):
            existing(source)
    located = {
        name: locate(source, strict=strict)
        if name == "synthetic"
        else locate(source, patients=patients, patient_from=patient_from, strict=strict)
        for name, source in sources.items()
    }
    drawn = {name: draw(of, most=most, rng=rng) for name, of in located.items()}
    size = _fitting_size(drawn, sorted(sizes, reverse=True), audit_size, fit, strict)
    opened = {name: read_drawn(of, size=size, fit=fit, leave_short=True) for name, of in drawn.items()}
    short = _short_images(opened, size, min((other for other in sizes if other > size), default=size))
    stretch = not all(part.is_8_bit for part in opened.values())
    rules, images, small, keeps = {}, {}, {}, {}
    for name, part in opened.items():
        images[name] = _grey_levels(part.images, stretch)
        small[name] = _averaged(images[name], audit_size)
        pixels = small[name].reshape(len(part.images), -1)
        keeps[name] = keep = np.flatnonzero(pixels.max(axis=1) > pixels.min(axis=1))
        images[name], small[name] = images[name][keep], small[name][keep]
        lost = len(part.images) - len(keep)
        rules[name] = part.rules + short
        low, high = PERCENTILES
        rules[name] += (f"stretched from percentile {low} to {high} of its pixels, image by image",) * stretch
        rules[name] += (f"{counted(lost, 'constant image')} left out",) * bool(lost)
        _require_enough(name, part, keep, people=FEWEST if "heldout" in sources else 2 * FEWEST)
    codes = _joint(opened, keeps)
    _require_disjoint_images(images, {name: opened[name].names[keeps[name]] for name in opened})
    cohorts = {}
    for name in sources:
        n, split = len(images[name]), SPLITS["test" if name == "heldout" else "train"]
        cohorts[name] = Cohort(
            images[name], codes[name], np.zeros(n), np.full(n, split),
            source_name=opened[name].names[keeps[name]], name=name, label_names=("image",),
        )  # fmt: skip
    return AuditSets(
        cohorts["train"], cohorts.get("heldout"), cohorts["synthetic"],
        small=small,
        found={name: part.found for name, part in opened.items()},
        rules=rules,
        exact={name: _identical(images["synthetic"], images[name]) for name in _real(sources)},
        passed={name: part.passed for name, part in opened.items()},
        patients_from={name: opened[name].patients_from for name in _real(sources)},
    )  # fmt: skip


def _given(train, heldout, synthetic) -> dict[str, Any]:
    """The sources by name, without held-out images where there are none."""
    held = {} if heldout is None or (isinstance(heldout, str) and heldout == "none") else {"heldout": heldout}
    return {"train": train, **held, "synthetic": synthetic}


def _real(sources: Iterable[str]) -> list[str]:
    return [name for name in sources if name != "synthetic"]


def describe_sets(
    *,
    train: str | Path | Cohort,
    heldout: str | Path | Cohort | None,
    synthetic: str | Path | Cohort,
    patients: str | Path | None = None,
    patient_from: str | None = None,
) -> tuple[list[dict], dict[str, list[Described]]]:
    """A dry read of what `open_sets` would open: rows that sum up each set by outcome and reason, and each file by set.

    No pixel is decoded. Raises ValueError for a source that is not there.
    """
    summary, files = list[dict](), dict[str, list[Described]]()
    for name, source in _given(train, heldout, synthetic).items():
        if name == "synthetic":
            every = describe_images(source)
        else:
            every = describe_images(source, patients=patients, patient_from=patient_from)
        files[name] = every
        for outcome, why in dict.fromkeys((of.outcome, of.why) for of in every):
            some = [of for of in every if (of.outcome, of.why) == (outcome, why)]
            row = {"set": name, "outcome": outcome, "why": why, "files": len(some), "the first": some[0].name}
            row |= {"images": sum(of.images for of in some), "pixels": _listed(of.pixels for of in some)}
            row |= {"bits": _listed(of.bits for of in some)}
            named = len({of.patient for of in some if of.patient})
            row |= {"patients": sum(of.people for of in some) or named, "patients from": ""}
            if name != "synthetic" and outcome == READ:
                row["patients from"] = _listed(SAID.get(of.patient_from, of.patient_from) for of in some)
            summary.append(row)
    return summary, files


def _listed(values: Iterable) -> str:
    """The values that occur, the most frequent first, three at most."""
    every = [str(value) for value, _ in Counter(values).most_common() if value]
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def _fitting_size(drawn: dict[str, Drawn], sizes: Sequence[int], audit_size: int, fit: str, strict: bool) -> int:
    """The largest of `sizes`, descending, that all images reach, but for a few that do not reach `audit_size`."""
    if not sizes:
        raise ValueError("sizes is empty: give the sizes that an audit may work at")
    sides = {name: of.sides(fit) for name, of in drawn.items()}
    for size in sizes:
        short = {name: of < size for name, of in sides.items()}
        if not any(of.any() for of in short.values()):
            return size
        is_few = all(of.sum() <= max(1, FEW_SHORT * len(of)) and len(of) - of.sum() >= FEWEST for of in short.values())
        tiny = all((sides[name][of] < min(audit_size, sizes[0])).all() for name, of in short.items())
        if is_few and tiny:
            if strict:
                raise TooSmallError(f"{_first_short(drawn, size, fit)}; read strictly, so take it out")
            return size
    raise TooSmallError(f"{_first_short(drawn, size, fit)}; give {size}×{size} at least")


def _first_short(drawn: dict[str, Drawn], size: int, fit: str) -> str:
    """The first file, or the cohort, of which an image does not reach `size`, and that image's sides."""
    for name, of in drawn.items():
        cohort = of.located.cohort
        if cohort is not None and (of.sides(fit) < size).any():
            return f"{name}, {cohort.name}: {cohort.images.shape[-1]}×{cohort.images.shape[-2]} pixels"
        for row, facts in zip(of.rows.tolist() if cohort is None else (), of.facts, strict=True):
            for high, wide in facts.shapes:
                if side((high, wide), fit) < size:
                    return f"{of.located.found.files[row].path}: {wide}×{high} pixels"
    raise AssertionError("no image falls short")


def _short_images(opened: dict[str, OpenedImages], size: int, larger: int) -> tuple[str, ...]:
    """Why the sets are at `size`: which images fall short of the `larger` one, the next that was asked for."""
    short = {name: part.names[part.sides < larger] for name, part in opened.items()}
    few = [f"{counted(len(of), 'image')} of {name}, the first {of[0]}" for name, of in short.items() if len(of)]
    if larger == size or not few:
        return ()
    return (f"audited at {size}×{size} pixels, as some are smaller than {larger}×{larger}: {' and '.join(few)}",)


def _identical(synthetic: np.ndarray, real: np.ndarray) -> np.ndarray:
    known = {image.tobytes() for image in real}
    return np.flatnonzero([image.tobytes() in known for image in synthetic])


def _grey_levels(images: np.ndarray, stretch: bool) -> np.ndarray:
    levels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        if stretch:
            block = _stretched(block)
        levels[start : start + _BLOCK] = np.rint(np.clip(block, 0, 255))
    return levels


def _stretched(images: np.ndarray) -> np.ndarray:
    """Each image with its PERCENTILES at 0 and 255; its extremes, where nearly all of its pixels are equal."""
    least, low, high, most = np.percentile(images, (0, *PERCENTILES, 100), axis=(1, 2), keepdims=True).astype(
        np.float32
    )
    low, high = np.where(high > low, (low, high), (least, most))
    return (images - low) * (255 / np.where(high > low, high - low, 1))


def _averaged(images: np.ndarray, size: int) -> np.ndarray:
    if images.shape[1] <= size:
        return images
    step = images.shape[1] // size
    mean = images.reshape(len(images), size, step, size, step).mean(axis=(2, 4), dtype=np.float32)
    return np.rint(mean).astype(np.uint8)


def _require_enough(name: str, part: OpenedImages, keep: np.ndarray, *, people: int) -> None:
    if len(keep) < FEWEST:
        raise ValueError(
            f"{name}: {counted(len(keep), 'image')}, constant ones left out; an audit needs {FEWEST} in each set"
        )
    found = len(np.unique(part.patients[keep]))
    if name != "synthetic" and found < people:
        of = "in each real set" if people == FEWEST else "where there are no held-out images"
        raise ValueError(f"{name}: {counted(found, 'patient')}; an audit needs {people} {of}")


def _joint(opened: dict[str, OpenedImages], keeps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Patient codes by set; the real sets share one numbering."""
    # Of all that is there, read or not, constant or not: an image that is left out reveals an overlap as well.
    train, heldout = (opened[name].everyone if name in opened else np.array([], str) for name in ("train", "heldout"))
    both = np.intersect1d(train, heldout)
    if len(both):
        raise ValueError(
            f"train and heldout share {counted(len(both), 'patient')}, the first is {both[0]}; take each out of one of "
            "them (equal numbers in cohort files, and equal folders or names, mean the same patient)"
        )
    everyone = np.concatenate([train, heldout])
    number = dict(zip(everyone.tolist(), range(len(everyone)), strict=True))
    codes = {n: np.array([number[p] for p in opened[n].patients[keeps[n]].tolist()]) for n in _real(opened)}
    return codes | {"synthetic": np.arange(len(keeps["synthetic"]))}


def _require_disjoint_images(images: dict[str, np.ndarray], names: dict[str, np.ndarray]) -> None:
    first = {image.tobytes(): name for image, name in zip(images["train"], names["train"].tolist(), strict=True)}
    heldout = zip(images.get("heldout", ()), names.get("heldout", np.array([])).tolist(), strict=True)
    twice = [(first[image.tobytes()], name) for image, name in heldout if image.tobytes() in first]
    if twice:
        raise ValueError(
            f"train and heldout share {counted(len(twice), 'image')}, the first is {twice[0][0]} = {twice[0][1]}; "
            "take each out of one of them"
        )
