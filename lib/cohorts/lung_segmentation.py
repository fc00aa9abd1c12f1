"""Masks of the lungs on small frontal chest radiographs, by their darkness; no trained network is involved.

The method, for each radiograph and each side:

1. smooth by a Gaussian of 1/64 of the width;
2. look only inside the ellipse where that lung lies on most radiographs, drawn larger by `REACH` of itself;
3. take the pixels darker than the threshold that parts the grey values there best (Otsu 1979);
4. open them by one step, keep the largest connected part, close it, fill its holes;
5. add the ellipse's core, smaller by `CORE`: consolidated lung is as bright as what surrounds it, and belongs to it.

Where the dark part covers less than `LEAST` of the ellipse, as on a radiograph without visible lung, the ellipse itself
stands in. It is no radiologist's contour: hearts and diaphragms are cut at their edge, hidden lung behind them is not.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

# Ellipses (centre x, y and half-axes x, y, in widths of the radiograph) where lungs lie on most frontal radiographs.
ELLIPSES = ((0.335, 0.43, 0.145, 0.28), (0.685, 0.43, 0.145, 0.28))
REACH, CORE, LEAST = 1.35, 0.6, 0.3


class Lungs(NamedTuple):
    """Masks of both lungs of each radiograph."""

    masks: np.ndarray  # (n, s, s) uint8, 1 inside
    found: np.ndarray  # (n, 2) bool, whether the right and the left lung were seen; otherwise the ellipse stands in


def segmented(radiographs: ArrayLike) -> Lungs:
    """The lungs on frontal radiographs (n, s, s) uint8, with bright bone. ValueError for another shape or type."""
    images = np.asarray(radiographs)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            f"radiographs are {images.dtype} of shape {images.shape}: give square grey ones, (n, s, s) uint8"
        )
    size = images.shape[1]
    smooth = ndimage.gaussian_filter(images.astype(np.float32), (0, size / 64, size / 64), mode="nearest")
    masks, found = np.zeros(images.shape, bool), np.zeros((len(images), 2), bool)
    for side, ellipse in enumerate(ELLIPSES):
        near, usual, core = (inside(ellipse, size, by=by) for by in (REACH, 1.0, CORE))
        dark = near & (smooth < _otsu(smooth[:, near])[:, None, None])
        lungs = np.stack([_largest(ndimage.binary_opening(of)) for of in dark])
        found[:, side] = (lungs & usual).sum(axis=(1, 2)) >= LEAST * usual.sum()
        lungs = np.stack([_whole(of | core) & near for of in lungs])
        masks |= np.where(found[:, side, None, None], lungs, usual)
    return Lungs(masks.astype(np.uint8), found)


def inside(ellipse: tuple[float, float, float, float], size: int, *, by: float = 1.0) -> np.ndarray:
    """Pixels (size, size) bool within an ellipse of `ELLIPSES` whose half-axes are multiplied `by` a number."""
    x, y, wide, high = ellipse
    at = (np.arange(size) + 0.5) / size
    return ((at - x) / (by * wide)) ** 2 + ((at[:, None] - y) / (by * high)) ** 2 <= 1


def _otsu(values: np.ndarray) -> np.ndarray:
    """Of each row (n, m) the threshold with the largest variance between what lies below and what lies above: (n,)."""
    ranked = np.sort(values, axis=1)
    count = values.shape[1]
    below = np.arange(1, count)
    sums = np.cumsum(ranked, axis=1, dtype=np.float64)
    lower, upper = sums[:, :-1] / below, (sums[:, -1:] - sums[:, :-1]) / (count - below)
    best = (below * (count - below) * (upper - lower) ** 2).argmax(axis=1)[:, None]
    return (np.take_along_axis(ranked, best, 1) + np.take_along_axis(ranked, best + 1, 1))[:, 0] / 2


def _largest(region: np.ndarray) -> np.ndarray:
    """The largest connected part of a region (s, s); nothing of an empty one."""
    parts, count = ndimage.label(region)
    if not count:
        return region
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def _whole(region: np.ndarray) -> np.ndarray:
    """A region (s, s) closed by two steps, without holes; what the frame cuts off stays."""
    wide = np.pad(region, 3)
    return ndimage.binary_fill_holes(ndimage.binary_closing(wide, iterations=2))[3:-3, 3:-3]
