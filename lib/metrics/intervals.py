"""Intervals on everything: resampling by patient, subsampling for Fréchet distances, and spread over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from lib.metrics import fidelity, samples
from lib.metrics.weighted import Statistic, WeightedAuprc, WeightedAuroc

# Weights held at a time, half a MiB, stay in a core's cache and are not mapped anew every block; of many images a few
# draws at least, so that a step of the sums over the images is worth its call.
_CELLS, _FEW = 2**16, 8


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `value`, `low`, `high` are floats, or (k,) arrays of a k-column statistic."""

    value: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    level: float
    units: int  # independent units behind it: patients, images or seeds
    # The resampled values (draws,) or (draws, k); NaN where undefined.
    draws: np.ndarray = field(repr=False, compare=False)

    @property
    def bounds(self) -> tuple:
        """Value, low and high."""
        return self.value, self.low, self.high

    @property
    def around(self) -> tuple:
        """`bounds`, each reaching to the value: few patients resampled may all give less than it, or more."""
        return self.value, np.minimum(self.low, self.value), np.maximum(self.high, self.value)

    def __str__(self) -> str:
        if np.ndim(self.value):
            parts = zip(self.value, self.low, self.high, strict=True)
            return ", ".join(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in parts)
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    statistic: Statistic,
    *,
    groups: ArrayLike | None = None,
    size: int | None = None,
    draws: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of a weighted statistic, resampling patients with replacement.

    `statistic` maps weights (draws, n) to values (draws,) or (draws, k); those of `lib.metrics.weighted` do, and so
    does any function of them, such as a paired difference `lambda w: a(w) - b(w)`. `groups` (n,) are the patients:
    all images of a patient are drawn together; None, for a statistic that knows its `n`, draws single images.
    Each draw holds `size` patients; None, as many as there are, is the size whose spread is that of the estimate.
    Draws in which the statistic is undefined (NaN: a class was not drawn) are left out of the percentiles and
    stay NaN in `Interval.draws`. At an estimate on its boundary (an AUROC of exactly 1) the interval has no width.

    Raises ValueError with one patient only, or when more than half of the draws are undefined.
    """
    _require_level(level)
    if groups is None and not hasattr(statistic, "n"):
        raise ValueError("the number of images is unknown: give groups=, one patient per image")
    n = statistic.n if hasattr(statistic, "n") else len(groups)
    code = samples.codes(groups, n)
    value = np.asarray(statistic(np.ones((1, n), dtype=np.int64)))[0]
    blocks = []
    step = max(_FEW, _CELLS // n)
    for start in range(0, draws, step):
        blocks.append(statistic(patient_weights(code, draws=min(step, draws - start), size=size, rng=rng)))
    drawn = np.concatenate(blocks)
    defined = np.isfinite(drawn).mean(axis=0)
    if np.any(defined < 0.5):
        raise ValueError("more than half of the draws lack one class: an interval needs more patients of each class")
    tail = (1 - level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return Interval(_scalar(value), _scalar(low), _scalar(high), level, int(code.max()) + 1, drawn)


def simultaneous(estimate: Interval, *, level: float = 0.95) -> Interval:
    """Intervals of a k-column estimate that hold all k true values together with probability `level`.

    value ± c standard deviations of the draws, with c the quantile of the largest |draw − value| in standard
    deviations over the columns (max-|t|; Romano and Wolf 2005, section 4): columns that err together are not charged
    for one another, as by Bonferroni. Draws with an undefined column are left out. Raises ValueError where a column's
    draws are all equal.
    """
    _require_level(level)
    spread, largest = _largest_deviation(estimate)
    reach = np.quantile(largest, level) * spread
    low, high = estimate.value - reach, estimate.value + reach
    return Interval(estimate.value, low, high, level, estimate.units, estimate.draws)


def joint_pvalue(estimate: Interval, *, truth: float) -> float:
    """Chance of k estimates as far from `truth`, were it the truth of every column: one less the `level` at which an
    interval of `simultaneous` first ends there. Never 0: (1 + draws as far) / (1 + draws). Errors as there."""
    spread, largest = _largest_deviation(estimate)
    found = (np.abs(np.asarray(estimate.value) - truth) / spread).max()
    return float((1 + (largest >= found).sum()) / (1 + len(largest)))


def _largest_deviation(estimate: Interval) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of each column's draws (k,), and for each draw the largest deviation in these (draws,)."""
    drawn = estimate.draws.reshape(len(estimate.draws), -1)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    spread = drawn.std(axis=0, ddof=1)
    if not (spread > 0).all():
        raise ValueError("all draws of a column are equal: they say nothing of its spread")
    return spread if np.ndim(estimate.value) else spread[0], (np.abs(drawn - estimate.value) / spread).max(axis=1)


def bootstrap_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    draws: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """`bootstrap` of the AUROC of labels (n,) and scores (n,) or (n, k)."""
    return bootstrap(WeightedAuroc(labels, scores), groups=groups, draws=draws, rng=rng, level=level)


def bootstrap_auprc(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    draws: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """`bootstrap` of the average precision of labels (n,) and scores (n,) or (n, k)."""
    return bootstrap(WeightedAuprc(labels, scores), groups=groups, draws=draws, rng=rng, level=level)


def patient_weights(groups: ArrayLike, *, draws: int, size: int | None = None, rng: np.random.Generator) -> np.ndarray:
    """Resamples of patients with replacement as integer weights (draws, n) of their images (n,).

    Every row draws `size` patients, None: as many as there are; an image weighs as often as its patient was drawn.
    Asking for draws in several calls continues the same stream. Raises ValueError if all images are of one patient.
    """
    code = samples.codes(groups, len(groups))
    patients = int(code.max()) + 1
    if patients < 2:
        raise ValueError("all images are of one patient: an interval over patients needs at least two")
    # One cell per patient and draw, the draws of a patient side by side: see weighted.py. In place: a new array
    # of this size costs more than the arithmetic.
    if size is not None and size < 1:
        raise ValueError(f"size is {size}: draw at least one patient")
    cells = rng.integers(0, patients, (draws, size or patients))
    cells *= draws
    cells += np.arange(draws)[:, None]
    counts = np.bincount(cells.ravel(), minlength=patients * draws).reshape(patients, draws)
    # Where every image is its own patient, the patients' counts already stand in the images' order.
    return (counts if np.array_equal(code, np.arange(len(code))) else counts.take(code, axis=0)).T


def bootstrap_frechet(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    real_groups: ArrayLike | None = None,
    synthetic_groups: ArrayLike | None = None,
    deleted: float = 0.2,
    draws: int = 100,
    corrected: bool = False,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of `fidelity.frechet_distance` by subsampling patients without replacement (delete-d jackknife).

    A bootstrap with replacement is not used: repeated images shrink a covariance as if n were 0.63 n, which moves
    every draw above the estimate. Here each draw leaves out the share `deleted` of the patients of both sets, and
    the standard deviation of the draws, times √((G − d) / d) for d of G left out, is the standard error (Shao and
    Wu 1989); the interval is value ± z standard errors, not below 0. It is an interval for the expected distance
    *at these sample sizes*: the upward bias of order 1/n is in the value and in the interval, so state n. Between
    two samples of one population the distance is nearly all bias, and the interval is wide rather than exact.

    `corrected=True` takes that bias out: as far as it falls with 1/n, smaller subsamples show it, and the value is the
    jackknife's value − (G − d) / d · (mean of the draws − value). The interval is then for the distance of the
    populations, and can be negative, as an unbiased estimate of 0 must. But with features far wider than n, of a
    spectrum that falls slowly, the bias falls more slowly than 1/n, and most of it may stay: compare at equal n still.

    `real` is (n₁, d) with patients `real_groups` (n₁,), `synthetic` (n₂, d); None: every image is its own unit.
    `Interval.draws` holds the distances of the subsamples, `units` the smaller number of patients. Raises
    ValueError with fewer than ten patients in a set.
    """
    _require_level(level)
    if not 0 < deleted <= 0.5:
        raise ValueError(f"deleted is {deleted}: leave out a share of the patients in (0, .5]")
    if draws < 2:
        raise ValueError(f"draws is {draws}: a standard error needs at least two")
    value = fidelity.frechet_distance(real=real, synthetic=synthetic)
    keep_real, factor_real, units_real = _subsets(real_groups, len(real), deleted, draws, rng)
    keep_synthetic, factor_synthetic, units_synthetic = _subsets(synthetic_groups, len(synthetic), deleted, draws, rng)
    drawn = fidelity.frechet_of_subsets(
        real=real, synthetic=synthetic, real_keep=keep_real, synthetic_keep=keep_synthetic
    )
    # The factors differ only by rounding d; the larger is the careful one.
    factor = max(factor_real, factor_synthetic)
    reach = ndtri((1 + level) / 2) * drawn.std(ddof=1) * factor**0.5
    if corrected:
        value -= factor * (float(drawn.mean()) - value)
    low, high = value - reach, value + reach
    if not corrected:
        low = max(low, 0.0)
    return Interval(value, float(low), float(high), level, min(units_real, units_synthetic), drawn)


def subsample_kernel(
    *, real, synthetic, real_groups=None, synthetic_groups=None, deleted: float = 0.2, draws: int = 100,
    rng: np.random.Generator, level: float = 0.95,
) -> Interval:  # fmt: skip
    """`fidelity.kernel_distance` with an interval by subsampling patients, all as in `bootstrap_frechet`.

    The distance is unbiased: the interval is that of the populations' distance, and may reach below 0.
    """
    _require_level(level)
    value = fidelity.kernel_distance(real=real, synthetic=synthetic)
    keep_real, factor, units = _subsets(real_groups, len(real), deleted, draws, rng)
    keep_synthetic, other, fewer = _subsets(synthetic_groups, len(synthetic), deleted, draws, rng)
    drawn = fidelity.kernel_of_subsets(
        real=real, synthetic=synthetic, real_keep=keep_real, synthetic_keep=keep_synthetic
    )
    reach = ndtri((1 + level) / 2) * drawn.std(ddof=1) * max(factor, other) ** 0.5
    return Interval(value, float(value - reach), float(value + reach), level, min(units, fewer), drawn)


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
    """The least of one value per seed (n,), for what must hold in every seed; its interval is that of `seed_interval`,
    reaching down to it at least. Errors as there."""
    of = seed_interval(values, level=level, limits=limits)
    worst = float(of.draws.min())
    return Interval(worst, min(of.low, worst), of.high, level, of.units, of.draws)


def apart(estimate: Interval, centre: float) -> Interval:
    """How far an estimate lies from `centre`, |x − centre|; its interval begins at 0 where the estimate's holds it."""
    low, high = estimate.low - centre, estimate.high - centre
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    size = abs(estimate.value - centre), nearest, max(abs(low), abs(high))
    return Interval(*size, estimate.level, estimate.units, abs(estimate.draws - centre))


def across(estimates: Sequence[Interval]) -> Interval:
    """`seed_interval` of the values of several estimates; of a single one, that estimate with its own interval."""
    return seed_interval([of.value for of in estimates]) if len(estimates) > 1 else estimates[0]


class PairedDifference(NamedTuple):
    """Outcome of `paired_difference`."""

    interval: Interval  # mean of arm − baseline with its t interval; `draws` holds the differences
    wins: int  # seeds in which the arm is larger
    seeds: int


def paired_difference(*, arm: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> PairedDifference:
    """Mean difference arm − baseline over seeds, both (n,) in the same order of seeds; positive: arm is larger.

    Raises ValueError when the lengths differ or fewer than two seeds are given.
    """
    arm, baseline = _per_seed(arm, "arm"), _per_seed(baseline, "baseline")
    if arm.shape != baseline.shape:
        raise ValueError(f"arm has {len(arm)} seeds and baseline {len(baseline)}: pair them seed by seed")
    difference = arm - baseline
    return PairedDifference(seed_interval(difference, level=level), int((difference > 0).sum()), len(difference))


def mean_sd(values: ArrayLike) -> tuple[float, float]:
    """Mean and population standard deviation (divisor n) of values (n,): the "mean±SD" of published tables."""
    values = samples.columns(values, "values")
    return float(values.mean()), float(values.std())


def _subsets(groups, n: int, deleted: float, draws: int, rng) -> tuple[np.ndarray, float, int]:
    """Images kept (draws, n), the factor (G − d) / d, and G."""
    code = samples.codes(groups, n)
    patients = int(code.max()) + 1
    if patients < 10:
        raise ValueError(f"{patients} patients in a set are too few to subsample: give at least ten")
    left_out = round(deleted * patients)
    rank = rng.random((draws, patients)).argsort(axis=1).argsort(axis=1)
    return (rank >= left_out)[:, code], (patients - left_out) / left_out, patients


def _per_seed(values: ArrayLike, name: str) -> np.ndarray:
    values = samples.columns(values, name)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name} has shape {values.shape}: give one value per seed, two seeds or more")
    return values


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: give a confidence level in (0, 1)")


def _scalar(value: np.ndarray) -> float | np.ndarray:
    return float(value) if np.ndim(value) == 0 else value
