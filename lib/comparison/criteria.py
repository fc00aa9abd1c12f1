"""What attacks and measures have in common as columns of the comparison: which way is better, and how sure it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.comparison.ranking import BETTER, replicates, shortfall
from lib.statistics.bootstrap import Interval

GROUPS = ("fidelity", "diversity", "privacy", "utility")
INTERVALS = ("bootstrap", "subsets")


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One number of a set of images. ValueError for another direction or kind of interval."""

    name: str  # as it is printed, unlike that of any other criterion
    group: str  # one of `GROUPS`
    better: str  # "lower", "higher", or "nearer" to the negative control
    interval: str = "bootstrap"  # of resampled units; "subsets": subsamples without replacement, widened to resamples
    over: str = "patients"  # the units resampled: patients, origins of the set's images, or both
    neutral: float | None = None  # the value where nothing was copied or learnt; None: that of the negative control
    copies_are_worst: bool = False  # no set can be worse than one of exact copies of the training images

    def __post_init__(self) -> None:
        for what, value, known in (("better", self.better, BETTER), ("interval", self.interval, INTERVALS)):
            if value not in known:
                raise ValueError(f"{self.name}: unknown {what} {value!r}: choose one of {', '.join(known)}")

    def replicates(self, of: Interval) -> np.ndarray:
        """Value, low, high and resampled values (3 + draws,) of this criterion's interval."""
        return replicates(of, subsampled=self.interval == "subsets")

    def shortfall(self, values: ArrayLike, *, ideal: ArrayLike) -> np.ndarray:
        """How much worse `values` are than `ideal`, of the shape of both broadcast; 0 where they are no worse."""
        return shortfall(values, ideal=ideal, better=self.better)

    def is_worse(self, values: ArrayLike, *, ideal: ArrayLike, level: float = 0.95) -> np.ndarray:
        """Which sets are worse than the ideal (m,): the middle `level` of the draws of the difference excludes 0.

        values (m, 1 + draws) and ideal (1 + draws,): the estimate first, then the same draws of both.
        """
        values, ideal = np.asarray(values, float), np.asarray(ideal, float)
        tail = (1 - level) / 2
        low, high = np.quantile((values - ideal)[:, 1:], [tail, 1 - tail], axis=1)
        surely = {"lower": low > 0, "higher": high < 0, "nearer": (low > 0) | (high < 0)}[self.better]
        return surely & (self.shortfall(values[:, 0], ideal=ideal[0]) > 0)
