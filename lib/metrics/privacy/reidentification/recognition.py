"""Does an identity classifier still know whose image it sees? And how much of the evidence stays where it matters?

A classifier of many identities gives a posterior (n, p); one of pairs gives distances, and a pair nearer than a
threshold counts as one person (Montenegro et al. 2021, spec §6). What a *frozen* classifier says can
be gamed by whoever trained against it: show beside it one that was trained again on the anonymised images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


class Verification(NamedTuple):
    """Outcome of `verification`."""

    threshold: float  # midway between the mean distances of genuine and of impostor pairs
    accuracy: float  # balanced, of both kinds of pairs at that threshold; 0.5 is a guess
    genuine: float  # mean distance
    impostor: float


def entropy_share(posterior: ArrayLike) -> np.ndarray:
    """Entropy of each row of class probabilities (n, p), over that of the uniform posterior, log p: (n,) in [0, 1].

    1: the posterior is uniform. ValueError on values that are no probabilities, or a single class.
    """
    posterior = _posterior(posterior)
    return -(posterior * np.log(np.maximum(posterior, 1e-300))).sum(axis=1) / np.log(posterior.shape[1])


def chance_threshold(identity: ArrayLike, *, classes: int, sigmas: float = 3.0) -> float:
    """The top-1 accuracy that a guessing classifier of `classes` people does not exceed: p + sigmas √(p (1 - p) / n).

    p is the larger of 1 / classes and the share of the most frequent of the true identities (n,) (spec §8.4).
    """
    counts = np.unique(np.asarray(identity), return_counts=True)[1]
    n = counts.sum()
    p = max(1 / classes, counts.max() / n)
    return float(p + sigmas * np.sqrt(p * (1 - p) / n))


def verification(*, genuine: ArrayLike, impostor: ArrayLike) -> Verification:
    """Threshold and balanced accuracy of a classifier of pairs of original images, from their distances.

    genuine: (n,), of pairs of one person; impostor: (m,), of pairs of two. ValueError on NaN or an empty side.
    """
    genuine, impostor = samples.scores(genuine, "genuine"), samples.scores(impostor, "impostor")
    cut = (genuine.mean() + impostor.mean()) / 2
    accuracy = ((genuine < cut).mean() + (impostor >= cut).mean()) / 2
    return Verification(float(cut), float(accuracy), float(genuine.mean()), float(impostor.mean()))


def identities_within(distances: ArrayLike, identity: ArrayLike, *, threshold: float) -> np.ndarray:
    """How many people of a gallery lie nearer than `threshold` to each image: (n,) integers.

    `distances` (n, m) from images to the m gallery images, `identity` (m,) whose those are. A person counts once,
    however many of their images are near.
    """
    distances, identity = samples.columns(distances, "distances"), np.asarray(identity)
    if distances.ndim != 2 or identity.shape != distances.shape[1:]:
        raise ValueError(f"identity has shape {identity.shape} for distances {distances.shape}: give one per column")
    order = np.argsort(identity, kind="stable")
    starts = np.unique(identity[order], return_index=True)[1]
    return (np.minimum.reduceat(distances[:, order], starts, axis=1) < threshold).sum(axis=1)


def _posterior(values: ArrayLike) -> np.ndarray:
    values = samples.columns(values, "posterior")
    if values.ndim != 2 or values.shape[1] < 2 or values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("posterior holds no class probabilities (n, p) that add up to 1: apply softmax to logits")
    return values
