"""Ranking metrics of binary labels and scores: areas under curves, rates at a threshold, and tied scores."""

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | np.ndarray:
    """Area under the ROC curve: the chance that a positive outranks a negative, ties counting half.

    `scores` is (n,) or (n, k), `labels` 0/1 of the same shape; either may be (n,) for all k columns of the other.
    Returns a float, or (k,) if one is two-dimensional. By midranks (Mann–Whitney). Raises ValueError when a class
    is empty.
    """
    positive, scores = samples.labels_and_scores(labels, scores)
    order, first, last = tie_groups(scores)
    positive = np.take_along_axis(positive, order, axis=0)
    midrank = (first + last) / 2 + 1
    n1 = positive.sum(axis=0)
    n0 = len(positive) - n1
    area = (np.where(positive, midrank, 0).sum(axis=0) - n1 * (n1 + 1) / 2) / (n1 * n0)
    return _scalar(area)


def auprc(labels: ArrayLike, scores: ArrayLike) -> float | np.ndarray:
    """Average precision: precision averaged over the positives, each at the threshold that just includes it.

    The step-wise sum Σ (Rᵢ − Rᵢ₋₁) Pᵢ of scikit-learn, without interpolation; tied scores share a threshold.
    Shapes and errors as `auroc`. Not symmetric in the classes; its chance level is the share of positives.
    """
    positive, scores = samples.labels_and_scores(labels, scores)
    order, _, last = tie_groups(scores, falling=True)
    positive = np.take_along_axis(positive, order, axis=0)
    found = np.take_along_axis(positive.cumsum(axis=0), last, axis=0)
    precision = found / (last + 1)
    return _scalar(np.where(positive, precision, 0).sum(axis=0) / positive.sum(axis=0))


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, *, fpr: float = 0.01) -> float | np.ndarray:
    """Largest true-positive rate at a false-positive rate of at most `fpr`, without interpolation.

    A threshold admits tied scores together. Shapes and errors as `auroc`; `fpr` in [0, 1).
    """
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr is {fpr}: give a rate in [0, 1)")
    positive, scores = samples.labels_and_scores(labels, scores)
    order, _, last = tie_groups(scores, falling=True)
    positive = np.take_along_axis(positive, order, axis=0)
    found = np.take_along_axis(positive.cumsum(axis=0), last, axis=0)
    wrong = last + 1 - found
    allowed = wrong <= fpr * (~positive).sum(axis=0)
    return _scalar(np.where(allowed, found, 0).max(axis=0) / positive.sum(axis=0))


def precision_at(labels: ArrayLike, scores: ArrayLike, *, k: int) -> float:
    """Share of positives among the `k` largest scores of labels (n,) and scores (n,); chance is the share of all.

    Of scores tied at the cut, each is as likely as another to be among the k: the expected value is returned.
    """
    positive, scores = samples.labels_and_scores(labels, scores)
    if scores.ndim != 1 or not 1 <= k <= len(scores):
        raise ValueError(f"k is {k} for scores of shape {scores.shape}: give (n,) scores and 1 <= k <= n")
    cut = np.partition(scores, -k)[-k]
    above, tied = scores > cut, scores == cut
    share = (k - above.sum()) / tied.sum()
    return float((positive[above].sum() + share * positive[tied].sum()) / k)


def tie_groups(values: np.ndarray, *, falling: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of each column, ascending or `falling`, with the first and the last sorted position of every tie.

    `values` is (n,) or (n, k); returns three integer arrays of that shape: the argsort along axis 0, and for each
    sorted position the first and last position that holds an equal value.
    """
    if values.ndim == 2 and values.strides[1] == 0:  # one column, seen k times
        order, first, last = (
            np.broadcast_to(part[:, None], values.shape) for part in tie_groups(values[:, 0], falling=falling)
        )
        return order, first, last
    values = -values if falling else values
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    position = np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1))
    opens = np.ones(values.shape, dtype=bool)
    opens[1:] = ordered[1:] != ordered[:-1]
    closes = np.roll(opens, -1, axis=0)
    first = np.maximum.accumulate(np.where(opens, position, 0), axis=0)
    last = np.minimum.accumulate(np.where(closes, position, len(values) - 1)[::-1], axis=0)[::-1]
    return order, first, last


def _scalar(value: np.ndarray) -> float | np.ndarray:
    return float(value) if np.ndim(value) == 0 else value
