"""A user's own images at one working size: a cohort file, a folder of image files, or one such file.

`OpenedImages.rules` states which of these rules were applied:
files: DICOM, PNG, JPEG, TIFF, BMP, WEBP and NIfTI are read, in all folders below (`image_search`). What is no image is
passed over and listed; what may be one and cannot be read is refused.
size: every image is averaged to the working size; one that is not square keeps its aspect ratio and is padded with its
darkest pixel, unless `fit` says otherwise (`resampling`); a smaller one is refused.
grey: colour becomes luma, a window of a DICOM header is applied, MONOCHROME1 is inverted, and padding takes the darkest
value of the other pixels (`dicom_display`, `picture_files`, `nifti_files`).
patient: named by the cohort file, the given table, the header, the folder or the file (`patient_naming`).
split: the rows of a cohort file are treated alike, whether they are of train, validation or test.
limit: beyond a limit, whole patients (or files, if their patients are not known before they are read) are drawn at
random until the limit is reached; the other images are not read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import dicom_display, nifti_files, picture_files
from lib.cohorts.io.cohort_images import cohort_side, names_of, read_cohort
from lib.cohorts.io.image_facts import Facts, NoImageError
from lib.cohorts.io.image_search import (
    COHORT_SUFFIXES,
    Found,
    ImageFile,
    Note,
    find_files,
    is_utf8,
    known_suffixes,
    shown,
)
from lib.cohorts.io.patient_naming import OWN, SAID, Naming, name_patients, patient_of
from lib.cohorts.io.resampling import FITS, TooSmallError, fitted, side
from lib.core.regular_files import require_regular

FORMATS: dict[str, ModuleType] = {"DICOM": dicom_display, "picture": picture_files, "NIfTI": nifti_files}
_FITTED = {
    "pad": "padded to a square with the darkest pixel",
    "squeeze": "squeezed to a square whatever the aspect",
    "crop": "cut to the square in the middle",
}


class OpenedImages(NamedTuple):
    """What `open_images` read."""

    images: np.ndarray  # (n, size, size) float32, 0 to 255 if `is_8_bit`, otherwise of any range
    patients: np.ndarray  # (n,) str; the path of the image's own file if no patient is named
    names: np.ndarray  # (n,) str
    sides: np.ndarray  # (n,) int64, the side of each stored image that had to reach the size, in pixels
    is_8_bit: bool
    everyone: np.ndarray  # (p,) str, all patients known without reading, also those of images that were not read
    found: int  # images in the source, as far as known without reading all; n of them were kept
    rules: tuple[str, ...]  # sentences that say what was done
    passed: tuple[Note, ...] = ()  # files that are no image, and images that were left out, each with the reason
    patients_from: dict[str, int] = {}  # images by what named their patients: keys of SAID, "cohort", or OWN if nothing


class Located(NamedTuple):
    """Outcome of `locate`."""

    path: Path
    cohort: Cohort | None  # or, of files:
    found: Found
    naming: Naming
    strict: bool


class Drawn(NamedTuple):
    """Outcome of `draw`: which images are to be read."""

    located: Located
    rows: np.ndarray  # (r,) of the files, or of the images of a cohort, ascending
    facts: list[Facts]  # of each file
    counts: list[int]  # images of each file that are to be read, the first ones
    found: int
    rules: tuple[str, ...]
    passed: tuple[Note, ...]

    def sides(self, fit: str) -> np.ndarray:
        """The side of each image that has to reach the working size, as far as headers tell, (n,) int64."""
        if self.located.cohort is not None:
            return np.full(len(self.rows), cohort_side(self.located.cohort, fit))
        of = [(side(shape, fit), count) for facts in self.facts for shape, count in facts.shapes.items()]
        return np.repeat([value for value, _ in of], [count for _, count in of])


def open_images(
    source: str | Path | Cohort,
    *,
    size: int,
    most: int,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    fit: str = "pad",
    strict: bool = False,
    rng: np.random.Generator,
) -> OpenedImages:
    """Read at most `most` images from `source` at `size` × `size`, by the rules of this module.

    source: a Cohort or its file, a folder with its subfolders, or one image file. Each frame of a DICOM file, page of a
    TIFF and slice of a volume is an image. patients: a table with the columns file and patient (`PatientTable`).
    patient_from: see `name_patients`. fit: see `fitted`. strict: refuse what would be passed over.
    Raises ValueError, in one sentence that names the file, if there is nothing to read, for a file that is damaged,
    not permitted, smaller than `size` or of unknown colours, for NaN, and for a file without a patient in the table.
    Raises ImportError, with the command, if DICOM needs pydicom or NIfTI nibabel.
    """
    located = locate(source, patients=patients, patient_from=patient_from, strict=strict)
    return read_drawn(draw(located, most=most, rng=rng), size=size, fit=fit)


def locate(
    source: str | Path | Cohort,
    *,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    strict: bool = False,
) -> Located:
    """Find what `open_images` would read, and whose it is as far as paths and a table tell. Errors as there."""
    if isinstance(source, Cohort) or (path := existing(source)).suffix.lower() in COHORT_SUFFIXES:
        cohort = source if isinstance(source, Cohort) else Cohort.open(path, closed_set=True)
        nothing = Found(Path(), [], [], [], [])
        return Located(Path(cohort.name), cohort, nothing, Naming(cohort.patient.astype(str), "cohort", True), strict)
    found = find_files(path)
    if found.refused:
        name, why = found.refused[0]
        more = len(found.refused) - 1
        raise ValueError(f"{found.folder}/{name}: {why}" + (f" ({more:,} more are refused)" if more else ""))
    if not found.files:
        seen = f" ({_summary(found.passed)})" if found.passed else ""
        raise ValueError(f"{path}: no image in it{seen}; known are {known_suffixes()}")
    if strict and found.passed:
        raise _not_strict(found, found.passed[0])
    naming = name_patients(found.files, found.folder, table=patients, patient_from=patient_from, is_image=_is_image)
    return Located(path, None, found, naming, strict)


def draw(located: Located, *, most: int, rng: np.random.Generator) -> Drawn:
    """Choose at most `most` images, and read the headers of their files. Errors as `open_images`."""
    if most < 1:
        raise ValueError(f"most is {most}: give one image at least")
    if located.cohort is not None:
        patients = located.cohort.patient.astype(str)
        rows = np.arange(len(patients)) if len(patients) <= most else _by_turn(patients, rng)[:most]
        told = _drawn_rule(len(rows), len(patients), "patient")
        return Drawn(located, np.sort(rows), [], [], len(patients), told, ())
    files, known, n = located.found.files, located.naming.known, len(located.found.files)
    kept: dict[int, Facts] = {}
    passed = list(located.found.passed)
    images = looked_at = 0
    # The header of a DICOM file names its patient, but reading all headers of a large set takes longer than the audit.
    for row in range(n) if n <= most else _by_turn(np.arange(n).astype(str) if known is None else known, rng):
        looked_at += 1
        if facts := _facts(located, files[row], passed):
            kept[row], images = facts, images + facts.images
            if images >= most and n > most:
                break
    if not kept:
        raise ValueError(f"{located.path}: no image in it ({_summary(passed)}); known are {known_suffixes()}")
    found, counts = images + n - looked_at, {row: facts.images for row, facts in kept.items()}
    order = list(kept)
    if images > most and n <= most:  # of files with several images
        named = np.array([patient_of(located.naming, row, files[row], kept[row])[0] for row in order])
        order = [order[place] for place in _by_turn(named, rng)]
    before = np.cumsum([0, *(counts[row] for row in order)])
    taken = {
        row: min(counts[row], most - int(start)) for row, start in zip(order, before, strict=False) if start < most
    }
    by = "file, whose patients were not compared" if known is None and n > most else "patient"
    rows = sorted(taken)
    told = _drawn_rule(sum(taken.values()), found, by)
    return Drawn(located, np.array(rows), [kept[r] for r in rows], [taken[r] for r in rows], found, told, tuple(passed))


def read_drawn(drawn: Drawn, *, size: int, fit: str = "pad", leave_short: bool = False) -> OpenedImages:
    """Read the images that were drawn at `size` × `size`; leave_short: leave out those that are smaller."""
    if size < 8 or fit not in FITS:
        raise ValueError(f"size is {size} and fit {fit!r}: give 8 pixels at least, and one of {', '.join(FITS)}")
    if drawn.located.cohort is not None:
        return _of_cohort(drawn, drawn.located.cohort, size, fit)
    files, naming = drawn.located.found.files, drawn.located.naming
    images = np.empty((sum(drawn.counts), size, size), np.float32)
    names, patients, shapes = list[str](), list[str](), list[tuple[int, int]]()
    named_by, how, passed = Counter[str](), Counter[str](), list(drawn.passed)
    is_8_bit = True
    for row, facts, count in zip(drawn.rows.tolist(), drawn.facts, drawn.counts, strict=True):
        patient, by = patient_of(naming, row, files[row], facts)
        done: set[str] = set()
        for number, image in enumerate(islice(FORMATS[files[row].kind].read(files[row].path), count)):
            name = files[row].name if facts.images == 1 else f"{files[row].name} frame {number}"
            shape = image.pixels.shape
            if leave_short and side(shape, fit) < size:
                passed.append(Note(name, f"{shape[1]}×{shape[0]} pixels, fewer than {size}×{size}"))
                continue
            images[len(names)] = fitted(image.pixels, size, str(files[row].path), fit=fit)
            names.append(name)
            patients.append(patient)
            shapes.append(shape)
            named_by[by] += 1
            is_8_bit &= image.is_8_bit
            done |= image.rules
        how.update(done)
    if not names:
        raise TooSmallError(f"{drawn.located.path}: no image reaches {size}×{size} pixels; give larger images")
    rules = [*_passed_rules(drawn.located.found, passed), *drawn.rules]
    rules += [f"{counted(number, 'file')} {done}" for done, number in sorted(how.items())]
    rules += [*_size_rules(shapes, size, fit), *_patient_rules(named_by)]
    known = naming.known if naming.known is not None and set(named_by) == {naming.by} else np.array(patients)
    return OpenedImages(
        images[: len(names)], np.array(patients), np.array(names), np.array([side(shape, fit) for shape in shapes]),
        is_8_bit, np.setdiff1d(known, [""]), drawn.found, tuple(rules), tuple(passed), dict(named_by),
    )  # fmt: skip


def existing(source: str | Path) -> Path:
    """The path of a file or folder that is there; raises ValueError otherwise, and for a number."""
    if not isinstance(source, (str, Path)):
        raise ValueError(
            f"a path is given as the number {source!r}: where a program takes 007 for 7, write ./007, or -r for -p"
        )
    if not str(source).strip():
        raise ValueError("a path is empty: give all three of train, heldout and synthetic")
    path = Path(str(source)).expanduser()
    if not is_utf8(str(path)):
        raise ValueError(f"{shown(str(path))}: its name is no UTF-8; rename it")
    try:
        is_there = path.exists()
    except OSError as error:
        raise ValueError(f"{path.absolute()}: no permission to look there; allow it") from error
    if not is_there:
        raise ValueError(
            f"{path.absolute()}: no such file or folder; give a cohort file, a folder of images or one image"
        )
    if not path.is_dir():
        require_regular(path)
    return path


def counted(n: int, noun: str) -> str:
    """The number and the noun, which is in the plural unless `n` is 1."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _of_cohort(drawn: Drawn, cohort: Cohort, size: int, fit: str) -> OpenedImages:
    images, rules = read_cohort(cohort, drawn.rows, size=size, fit=fit)
    high, wide = cohort.images.shape[-2:]
    rules = [*drawn.rules, *rules, *_size_rules([(high, wide)] * len(images), size, fit)]
    patients = cohort.patient.astype(str)
    return OpenedImages(
        images, patients[drawn.rows], names_of(cohort)[drawn.rows], drawn.sides(fit), True, np.unique(patients),
        drawn.found, tuple(rules), (), {"cohort": len(images)},
    )  # fmt: skip


def _facts(located: Located, file: ImageFile, passed: list[Note]) -> Facts | None:
    """What the header of `file` says; if it is no image, None, and a line in `passed`."""
    held = _holds(file)
    if isinstance(held, Facts):
        return held
    if located.strict:
        raise _not_strict(located.found, held)
    passed.append(held)
    return None


def _holds(file: ImageFile) -> Facts | Note:
    """What the header of `file` says, or why it is no image."""
    try:
        return FORMATS[file.kind].facts(file.path)
    except NoImageError as error:
        return Note(file.name, str(error))
    except ValueError:
        if file.is_certain:
            raise
        return Note(file.name, "no image")


def _is_image(file: ImageFile) -> bool:
    return isinstance(_holds(file), Facts)


def _not_strict(found: Found, note: Note) -> ValueError:
    return ValueError(f"{found.folder}/{note.name}: {note.why}; read strictly, so take it out")


def _by_turn(patients: np.ndarray, rng: np.random.Generator) -> Sequence[int]:
    """The rows, patient after patient, the patients in random order."""
    code = np.unique(patients, return_inverse=True)[1]
    return np.argsort(rng.permutation(code.max() + 1)[code], kind="stable").tolist()


def _drawn_rule(taken: int, found: int, by: str) -> tuple[str, ...]:
    if taken >= found:
        return ()
    return (f"{taken:,} of {found:,} images drawn at random, by {by}; the others were not looked at",)


def _size_rules(shapes: Sequence[tuple[int, int]], size: int, fit: str) -> Iterator[str]:
    if (sizes := len(set(shapes))) > 1:
        yield f"images of {sizes} sizes, each averaged to {size}×{size}"
    if oblong := sum(high != wide for high, wide in shapes):
        yield f"{counted(oblong, 'image')} not square, {_FITTED[fit]}"


def _patient_rules(named_by: Counter) -> Iterator[str]:
    named = {by: images for by, images in named_by.items() if by != OWN}
    if named:
        each = [f"by {SAID[by]}" + f" ({images:,})" * (len(named_by) > 1) for by, images in named.items()]
        yield f"patients {', '.join(each)}"
    if images := named_by[OWN]:
        yield f"{counted(images, 'image')} without a patient, each file its own: intervals may be too narrow"


def _passed_rules(found: Found, passed: Sequence[Note]) -> Iterator[str]:
    if passed:
        yield f"{counted(len(passed), 'file')} passed over: {_summary(passed)}"
    if found.litter:
        yield f"{len(found.litter):,} hidden passed over, the first {found.litter[0].name}"


def _summary(passed: Sequence[Note]) -> str:
    """How many were passed over for each reason, and the first of them."""
    every: dict[str, list[str]] = {}
    for name, why in passed:
        every.setdefault("the same as another" if why.startswith("the same as") else why, []).append(name)
    return ", ".join(f"{why} ({_first(names)})" for why, names in every.items())


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names):,}, the first {names[0]}"
