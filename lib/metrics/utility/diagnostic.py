"""Diagnostic accuracy per finding, with the spread over resamples: the table of a multi-label classifier."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics.bootstrap import bootstrap
from lib.statistics.weighted import WeightedAuroc

METRICS = ("auroc", "sensitivity", "specificity", "ppv", "npv", "f1", "accuracy")


class Spread(NamedTuple):
    """One metric of k findings, each array (k,)."""

    value: np.ndarray  # of the images as they are
    mean: np.ndarray  # over the draws
    sd: np.ndarray  # over the draws, the "±" of published bars
    low: np.ndarray  # percentile interval
    high: np.ndarray


def closest_cut(labels: ArrayLike, scores: ArrayLike, *, steps: int = 10_000) -> np.ndarray:
    """Per finding the cut, of `steps` equally spaced values from 0 to 1, nearest to the corner of a perfect test.

    `labels` (n, k) 0/1 and `scores` (n, k) in [0, 1]; returns (k,) float64. It minimises (1 − sensitivity)² +
    (1 − specificity)² of "score > cut"; of equal cuts the smallest. Chosen on the images that it is then evaluated on,
    as published, it flatters: choose it on a validation set. Raises ValueError on scores outside [0, 1] or when a
    finding has one class only.
    """
    positive, scores = _table(labels, scores)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"scores run from {scores.min():g} to {scores.max():g}: give probabilities")
    cuts, chosen = np.linspace(0, 1, steps), []
    for truth, score in zip(positive.T, scores.T, strict=True):
        missed, cleared = (np.searchsorted(np.sort(score[of]), cuts, side="right") / of.sum() for of in (truth, ~truth))
        chosen.append(cuts[np.argmin(missed**2 + (1 - cleared) ** 2)])
    return np.array(chosen)


def diagnostic_bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    cuts: ArrayLike,
    groups: ArrayLike | None = None,
    size: int | None = None,
    draws: int = 10_000,
    rng: np.random.Generator,
    level: float = 0.95,
) -> dict[str, Spread]:
    """Bootstrap of METRICS of k findings at fixed cuts: a `Spread` under each metric's name.

    `labels` (n, k) 0/1, `scores` (n, k), `cuts` (k,): predicted is "score > cut", and no draw chooses its own cut. A
    draw is shared by all metrics and findings. `groups` (n,) are patients, drawn whole; None draws single images.
    `size` is how many of them a draw holds, None as many as there are. The published protocol is `groups=None,
    size=10_000`: its SD is √(n / 10,000) times that of the estimate, and it takes radiographs of one patient for
    independent. Draws in which a metric is undefined (nothing predicted, an absent class) are left out of its spread.

    Raises ValueError when a finding has one class only, or a metric is undefined in more than half of the draws.
    """
    positive, scores = _table(labels, scores)
    cuts = samples.columns(cuts, "cuts")
    if cuts.shape != scores.shape[1:]:
        raise ValueError(f"cuts have shape {cuts.shape}: give one per finding, {scores.shape[1:]}")
    area, k = WeightedAuroc(positive, scores), len(cuts)
    # Three tables of 0 and 1 side by side: one product counts everything that a threshold decides.
    counted = np.hstack([positive, scores > cuts, positive & (scores > cuts)]).astype(np.float64)

    def metrics(weights: np.ndarray) -> np.ndarray:
        weights = np.ascontiguousarray(weights.T, dtype=np.float64).T
        total = (weights @ np.ones(len(scores)))[:, None]
        ill, called, hit = np.split(weights @ counted, 3, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cleared = total - ill - called + hit
            parts = {
                "auroc": area(weights),
                "sensitivity": hit / ill,
                "specificity": cleared / (total - ill),
                "ppv": hit / called,
                "npv": cleared / (total - called),
                "f1": 2 * hit / (ill + called),
                "accuracy": (hit + cleared) / total,
            }
        return np.hstack([parts[name] for name in METRICS])

    patients = samples.codes(groups, len(scores))
    found = bootstrap(metrics, groups=patients, size=size, draws=draws, rng=rng, level=level)
    mean, sd = np.nanmean(found.draws, axis=0), np.nanstd(found.draws, axis=0, ddof=1)
    columns = zip(*(part.reshape(-1, k) for part in (found.value, mean, sd, found.low, found.high)), strict=True)
    return dict(zip(METRICS, map(Spread._make, columns), strict=True))


def _table(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    positive, scores = samples.labels_and_scores(labels, scores)
    if scores.ndim != 2:
        raise ValueError(f"scores have shape {scores.shape}: give one column per finding, (n, k)")
    return positive, scores
