"""Intervals over seeds: one value per repetition, Student's t, and paired differences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from lib.statistics import checks as samples
from lib.statistics.bootstrap import Interval, _require_level


def seed_interval(
    values: ArrayLike, *, level: float = 0.95, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """Mean of one value per seed (n,), with Student's t interval on n − 1 degrees of freedom.

    It covers what varies with the seed (initialisation, order, noise), not the choice of patients. limits: what the
    quantity cannot exceed, (0, 1) of a share; the interval ends there. Raises ValueError with fewer than two seeds,
    or values beyond the limits.
    """
    _require_level(level)
    values = _per_seed(values, "values")
    if not limits[0] <= values.min() <= values.max() <= limits[1]:
        raise ValueError(
            f"values {values.min():.3g} to {values.max():.3g} exceed the limits {limits}: check their unit"
        )
    reach = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / len(values) ** 0.5
    mean = values.mean()
    low, high = max(mean - reach, limits[0]), min(mean + reach, limits[1])
    return Interval(float(mean), float(low), float(high), level, len(values), values)


def least(values: ArrayLike, *, level: float = 0.95, limits: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """The least of one value per seed (n,), for what must hold in every seed.

    Its interval is that of `seed_interval`, extended down to the least value where it ends above. Errors as there.
    """
    of = seed_interval(values, level=level, limits=limits)
    worst = float(of.draws.min())
    return Interval(worst, min(of.low, worst), of.high, level, of.units, of.draws)


def across(estimates: Sequence[Interval]) -> Interval:
    """`seed_interval` of the values of several estimates; of a single one, that estimate with its own interval."""
    return seed_interval([of.value for of in estimates]) if len(estimates) > 1 else estimates[0]


class PairedDifference(NamedTuple):
    """Outcome of `paired_difference`."""

    interval: Interval  # mean of condition − baseline with its t interval; `draws` holds the differences
    wins: int  # seeds in which the condition is larger
    seeds: int


def paired_difference(*, condition: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> PairedDifference:
    """Mean difference condition − baseline over seeds; it is positive where the condition is larger.

    Both are (n,), in the same order of seeds.
    Raises ValueError when the lengths differ or fewer than two seeds are given.
    """
    condition, baseline = _per_seed(condition, "condition"), _per_seed(baseline, "baseline")
    if condition.shape != baseline.shape:
        raise ValueError(f"condition has {len(condition)} seeds and baseline {len(baseline)}: pair them seed by seed")
    difference = condition - baseline
    return PairedDifference(seed_interval(difference, level=level), int((difference > 0).sum()), len(difference))


def _per_seed(values: ArrayLike, name: str) -> np.ndarray:
    values = samples.columns(values, name)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name} has shape {values.shape}: give one value per seed, two seeds or more")
    return values
