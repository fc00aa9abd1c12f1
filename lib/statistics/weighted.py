"""Ranking metrics under many weightings of the same images at once: what a bootstrap evaluates.

A resample with replacement is a vector of integer weights, one per image. The order of the scores does not depend
on the weights, so images are sorted once, and all draws share that order: a draw costs a few sums over its weights.
Each statistic is called with `weights` (draws, n) >= 0, integer or float, and returns (draws,) float64 for scores
(n,), or (draws, k) for scores (n, k); NaN where the weights leave a class empty. `n` is its number of images.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from lib.statistics import checks as samples

Statistic = Callable[[np.ndarray], np.ndarray]


class _Order(NamedTuple):
    """One column of scores, sorted from the largest; counts are positions in the other or the own class."""

    positive: np.ndarray  # (n1,) images of class 1 by falling score
    negative: np.ndarray  # (n0,) images of class 0 by falling score
    found: np.ndarray  # (n1,) positives that score at least as much as this positive
    wrong: np.ndarray  # (n1,) negatives that score at least as much as this positive


class _Levels(NamedTuple):
    """One column's rarer class by its m different scores, from the one that loses most comparisons."""

    own: csr_array  # (m, n) picks the images of the rarer class at each score
    passed: csr_array  # (m + 1, n) the other class: images that this score beats and the one before does not


class _Columns:
    """Labels and scores of k columns, sorted once; a subclass turns weights into its statistic, column by column."""

    def __init__(self, labels: ArrayLike, scores: ArrayLike, prepare: Callable):
        positive, scores = samples.labels_and_scores(labels, scores)
        self.n = len(scores)
        self._single = scores.ndim == 1
        pairs = zip(positive.reshape(self.n, -1).T, scores.reshape(self.n, -1).T, strict=True)
        self._prepared = [prepare(*pair) for pair in pairs]

    def __call__(self, weights: ArrayLike) -> np.ndarray:
        weights = np.asarray(weights)
        if weights.ndim != 2 or weights.shape[1] != self.n:
            raise ValueError(f"weights have shape {weights.shape}: give one row of {self.n} weights per draw")
        # One row per image: picking images in sorted order then copies whole rows, and sums run across draws.
        rows = np.ascontiguousarray(weights.T, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # 0/0 is the NaN of an empty class, as documented
            values = [self._of(column, rows) for column in self._prepared]
        return values[0] if self._single else np.stack(values, axis=1)

    def _of(self, column: NamedTuple, rows: np.ndarray) -> np.ndarray:
        """The statistic (draws,) of one column from the weights (n, draws)."""
        raise NotImplementedError


class WeightedAuroc(_Columns):
    """`roc.auroc` of weighted images: the weight of correctly ranked pairs, ties counting half."""

    def __init__(self, labels: ArrayLike, scores: ArrayLike):
        super().__init__(labels, scores, _levels)

    def _of(self, column, rows):
        own = column.own @ rows
        # Sums up to each score of the rarer class: a running sum over it alone, not over all images.
        beaten = np.cumsum(column.passed @ rows, axis=0)
        return np.einsum("ib,ib->b", own, beaten[:-1]) / (own.sum(axis=0) * beaten[-1])


class WeightedAuprc(_Columns):
    """`roc.auprc` (average precision) of weighted images."""

    def __init__(self, labels: ArrayLike, scores: ArrayLike):
        super().__init__(labels, scores, _order)

    def _of(self, column, rows):
        positive = rows.take(column.positive, axis=0)
        total = _running(positive)
        found = total.take(column.found, axis=0)
        admitted = found + _running(rows.take(column.negative, axis=0)).take(column.wrong, axis=0)
        precision = np.divide(found, admitted, out=np.zeros(found.shape), where=admitted > 0)
        return np.einsum("ib,ib->b", positive, precision) / total[-1]


class WeightedTprAtFpr(_Columns):
    """`roc.tpr_at_fpr` of weighted images: the largest TPR at a false-positive rate of at most `fpr`."""

    def __init__(self, labels: ArrayLike, scores: ArrayLike, *, fpr: float = 0.01):
        super().__init__(labels, scores, _order)
        if not 0 <= fpr < 1:
            raise ValueError(f"fpr is {fpr}: give a rate in [0, 1)")
        self.fpr = fpr

    def _of(self, column, rows):
        total, wrong = (_running(rows.take(images, axis=0)) for images in (column.positive, column.negative))
        allowed = wrong.take(column.wrong, axis=0) <= self.fpr * wrong[-1]
        rate = np.where(allowed, total.take(column.found, axis=0), 0).max(axis=0) / total[-1]
        return np.where(wrong[-1] > 0, rate, np.nan)


class WeightedRatio:
    """Ratio of two weighted sums, Σ w·numerator / Σ w·denominator; without a denominator, a weighted mean.

    Accuracy is the mean of "correct", sensitivity the ratio of "true positive" to "positive", F1 of twice "true
    positive" to "positive plus predicted positive". `numerator` and `denominator` are (n,) or (n, k).
    """

    def __init__(self, numerator: ArrayLike, denominator: ArrayLike | None = None):
        self._numerator = samples.columns(numerator, "numerator")
        if denominator is None:
            denominator = np.ones_like(self._numerator)
        self._denominator = samples.columns(denominator, "denominator")
        if self._denominator.shape != self._numerator.shape:
            raise ValueError(
                f"numerator has shape {self._numerator.shape} and denominator {self._denominator.shape}: "
                "give both per image"
            )
        self.n = len(self._numerator)

    def __call__(self, weights: ArrayLike) -> np.ndarray:
        weights = np.asarray(weights, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return (weights @ self._numerator) / (weights @ self._denominator)


def _order(positive: np.ndarray, scores: np.ndarray) -> _Order:
    images = np.argsort(-scores, kind="stable")
    ones, zeros = images[positive[images]], images[~positive[images]]
    # Falling scores are rising once negated, as searchsorted wants them.
    first, second = -scores[ones], -scores[zeros]
    return _Order(
        positive=ones,
        negative=zeros,
        found=np.searchsorted(first, first, side="right"),
        wrong=np.searchsorted(second, first, side="right"),
    )


def _levels(positive: np.ndarray, scores: np.ndarray) -> _Levels:
    n, rare = len(scores), positive
    if 2 * positive.sum() > n:
        rare, scores = ~positive, -scores  # a negative is ranked well if the positives beat it: turn all around
    levels, level = np.unique(scores[rare], return_inverse=True)
    images, other = np.flatnonzero(rare), np.flatnonzero(~rare)
    own = csr_array((np.ones(len(images)), (level, images)), shape=(len(levels), n))
    # A tie is half beaten at its score, the other half at the next one.
    at = [np.searchsorted(levels, scores[other], side=side) for side in ("left", "right")]
    cells = np.concatenate(at), np.tile(other, 2)
    passed = csr_array((np.full(2 * len(other), 0.5), cells), shape=(len(levels) + 1, n))
    return _Levels(own, passed)


def _running(weights: np.ndarray) -> np.ndarray:
    """(n + 1, draws): weight of the first 0, 1, … n images."""
    total = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=total[1:])
    return total
