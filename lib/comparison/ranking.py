"""Methods ranked by many measures at once, with intervals over what was resampled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import rankdata

from lib.statistics.bootstrap import Interval

BETTER = ("lower", "higher", "nearer")


class MeanRank(NamedTuple):
    """Outcome of `mean_rank`, one of each method (m,)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def replicates(of: Interval, *, subsampled: bool = False) -> np.ndarray:
    """Value, low, high and the draws of an interval, (3 + draws,).

    subsampled: the draws are those of `bootstrap_frechet` and its like, subsets without replacement. They are centred
    on the value and widened to the spread that the interval states, so that they stand for resamples.
    """
    draws = of.draws
    if subsampled:
        spread = (of.high - of.value) / ndtri((1 + of.level) / 2)
        draws = of.value + spread * (draws - draws.mean()) / max(draws.std(ddof=1), 1e-300)
    return np.concatenate([[of.value, of.low, of.high], draws])


def shortfall(values: ArrayLike, *, ideal: ArrayLike, better: str) -> np.ndarray:
    """How far values fall short of `ideal`, of any shape, 0 where they reach it.

    ideal: a number, or one of each draw that broadcasts with `values`: the ideal is measured on the same draws.
    better: "lower" or "higher", and what lies beyond the ideal falls short of nothing; "nearer", and it does.
    ValueError for another word.
    """
    if better not in BETTER:
        raise ValueError(f"unknown better {better!r}: choose one of {', '.join(BETTER)}")
    gap = np.asarray(values, float) - np.asarray(ideal, float)
    return np.abs(gap) if better == "nearer" else np.maximum(gap if better == "lower" else -gap, 0)


def mean_rank(shortfalls: ArrayLike, *, level: float = 0.95) -> MeanRank:
    """Mean rank of m methods over measures, from shortfalls (measures, 1 + draws, m), the estimate first.

    Rank 1 falls short least; ties share their mean rank. The interval holds the middle `level` of the draws' mean
    ranks, and the estimate. ValueError for another shape, or NaN.
    """
    shortfalls = np.asarray(shortfalls, float)
    if shortfalls.ndim != 3 or shortfalls.shape[1] < 2 or not np.isfinite(shortfalls).all():
        raise ValueError(f"shortfalls have shape {shortfalls.shape}: give finite (measures, 1 + draws, methods)")
    means = rankdata(shortfalls, axis=2).mean(axis=0)
    tail = (1 - level) / 2
    low, high = np.quantile(means[1:], [tail, 1 - tail], axis=0)
    return MeanRank(means[0], np.minimum(low, means[0]), np.maximum(high, means[0]))


def not_beaten(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Rows (b,) of the methods that no other beats, from the lowest `first` (m,), of which low is good.

    One beats another where its `first` is lower and its `second` (m,), of which high is good, no lower.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    beaten = ((first < first[:, None]) & (second >= second[:, None])).any(axis=1)
    rows = np.flatnonzero(~beaten)
    return rows[np.argsort(first[rows], kind="stable")]
