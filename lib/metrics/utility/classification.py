"""How well a classifier separates classes: ranking and threshold metrics of two, confusions of several.

Of two classes, labels are 0 or 1, and a score is larger for class 1. In the mass cohorts class 1 is benign, so that
"positive" means benign in `auprc` and `f1` as in the paper they follow; `classification_report` names both classes.
"""

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics.roc import _scalar, auprc, auroc


def accuracy(labels: ArrayLike, scores: ArrayLike, *, threshold: float = 0.5) -> float | np.ndarray:
    """Share of images whose predicted class, `scores > threshold`, is their label. Shapes as `auroc`.

    At 0.5 on a two-class softmax this is argmax, a draw going to class 0.
    """
    positive, scores = samples.labels_and_scores(labels, scores, both=False)
    return _scalar((positive == (scores > threshold)).mean(axis=0))


def f1(labels: ArrayLike, scores: ArrayLike, *, threshold: float = 0.5) -> float | np.ndarray:
    """Harmonic mean of precision and recall of class 1, predicted where `scores > threshold`. Shapes as `auroc`.

    Raises ValueError where class 1 is neither present nor predicted, as precision and recall are undefined.
    """
    positive, scores = samples.labels_and_scores(labels, scores, both=False)
    predicted = scores > threshold
    total = positive.sum(axis=0) + predicted.sum(axis=0)
    if np.any(total == 0):
        raise ValueError("class 1 is neither present nor predicted, so F1 is undefined: add images of class 1")
    return _scalar(2 * (positive & predicted).sum(axis=0) / total)


def classification_report(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    names: tuple[str, str] = ("malignant", "benign"),
    threshold: float = 0.5,
) -> dict[str, float]:
    """The columns of a classification table for labels (n,) and scores (n,), the probability of class 1.

    Returns auroc, auprc_<names[1]> (class 1 positive), auprc_<names[0]> (class 0 positive, scores reversed),
    accuracy and f1 of class 1. Raises ValueError when a class is empty.
    """
    labels, scores = samples.columns(labels, "labels"), samples.columns(scores, "scores")
    if scores.ndim != 1:
        raise ValueError(f"scores have shape {scores.shape}: give the probability of class 1, (n,)")
    return {
        "auroc": float(auroc(labels, scores)),
        f"auprc_{names[1]}": float(auprc(labels, scores)),
        f"auprc_{names[0]}": float(auprc(1 - labels, -scores)),
        "accuracy": float(accuracy(labels, scores, threshold=threshold)),
        "f1": float(f1(labels, scores, threshold=threshold)),
    }


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, *, classes: int) -> np.ndarray:
    """Counts (classes, classes) int64 of images by label (row) and predicted class (column), both (n,) integers.

    Raises ValueError on other lengths, or a class outside 0 to `classes` − 1.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape:
        raise ValueError(f"labels have shape {labels.shape}, predicted {predicted.shape}: give one of each per image")
    both = np.concatenate([labels, predicted])
    if not np.isin(both, np.arange(classes)).all():
        raise ValueError(f"labels or predicted hold other values than the classes 0 to {classes - 1}: number them so")
    cells = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def balanced_accuracy(confusion: ArrayLike) -> float:
    """Mean recall of the classes, from counts or shares (k, k) by label (row) and predicted class (column).

    Chance is 1 / k. Raises ValueError on a matrix that is not square, is negative, or has a class without images.
    """
    confusion = samples.columns(confusion, "confusion")
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or confusion.min() < 0:
        raise ValueError(f"confusion has shape {confusion.shape}: give counts (k, k), rows by label, none below 0")
    images = confusion.sum(axis=1)
    if not images.all():
        raise ValueError(f"classes {np.flatnonzero(images == 0)} have no image, so no recall: leave them out")
    return float((confusion.diagonal() / images).mean())
