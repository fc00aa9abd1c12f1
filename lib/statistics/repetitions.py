"""Estimates over whole repetitions of an experiment, and what they decide: intervals, p values, power.

A repetition trains everything anew. Where it also has new patients, its value is independent of the others':
`independent`. Where all repetitions are tested on the same patients, these are a second source of variation that
repetitions do not show: `crossed` adds it. Both give an `Estimate` of the mean with Student's t distribution.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import nct

from lib.statistics import checks as samples

_RESAMPLED = ", resampled"  # what the name of values on resamples of the patients ends in


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions: (value − truth) / error follows Student's t with `df` degrees of freedom."""

    value: float
    error: float  # standard error
    df: float
    repetitions: int
    sources: tuple[str, ...]  # of variation that `error` holds

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two ends of the interval at this level."""
        reach = stdtrit(self.df, (1 + level) / 2) * self.error
        return float(self.value - reach), float(self.value + reach)

    def p_above(self, bound: float) -> float:
        """p value of the hypothesis that the truth is at most `bound`, doubled (at most 1).

        Below .05 exactly where the 95 % interval lies above `bound`.
        """
        return self._p(self.value - bound)

    def p_below(self, bound: float) -> float:
        """p value of the hypothesis that the truth is at least `bound`, doubled; see `p_above`."""
        return self._p(bound - self.value)

    def _p(self, excess: float) -> float:
        if self.error == 0:
            return float(excess <= 0)
        return float(min(1.0, 2 * stdtr(self.df, -excess / self.error)))

    def detectable(self, *, power: float = 0.8, level: float = 0.95) -> float:
        """The distance from a bound at which a truth is found beyond it (by the interval) with this power."""
        if self.error == 0:
            return 0.0
        return _detectable(self.df, power, level) * self.error


@lru_cache
def _detectable(df: float, power: float, level: float) -> float:
    """As `Estimate.detectable`, in standard errors."""
    limit = stdtrit(df, (1 + level) / 2)
    return float(brentq(lambda shift: nct.sf(limit, df, shift) - power, 0, 20 * limit))


def independent(values: ArrayLike) -> Estimate:
    """The mean of the values (r,) of independent repetitions, with its standard error on r − 1 degrees of freedom.

    Raises ValueError for fewer than two values, or values that are not finite.
    """
    values = _values(values)
    error = values.std(ddof=1) / len(values) ** 0.5
    return Estimate(float(values.mean()), float(error), len(values) - 1, len(values), ("training", "patients"))


def crossed(values: ArrayLike, draws: ArrayLike, *, patients: int) -> Estimate:
    """The mean of the values (r,) of repetitions that were tested on the same patients.

    draws (r, b): the values of the same repetitions on b bootstrap resamples of the patients, in column j on the
    same resample for all. With S² the variance of `values`, V the variance of the columns' means and W the mean
    variance of the rows, the variance of the mean is S²/r + V − (W − V)/(r − 1): the last term is the interaction
    of training and patients, which the first two both contain. Degrees of freedom by Satterthwaite (1946), with r −
    1 for the first term and `patients` − 1 for the others. The truth is that for these patients of training, split
    anew, and new ones of test: other training patients would vary more than splits of the same do (Nadeau and
    Bengio 2003). Resamples on which a repetition's value is undefined (NaN: a class was not drawn) are left out. Raises
    ValueError for shapes that do not fit, values that are not finite, more than half of the resamples left out, fewer
    than two repetitions or patients.
    """
    values, draws = _values(values), np.asarray(draws, float)
    count = len(values)
    if draws.ndim != 2 or len(draws) != count or draws.shape[1] < 2:
        raise ValueError(f"draws have shape {draws.shape}: give ({count}, b), a row for each of the {count} values")
    defined = np.isfinite(draws).all(axis=0)
    if defined.sum() < max(2, draws.shape[1] / 2):
        raise ValueError("more than half of the draws lack one class: an interval needs more patients of each class")
    draws = draws[:, defined]
    if patients < 2:
        raise ValueError(f"{patients} patients: an interval over patients needs two or more")
    between = values.var(ddof=1) / count
    within = draws.mean(axis=0).var(ddof=1)
    interaction = max(0.0, (draws.var(axis=1, ddof=1).mean() - within) / (count - 1))
    added = max(0.0, within - interaction)
    variance = between + added
    df = variance**2 / (between**2 / (count - 1) + added**2 / (patients - 1)) if variance > 0 else count - 1
    sources = ("training", "which of the patients are trained on", "test patients")
    return Estimate(float(values.mean()), float(variance**0.5), float(df), count, sources)


class Repeated:
    """A quantity measured in every repetition, and on resamples of the test patients where these are always the same.

    values (r,); draws (r, b) and patients as `crossed` takes them, or None and 0 where each repetition has patients of
    its own. Two of the same repetitions are subtracted pair by pair. A value may be NaN, which has no estimate. Raises
    ValueError for shapes that do not fit.
    """

    def __init__(self, values: ArrayLike, *, draws: ArrayLike | None = None, patients: int = 0):
        self.values = np.asarray(values, float)
        if self.values.ndim != 1 or not len(self.values):
            raise ValueError(f"values have shape {self.values.shape}: give one for each repetition")
        self.draws = None if draws is None else np.asarray(draws, float)
        self.patients = patients
        if self.draws is not None and (self.draws.ndim != 2 or len(self.draws) != len(self.values)):
            raise ValueError(f"draws have shape {self.draws.shape}: give a row for each of {len(self.values)} values")

    def __len__(self) -> int:
        return len(self.values)

    def __sub__(self, other: "Repeated") -> "Repeated":
        if len(self) != len(other):
            raise ValueError(f"{len(self)} and {len(other)} repetitions are no pairs: measure both in each")
        if (self.draws is None) != (other.draws is None) or self.patients != other.patients:
            raise ValueError("one was measured on the same patients in every repetition, the other was not")
        both = None
        if self.draws is not None and other.draws is not None:
            if self.draws.shape != other.draws.shape:
                raise ValueError(f"draws have shapes {self.draws.shape} and {other.draws.shape}: resample both alike")
            both = self.draws - other.draws
        return Repeated(self.values - other.values, draws=both, patients=self.patients)

    def estimate(self) -> Estimate:
        """The mean over repetitions with its error: `crossed` where there are draws, otherwise `independent`."""
        return (
            independent(self.values) if self.draws is None else crossed(self.values, self.draws, patients=self.patients)
        )


def measured(name: str, statistic: Callable, *, n: int, weights: ArrayLike | None = None) -> dict[str, np.ndarray]:
    """What a repetition's record keeps of a statistic under `name`: its value, all n images alike.

    statistic: weights (b, n) -> (b,), as those of `lib.statistics.weighted`. weights (b, n): resamples of the patients,
    where these are the same in every repetition; then its values (b,) on them stand beside, for `repeated`.
    """
    found = {name: np.asarray(statistic(np.ones((1, n))))[0]}
    return found if weights is None else found | {f"{name}{_RESAMPLED}": np.asarray(statistic(np.asarray(weights)))}


def repeated(records: Sequence[Mapping[str, np.ndarray]], name: str, *, patients: int = 0) -> Repeated:
    """The values under `name` in the records of all repetitions, with their resamples where `measured` kept these.

    patients: how many were resampled. KeyError for a name that a record lacks.
    """
    values = [float(record[name]) for record in records]
    if f"{name}{_RESAMPLED}" not in records[0]:
        return Repeated(values)
    return Repeated(values, draws=[record[f"{name}{_RESAMPLED}"] for record in records], patients=patients)


def of_images(
    statistics: Sequence[Callable[[np.ndarray], np.ndarray]],
    *,
    n: int,
    weights: ArrayLike | None = None,
    patients: int = 0,
) -> Repeated:
    """A statistic of weighted images in every repetition, and on resamples of the patients where these stay the same.

    statistics: of each repetition a function of weights (b, n) -> (b,), such as those of `lib.statistics.weighted`, of
    its `n` images. weights (b, n): of the resamples (`lib.statistics.bootstrap.patient_weights`), and the number of
    `patients` behind them; None where each repetition has patients of its own.
    """
    values = [float(np.asarray(of(np.ones((1, n))))[0]) for of in statistics]
    if weights is None:
        return Repeated(values)
    return Repeated(values, draws=[of(np.asarray(weights)) for of in statistics], patients=patients)


def prediction_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Where the value of one more repetition lies with probability `level`, normal values assumed.

    mean ± t · SD · √(1 + 1/r) of the values (r,). Errors as in `independent`.
    """
    values = _values(values)
    reach = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) * (1 + 1 / len(values)) ** 0.5
    return float(values.mean() - reach), float(values.mean() + reach)


def _values(values: ArrayLike) -> np.ndarray:
    values = samples.columns(values, "values")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values have shape {values.shape}: give one for each repetition, two or more")
    return values
