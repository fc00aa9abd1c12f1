"""Vertebral units out of volumes of the spine: one disc with half a body above and below, nine sagittal slices each.

Sun et al. 2021, spec §3: units of 9 × 112 × 224 voxels are squeezed to 9 × 64 × 64. How they were cut out of the scans
and how these were scaled is not published. Here a frame says where a unit lies, and grey values are cut at two
percentiles of the volume, which every unit of it shares.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from lib.cohorts.cohort import Cohort

SLICES = 9
LABELS = ("cervical", "thoracic", "lumbar")
PERCENTILES = (0.5, 99.5)
_FINER = 2  # samples of a pixel in either direction, of which it is the mean


class Frame(NamedTuple):
    """Where a unit lies: a frame twice as wide as it is high, centred in the disc and level with it."""

    centre: tuple[float, float, float]  # slice, row, column, in voxels
    width: float  # in mm, front to back
    degrees: float  # by which the disc falls from front to back
    region: int  # 0 cervical, 1 thoracic, 2 lumbar
    level: str  # such as "L2/3"


class Scan(NamedTuple):
    """A sagittal volume (slices, rows, columns): from right to left, downwards, from front to back."""

    volume: np.ndarray
    spacing: tuple[float, float, float]  # in mm, of slices, rows and columns
    patient: int
    frames: Sequence[Frame]
    name: str


def cut(scan: Scan, *, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """The units of one scan, (n, 9, H, W) uint8: 0 and 255 are the percentiles 0.5 and 99.5 of the volume.

    The nine slices are the scan's own, about the centre of the frame, interpolated where that lies between two. Raises
    ValueError, naming scan and level, for a volume that is not three-dimensional, not finite or constant, a spacing
    or a width that is not above 0, an unknown region, and a frame that leaves the volume.
    """
    volume = np.asarray(scan.volume, np.float32)
    if volume.ndim != 3 or not np.isfinite(volume).all():
        raise ValueError(f"{scan.name}: give a volume of finite numbers (slices, rows, columns), not {volume.shape}")
    spacing = np.asarray(scan.spacing, float)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"{scan.name}: the spacing is {scan.spacing}: give three lengths above 0, in mm")
    low, high = np.percentile(volume, PERCENTILES)
    if not high > low:
        raise ValueError(f"{scan.name}: the volume is constant: nothing can be cut out of it")
    units = np.empty((len(scan.frames), SLICES, *size), np.uint8)
    for place, frame in enumerate(scan.frames):
        at = _places(frame, spacing, size, f"{scan.name}, {frame.level}", volume.shape)
        sampled = ndimage.map_coordinates(volume, at, order=1, mode="nearest")
        pixels = sampled.reshape(SLICES, size[0], _FINER, size[1], _FINER).mean(axis=(2, 4))
        units[place] = np.rint(255 * np.clip((pixels - low) / (high - low), 0, 1))
    return units


def cohort_of(
    scans: Sequence[Scan], *, split: ArrayLike, name: str, size: tuple[int, int] = (64, 64), **facts
) -> Cohort:
    """The units of several scans as one cohort; split: the code of each scan, 0 train, 1 validation, 2 test.

    facts: what else `Cohort` is told, such as licence= and source=. Errors as `cut`, and ValueError without a unit.
    """
    codes = np.asarray(split)
    if len(codes) != len(scans) or not any(len(scan.frames) for scan in scans):
        raise ValueError(f"{len(scans)} scans and {len(codes)} split codes: give one for each, and a frame at least")
    counts = [len(scan.frames) for scan in scans]
    region = np.array([frame.region for scan in scans for frame in scan.frames])
    return Cohort(
        np.concatenate([cut(scan, size=size) for scan in scans]),
        np.repeat([scan.patient for scan in scans], counts),
        region,
        np.repeat(codes, counts),
        region=region,
        source_name=[f"{scan.name}_{frame.level}" for scan in scans for frame in scan.frames],
        name=name,
        modality="MR",
        label_names=LABELS,
        **facts,
    )


def _places(frame: Frame, spacing: np.ndarray, size: tuple[int, int], name: str, shape: tuple) -> np.ndarray:
    """The voxels (3, 9, finer rows, finer columns) that a unit samples."""
    if frame.region not in range(len(LABELS)):
        raise ValueError(f"{name}: region {frame.region}: 0 is cervical, 1 thoracic, 2 lumbar")
    if not (np.isfinite([*frame.centre, frame.width, frame.degrees]).all() and frame.width > 0):
        raise ValueError(f"{name}: centre, width and angle must be finite, and the width above 0 mm")
    down, along = (
        frame.width * share * ((np.arange(count * _FINER) + 0.5) / (count * _FINER) - 0.5)
        for share, count in zip((0.5, 1.0), size, strict=True)
    )
    cos, sin = np.cos(np.radians(frame.degrees)), np.sin(np.radians(frame.degrees))
    rows = frame.centre[1] + (cos * down[:, None] + sin * along) / spacing[1]
    columns = frame.centre[2] + (cos * along - sin * down[:, None]) / spacing[2]
    slices = frame.centre[0] + np.arange(SLICES) - SLICES // 2
    for what, at, count in zip(("slices", "rows", "columns"), (slices, rows, columns), shape, strict=True):
        if at.min() < -0.5 or at.max() > count - 0.5:
            reach = f"{at.min():.1f} to {at.max():.1f}"
            raise ValueError(f"{name}: the frame needs {what} {reach} of {count}: move it, or leave the unit out")
    return np.stack(np.broadcast_arrays(slices[:, None, None], rows, columns))
