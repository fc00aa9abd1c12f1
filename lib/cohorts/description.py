"""What is in a cohort: counts, sizes, grey levels, labels by split, and images that are there twice."""

import hashlib

import numpy as np

from lib.cohorts.cohort import COLUMNS, SPLITS, Cohort
from lib.cohorts.rows import in_blocks


def describe(cohort: Cohort) -> list[tuple[str, str]]:
    """(what, how much) of `cohort`, for a table of two columns; its pixels are read once, in blocks.

    ValueError, naming the file, for pixels that are NaN or infinite, and for a damaged file.
    """
    low, high, digests = np.inf, -np.inf, []
    for images in map(np.ascontiguousarray, in_blocks(cohort.images)):
        low, high = min(low, float(images.min())), max(high, float(images.max()))
        digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    of_patient = np.unique(cohort.patient, return_counts=True)[1]
    size = "×".join(map(str, cohort.images.shape[1:]))
    facts = [
        ("name", cohort.name),
        ("images", f"{len(cohort):,} of {size} pixels, {cohort.images.dtype}"),
        ("pixels", f"{low:g} to {high:g}, of a range from {cohort.value_range[0]:g} to {cohort.value_range[1]:g}"),
        ("patients", f"{len(of_patient):,}, with {of_patient.min()} to {of_patient.max()} images"),
        *((f"split {name}", _of_split(cohort, code)) for name, code in SPLITS.items()),
        *_labels(cohort),
        ("masks", "none" if cohort.masks is None else "of every image"),
        ("columns", ", ".join(c for c in COLUMNS if getattr(cohort, c) is not None) or "none more"),
        ("doubles", _doubles(cohort, digests)),
        ("modality", cohort.modality),
        ("licence", cohort.licence),
        ("source", cohort.source),
        ("made by", cohort.made_by or "unknown"),
    ]
    return [(what, how) for what, how in facts if how]


def _of_split(cohort: Cohort, code: int) -> str:
    here = cohort.split == code
    patients = len(np.unique(cohort.patient[here]))
    return f"{here.sum():,} images of {patients:,} patients" if here.any() else "empty"


def _labels(cohort: Cohort) -> list[tuple[str, str]]:
    """Of each label how many images have it, by split."""
    labels = cohort.labels
    has = labels if labels.ndim == 2 else labels[:, None] == np.arange(len(cohort.label_names))
    splits = {name: cohort.split == code for name, code in SPLITS.items() if (cohort.split == code).any()}
    kind = "finding" if labels.ndim == 2 else "class"
    return [
        (
            name if name.startswith(f"{kind} ") else f"{kind} {name}",
            ", ".join(f"{part} {int(column[here].sum()):,}" for part, here in splits.items()),
        )
        for name, column in zip(cohort.label_names, has.T, strict=True)
    ]


def _doubles(cohort: Cohort, digests: list[bytes]) -> str:
    """How many images equal an earlier one pixel by pixel, and how many of these one of another patient or split."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(digest, row), row) for row, digest in enumerate(digests)]
    twice = np.array([pair for pair in pairs if pair[0] != pair[1]], int).reshape(-1, 2)
    if not len(twice):
        return "no two images are equal"
    apart = [int((of[twice[:, 0]] != of[twice[:, 1]]).sum()) for of in (cohort.patient, cohort.split)]
    return (
        f"{len(twice):,} images equal an earlier one, {apart[0]:,} of them one of another patient, {apart[1]:,} one in "
        "another split"
    )
