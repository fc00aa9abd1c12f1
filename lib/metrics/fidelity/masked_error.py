"""Pixel error of anonymised images within a region, such as the evidence of a finding."""

import numpy as np
from numpy.typing import ArrayLike


def masked_mse(*, original: ArrayLike, anonymised: ArrayLike, mask: ArrayLike) -> np.ndarray:
    """Mean squared difference of images inside a mask: (n,), NaN where the mask is empty.

    `original` and `anonymised` are grey images (n, h, w), `mask` (n, h, w) is 0 or 1. In squares of the images' unit.
    ValueError for other shapes, or masks of other values, such as 0 and 255.
    """
    first, second = (np.asarray(part, dtype=np.float64) for part in (original, anonymised))
    mask = np.asarray(mask)
    if not first.shape == second.shape == mask.shape or first.ndim != 3:
        raise ValueError(f"shapes are {first.shape}, {second.shape}, mask {mask.shape}: give three of one (n, h, w)")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"mask holds values up to {mask.max()}: give 0 outside and 1 inside (divide 0..255 by 255)")
    inside = mask.sum(axis=(1, 2), dtype=np.float64)
    total = (mask * (first - second) ** 2).sum(axis=(1, 2))
    return np.divide(total, inside, out=np.full(len(first), np.nan), where=inside > 0)
