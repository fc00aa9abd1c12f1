"""Intervals by resampling patients with replacement, and the weights of the resamples."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics.weighted import Statistic, WeightedAuroc

# Weights held at a time, half a MiB, stay in a core's cache and are not mapped anew every block; of many images a few
# draws at least, so that a step of the sums over the images is worth its call.
_CELLS, _FEW = 2**16, 8


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `value`, `low`, `high` are floats, or (k,) arrays of a k-column statistic."""

    value: Any
    low: Any
    high: Any
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

    `statistic` maps weights (draws, n) to values (draws,) or (draws, k); those of `lib.statistics.weighted` do, and so
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
    n = statistic.n if hasattr(statistic, "n") else len(np.asarray(groups))
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
    """Chance of k estimates as far from `truth`, were it the truth of every column.

    It is one less the `level` at which an interval of `simultaneous` first ends at `truth`, and never 0:
    (1 + draws as far) / (1 + draws). Errors as there.
    """
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


def patient_weights(groups: ArrayLike, *, draws: int, size: int | None = None, rng: np.random.Generator) -> np.ndarray:
    """Resamples of patients with replacement as integer weights (draws, n) of their images (n,).

    Every row draws `size` patients, None: as many as there are; an image weighs as often as its patient was drawn.
    Asking for draws in several calls continues the same stream. Raises ValueError if all images are of one patient.
    """
    code = samples.codes(groups, len(np.asarray(groups)))
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


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: give a confidence level in (0, 1)")


def _scalar(value: np.ndarray) -> float | np.ndarray:
    return float(value) if np.ndim(value) == 0 else value
