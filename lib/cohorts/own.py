"""A user's own cohort, made ready for a paper: opened, examined, brought to its size, its labels and its splits.

What a file does not say is made by a rule, the same at every run, and told in `made_by` of the result:

- **Splits.** Without a test image all patients are assigned anew, 7 of 10 to train, 1 to validation and 2 to test; with
  test but no validation images, 1 of 8 training patients goes to validation. Patients are assigned kind by kind, their
  kind being the rarest of their labels, at random within it: so a kind of three patients or more is in every split.
- **Hospitals.** With a column `site` that has two values or more, the first hospital is the site with most images and
  the second is all others. Without it, every third patient of each split and kind stands for the second one.
- **Held out.** Where every patient is in every split, nobody is left on whom a network was not trained. So every fifth
  patient of each kind is taken away before anything else, as "other people": the held-out people of a release's audit.
- **Size.** Each image is averaged over areas to a square, padded with its darkest pixel where it is not square.

Nothing is ever written to the user's files.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.cohorts import lung_segmentation
from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.fitted_rows import FittedRows
from lib.cohorts.io import hdf5
from lib.cohorts.io.case_hdf5 import read_masks
from lib.cohorts.rows import in_blocks
from lib.cohorts.splits import split_within
from lib.core.seeding import numpy_generator

_PATTERN = (0, 2, 1, 0, 0, 0, 2, 0, 0, 0)  # splits of ten patients of a kind, in order
_WITH_TEST = (0, 1, 0, 0, 0, 0, 0, 0)  # of eight training patients, where a test set is given
_EVERY_THIRD = (0, 1, 0)
_EVERY_FIFTH = (0, 0, 1, 0, 0)
_PEOPLE = ("most people", "other people")


def digest_of(data: str | Path, masks: str | Path = "") -> str:
    """Eight hexadecimal digits of the SHA-256 of the file `data`, or of those of both files.

    FileNotFoundError, naming it, for a file that is not there.
    """
    digests = []
    for path in (Path(data), *([Path(masks)] if masks else [])):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; give a cohort, as python -m lib.cohorts convert makes it")
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:8]


def as_given(data: Path, masks: str | Path = "", *, with_masks: bool = False, test: int = 1) -> Cohort:
    """The cohort in a user's file, as it says that it is: a plain one has its splits as the published scripts do.

    masks: of a second file, or of this one `with_masks`, read. test: the code of the test images in a plain file, 1 as
    published, or 2; the other code is that of validation images. ValueError for another `test`, and for 2 of a file
    that says its codes itself; else errors as `Cohort.open` and `read_masks`.
    """
    if test not in (1, 2):
        raise ValueError(f"test is {test}; give 1, as the published scripts have it, or 2")
    lazy = Cohort.open(data, closed_set=True)
    if masks or (with_masks and lazy.masks is not None):
        lazy = lazy.replaced(masks=read_masks(Path(masks or data), lazy))
    with hdf5.received(data, mend="make the file again") as file:
        is_plain = file.attribute("split_code") is None
    if not is_plain:
        if test == 2:
            raise ValueError(f"{data}: a cohort file, whose splits have names; leave out which code is the test's")
        return lazy
    if test == 2:
        return lazy.replaced(made_by=_told(lazy, "set read as 1 for validation and 2 for test, as asked"))
    split = np.array([0, 2, 1], np.uint8)[lazy.split]
    return lazy.replaced(split=split, made_by=_told(lazy, "set read as published, 1 for test and 2 for validation"))


def open_own(data: str | Path, masks: str | Path = "", *, within: bool = False) -> Cohort:
    """The cohort of a user's file, in this suite's layout or Montenegro's, with `masks` of a second file.

    Patients are numbered from 0, and three equal channels become grey. In a plain file, without this suite's facts,
    `set` is 1 for test and 2 for validation, as the published scripts have it. within: whether every patient has to be
    in every split, and patients with fewer than three images are left out; otherwise none may be in two. What was made
    here is told in `made_by`.

    Pixels are read once, in blocks, and stay in the file. Raises FileNotFoundError, and ValueError, naming the file,
    for what `Cohort.open` and `read_masks` refuse, for NaN and pixels outside the range, and for a patient in two
    splits.
    """
    data, rules = Path(data), list[str]()
    lazy = as_given(data, masks if within else "", with_masks=within)
    found = lazy.masks if within else None
    images = FittedRows(lazy.images, value_range=lazy.value_range)
    images = images.as_grey() if _examine(lazy, data) and images.ndim == 4 else images
    names = lazy.source_name if lazy.source_name is not None else [f"row {row}" for row in range(len(lazy))]
    whole = lazy.replaced(images=images, masks=found, value_range=images.value_range, source_name=names)
    try:
        whole = _with_three_images(whole, rules) if within else whole
        patient = np.unique(whole.patient, return_inverse=True)[1]
        if within:
            split = _split_within(patient, whole.split, rules)
        else:
            split = _split_apart(patient, whole.split, _kinds(whole.labels, patient), rules)
    except ValueError as error:
        raise ValueError(f"{data}: {error}") from error
    return whole.replaced(patient=patient, split=split, closed_set=within, made_by=_told(whole, *rules))


def hospitals(cohort: Cohort) -> tuple[np.ndarray, str]:
    """Of which hospital each image is, (n,) int 0 first, 1 second, and the rule, as this module says."""
    if cohort.site is not None and len(np.unique(cohort.site)) > 1:
        sites, counts = np.unique(cohort.site, return_counts=True)
        largest = sites[counts.argmax()]
        return (cohort.site != largest).astype(int), f"site {largest} is the first hospital, the others the second"
    kind = 3 * _kinds(cohort.labels, cohort.patient) + cohort.split[np.unique(cohort.patient, return_index=True)[1]]
    of_patient = _assigned(kind, _EVERY_THIRD, "hospitals")
    return of_patient[cohort.patient], "no column site: every third patient stands for the second hospital"


def rows_of(cohort: Cohort, which: str) -> tuple[np.ndarray, str]:
    """Which images are in one of the PARTS of `lib.cohorts.needs`, (n,) bool, and by which rule, as this module says.

    ValueError for "other people" where patients are so few that nobody is held out.
    """
    if which == "whole":
        return np.ones(len(cohort), bool), ""
    if which not in _PEOPLE:
        of, rule = hospitals(cohort)
        return of == (which != "first hospital"), rule
    of_patient = _assigned(_kinds(cohort.labels, cohort.patient), _EVERY_FIFTH, "other people") == 1
    if not of_patient.any() and which == "other people":
        raise ValueError("nobody is held out: give three patients of a kind at least")
    rule = f"{of_patient.sum()} of {len(of_patient)} patients, every fifth of each kind, held out of all training"
    return of_patient[cohort.patient] == (which == "other people"), rule


def part_of(cohort: Cohort, which: str) -> Cohort:
    """The images of a part, as `rows_of` says, with patients numbered from 0. Its `made_by` tells the rule."""
    if which == "whole":
        return cohort
    rows, rule = rows_of(cohort, which)
    part = cohort[rows]
    patient = np.unique(part.patient, return_inverse=True)[1]
    return part.replaced(patient=patient, name=f"{part.name}, {which}", made_by=_told(part, rule))


def fitted(cohort: Cohort, size: int) -> Cohort:
    """The cohort at `size` × `size` pixels, still unread; a mask is where at least half a pixel was masked."""
    if cohort.images.shape[-2:] == (size, size):
        return cohort
    images = FittedRows(cohort.images, value_range=cohort.value_range).fitted(size)
    masks = None if cohort.masks is None else _fitted_masks(cohort.masks, size)
    return cohort.replaced(images=images, masks=masks, value_range=images.value_range)


def with_lungs(cohort: Cohort) -> Cohort:
    """The same radiographs (n, s, s) with masks of their lungs (`lib.cohorts.lung_segmentation`); they are read."""
    lungs = lung_segmentation.segmented(images := cohort.images[:])
    rule = f"lungs by lib.cohorts.lung_segmentation, {(~lungs.found).sum()} of {lungs.found.size} by an ellipse"
    return cohort.replaced(images=images, masks=lungs.masks, made_by=_told(cohort, rule))


def _told(cohort: Cohort, *rules: str) -> str:
    return "; ".join(filter(None, (cohort.made_by, *rules)))


def _examine(cohort: Cohort, path: Path) -> bool:
    """Whether images have three channels, all equal. ValueError for NaN and for pixels outside the range."""
    low, high = cohort.value_range
    is_grey = True
    for block in in_blocks(cohort.images):  # which refuses NaN
        if block.min() < low or block.max() > high:
            reach = f"{block.min():g} to {block.max():g}"
            raise ValueError(
                f"{path}: pixels run from {reach}, outside {low:g} to {high:g}; scale them into that range"
            )
        is_grey &= block.ndim == 4 and block.shape[1] == 3 and bool((block == block[:, :1]).all())
    return is_grey


def _kinds(labels: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Of each patient (p,) the rarest label that one of their images has; 0 for one without a finding."""
    has = labels if labels.ndim == 2 else labels[:, None] == np.arange(labels.max() + 1)
    of_patient = np.zeros((patient.max() + 1, has.shape[1]), bool)
    np.logical_or.at(of_patient, patient, has.astype(bool))
    rarest = np.where(of_patient, has.sum(axis=0), np.iinfo(np.int64).max).argmin(axis=1)
    return np.where(of_patient.any(axis=1), rarest + 1, 0)


def _assigned(kinds: np.ndarray, pattern: Sequence[int], name: str) -> np.ndarray:
    """The code of each of the patients (p,), by `pattern` in turn within each kind, in random order."""
    order = np.lexsort((numpy_generator(0, "own cohort", name).random(len(kinds)), kinds))
    first = np.searchsorted(kinds[order], kinds[order])
    codes = np.empty(len(kinds), np.int64)
    codes[order] = np.resize(pattern, len(kinds) + len(pattern))[np.arange(len(kinds)) - first]
    return codes


def _split_apart(patient: np.ndarray, split: np.ndarray, kinds: np.ndarray, rules: list[str]) -> np.ndarray:
    pairs = np.unique(np.stack([patient, split.astype(np.int64)]), axis=1)[0]
    if len(twice := np.unique(pairs[1:][pairs[1:] == pairs[:-1]])):
        raise ValueError(f"{len(twice)} patients stand in two splits; give all images of a patient one split")
    of_patient = split[np.unique(patient, return_index=True)[1]].astype(np.int64)
    if not (of_patient == SPLITS["test"]).any():
        rules.append("no test images given: 70/10/20 % of patients assigned to train/validation/test")
        of_patient = _assigned(kinds, _PATTERN, "splits")
    elif not (of_patient == SPLITS["validation"]).any():
        rules.append("no validation images given: one of eight training patients assigned to validation")
        train = np.flatnonzero(of_patient == SPLITS["train"])
        of_patient[train] = _assigned(kinds[train], _WITH_TEST, "validation")
    return of_patient[patient].astype(np.uint8)


def _with_three_images(cohort: Cohort, rules: list[str]) -> Cohort:
    own, owner, counts = np.unique(cohort.patient, return_inverse=True, return_counts=True)
    if (counts >= len(SPLITS)).all():
        return cohort
    if (counts < len(SPLITS)).all():
        raise ValueError("no patient has three images, one for each split; give more images of each")
    rules.append(f"{(counts < len(SPLITS)).sum()} of {len(own)} patients left out, who have fewer than three images")
    return cohort[counts[owner] >= len(SPLITS)]


def _split_within(patient: np.ndarray, split: np.ndarray, rules: list[str]) -> np.ndarray:
    given = np.zeros((patient.max() + 1, len(SPLITS)), bool)
    given[patient, split] = True
    if given.all():
        return split
    rules.append("not every patient was in every split: 70/10/20 % of the images of each assigned anew")
    return split_within(patient, name="own cohort")


def _fitted_masks(masks, size: int) -> np.ndarray:
    shares = FittedRows(masks, value_range=(0, 1)).fitted(size)
    return np.concatenate([block >= 128 for block in in_blocks(shares)]).astype(np.uint8)
