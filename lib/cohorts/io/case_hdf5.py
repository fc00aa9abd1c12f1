"""HDF5 files of images with identity and disease, in the published layout (with masks in a second file) or in ours."""

from pathlib import Path

import numpy as np

from lib.cohorts.cohort import FILE_KEYS, SPLITS, Cohort
from lib.cohorts.io import hdf5

_COPIES = {FILE_KEYS[column]: column for column in ("patient", "labels", "split")}


def open_cases(path: Path, masks: Path | None = None, *, test: int = 1, **facts) -> Cohort:
    """A grey cohort with masks, in memory, whose patients may stand in several splits.

    path: a cohort of this suite, or a plain file with `images` (N, H, W) or (N, H, W, 3), `id`, `dis` and `set`. Three
    equal channels become grey. masks: the published second file, which holds `masks` (N, H, W) and copies of `id`,
    `dis` and `set`; if it is None, the masks are those in `path`, if any. Masks are 0 or 1, or 0 or 255 as published.
    test: the code of the test images in a plain file: 1, as in the published scripts, or 2. The other code is that of
    validation images; the cohort itself always has 1 validation, 2 test. facts: facts of `Cohort` that override the
    stored ones.

    Raises FileNotFoundError for an absent file, and ValueError, naming the file, for what `Cohort.open` refuses, for
    images in colour, and for masks of another cohort, of another shape or with other values.
    """
    if test not in (1, 2):
        raise ValueError(f"test is {test}; give 1, as the published scripts have it, or 2")
    lazy = Cohort.open(path, **({"closed_set": True} | facts))
    images = lazy.images[:]
    if images.ndim == 4 and (images == images[:, :1]).all():
        images = images[:, 0]
    if images.ndim == 4:
        raise ValueError(f"{path}: images are in colour, of shape {images.shape}; convert them to grey, (N, H, W)")
    split = lazy.split
    with hdf5.received(path, mend="make the file again") as file:
        is_plain = file.attribute("split_code") is None
    if is_plain and test == 1:
        split = np.array([SPLITS["train"], SPLITS["test"], SPLITS["validation"]], np.uint8)[lazy.split]
    found = read_masks(masks or path, lazy) if masks or lazy.masks is not None else None
    rows = {column: getattr(lazy, column) for column in ("region", "site", "lesion", "view", "source_name")}
    names = ("name", "modality", "label_names", "value_range", "licence", "source", "closed_set", "made_by")
    return Cohort(images, lazy.patient, lazy.labels, split, masks=found, **rows, **{n: getattr(lazy, n) for n in names})


def read_masks(path: Path, cohort: Cohort) -> np.ndarray:
    """The masks in the HDF5 file `path`: (N, H, W) uint8, 0 or 1. Raises errors as `open_cases` does.

    cohort: the images of these masks; its patients, labels and splits must equal `id`, `dis` and `set` of the file.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file of masks; make it first")
    with hdf5.received(path, mend="make the masks again, with id, dis and set") as file:
        file.require("masks", *_COPIES)
        masks, copies = file.whole("masks"), {name: file.whole(name) for name in _COPIES}
    for name, copy in copies.items():
        if not np.array_equal(copy.reshape(-1), getattr(cohort, _COPIES[name]).reshape(-1)):
            raise ValueError(f"{path}: {name} differs from that of {cohort.name}; give the masks of these images")
    expected = (len(cohort), *cohort.images.shape[-2:])
    if masks.shape != expected:
        of = f"{cohort.name} has images of {expected[1:]}"
        raise ValueError(f"{path}: masks have shape {masks.shape} where {of}; make the masks again")
    inside = masks == masks.max() if masks.max() in (1, 255) else np.zeros(masks.shape, bool)
    wrong = masks[~inside & (masks != 0)]  # NaN is among them
    if len(wrong):
        raise ValueError(f"{path}: masks hold {wrong[0]:g}; make them 0 or 1 (or the published 0 or 255)")
    return inside.astype(np.uint8)
