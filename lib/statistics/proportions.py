"""Shares of trials with exact or Wilson intervals, and shares of what exceeds a guess."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import binomtest


def proportion(count: int, n: int, *, level: float = 0.95) -> tuple[float, float, float]:
    """Share `count` / `n` with its exact binomial interval (Clopper and Pearson 1934). ValueError without trials."""
    interval = binomtest(count, n).proportion_ci(level, method="exact")
    return count / n, float(interval.low), float(interval.high)


class Share(NamedTuple):
    """How often a measure rejected, with Wilson's interval."""

    value: float
    low: float
    high: float
    repeats: int


def wilson(rejected: ArrayLike, *, level: float = 0.95) -> Share:
    """Share of True among `rejected` (n,) with the interval of Wilson 1927. ValueError when empty."""
    rejected = np.asarray(rejected, bool)
    if rejected.ndim != 1 or rejected.size == 0:
        raise ValueError(f"rejected has shape {rejected.shape}: give one bool for each repetition")
    n, share, z = len(rejected), float(rejected.mean()), ndtri((1 + level) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Share(share, min(share, float(centre - reach)), max(share, float(centre + reach)), n)


def excess_kept(before: ArrayLike, after: ArrayLike, *, floor: ArrayLike) -> np.ndarray:
    """(after − floor) / (before − floor): of what exceeded the `floor`, such as a guess, how much is left.

    1: all of it; 0: nothing, or nothing exceeded it before, so that there is nothing to be kept. Any shapes that fit.
    """
    before, after, floor = np.broadcast_arrays(*(np.asarray(of, float) for of in (before, after, floor)))
    there = before > floor
    return np.divide(after - floor, before - floor, out=np.zeros(before.shape), where=there)


def excess_lost(before: ArrayLike, after: ArrayLike, *, floor: ArrayLike) -> np.ndarray:
    """(before − after) / (before − floor): of what exceeded the `floor`, how much is gone; see `excess_kept`.

    1: all of it; 0: nothing, or nothing exceeded it before, so that there is nothing to be lost.
    """
    there = np.asarray(before, float) > np.asarray(floor, float)
    return np.where(there, 1 - excess_kept(before, after, floor=floor), 0.0)
