"""Slices of NIfTI volumes, turned as a radiologist sees them; nibabel is an optional dependency (extra `data`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lib.cohorts.io.dicom_files import MOST_OF_A_FILE
from lib.cohorts.io.image_facts import MEND, TO_LUMA, Facts, NoImageError, Shown
from lib.cohorts.io.image_files import require_bounded
from lib.core.regular_files import refuse_unreadable, require_regular

_LABELS = 1002  # NIFTI_INTENT_LABEL: each number names a structure
# By the axis (right, anterior, superior) that is cut: the plane, and the axes of the picture's rows and columns.
_PLANES = {2: ("axial", 1, 0), 1: ("coronal", 2, 0), 0: ("sagittal", 2, 1)}


def facts(path: Path) -> Facts:
    """Shapes and depth of the slices at `path`, and no patient.

    Raises ValueError, naming the file, if it is damaged or too large, NoImageError for a map of labels, and
    ImportError, with the command, without nibabel.
    """
    volume = _opened(path)
    turns, cut = _orientation(volume)
    shape = np.ones(3, int)
    shape[turns[:, 0].astype(int)] = (*volume.shape[:3], 1, 1)[:3]
    _, rows, columns = _PLANES[cut]
    plane = int(shape[rows]), int(shape[columns])
    require_bounded(path, (plane[1], plane[0]))
    slices = int(np.prod(volume.shape, dtype=float)) // (plane[0] * plane[1])
    kind = volume.get_data_dtype()
    return Facts({plane: slices}, 8 if _is_8_bit(volume) else 8 * kind.itemsize, is_colour=kind.names is not None)


def read(path: Path) -> Iterator[Shown]:
    """Each slice at `path` across the axis of the widest spacing (the axial ones of a volume of equal spacing).

    Anterior or superior is at the top, and the patient's right, or anterior, at the left. Numbers are scaled as the
    header says. Errors as `facts`.
    """
    volume = _opened(path)
    turns, cut = _orientation(volume)
    from nibabel import apply_orientation  # it is there, as the volume is opened

    try:
        numbers = np.asanyarray(volume.dataobj)
    except Exception as error:  # nibabel and zlib raise errors of many kinds
        refuse_unreadable(path, error)
        raise ValueError(f"{path}: truncated or damaged; {MEND}") from error
    is_colour = numbers.dtype.names is not None
    if is_colour:
        numbers = sum(numbers[part].astype(np.float32) * weight for part, weight in zip("RGB", TO_LUMA, strict=True))
    elif numbers.dtype.kind == "c":
        raise ValueError(f"{path}: complex numbers; save their magnitudes")
    numbers = numbers.reshape(*numbers.shape[:3], *[1] * (3 - numbers.ndim), -1)
    numbers = apply_orientation(numbers, turns)
    name, rows, columns = _PLANES[cut]
    numbers = numbers.transpose(3, cut, rows, columns)[:, :, ::-1, ::-1]
    rules = {f"cut into {name} slices"} | ({"of colour made grey by luma"} if is_colour else set())
    for time in numbers:
        for slice_ in time:
            yield Shown(np.ascontiguousarray(slice_, np.float32), _is_8_bit(volume), frozenset(rules))


def _opened(path: Path):
    """The volume at `path`, its numbers unread."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            "NIfTI images need nibabel: run `pip install -e '.[data]'` in the project's folder"
        ) from error
    require_regular(path)
    try:
        volume: Any = nibabel.load(path)  # a spatial image, of one of many classes
        shape, labels = volume.shape, int(volume.header["intent_code"])
        bits = volume.get_data_dtype().itemsize * 8
    except Exception as error:  # nibabel raises errors of many kinds
        refuse_unreadable(path, error)
        raise ValueError(f"{path}: not a readable NIfTI file; {MEND}") from error
    if labels == _LABELS:
        raise NoImageError("a map of labels, no image of a patient")
    if not 2 <= len(shape) <= 7 or min(shape) < 1:
        raise ValueError(f"{path}: not a readable NIfTI file; {MEND}")
    if np.prod(shape, dtype=float) * max(bits // 8, 4) > MOST_OF_A_FILE:
        raise ValueError(
            f"{path}: {'×'.join(map(str, shape))} numbers of {bits} bits take more than {MOST_OF_A_FILE:,} bytes; "
            "give smaller volumes"
        )
    return volume


def _orientation(volume) -> tuple[np.ndarray, int]:
    """How its axes become right, anterior, superior (nibabel's orientation), and which of these is cut."""
    from nibabel import io_orientation

    turns = io_orientation(volume.affine)
    if np.isnan(turns).any() or len(turns) < 3:
        turns = np.array([[0, 1], [1, 1], [2, 1]], float)
    spacing = np.zeros(3)
    given = np.abs(np.nan_to_num(np.asarray(volume.header.get_zooms()[:3], float)))
    spacing[turns[: len(given), 0].astype(int)] = given
    if len(volume.shape) < 3 or volume.shape[2] == 1:  # a single picture is not cut again
        return turns, int(turns[2, 0])
    return turns, int(spacing.argmax()) if spacing.max() > 1.01 * spacing[2] else 2


def _is_8_bit(volume) -> bool:
    slope, intercept = volume.header.get_slope_inter()
    return volume.get_data_dtype() in (np.dtype("u1"), _rgb()) and slope in (None, 1) and intercept in (None, 0)


def _rgb() -> np.dtype:
    return np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
