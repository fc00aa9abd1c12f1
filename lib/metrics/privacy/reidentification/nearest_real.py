"""How near do shared images come to a real patient? Distances to the nearest real image, along walks and compared.

The mean of the minimum distances (mmL where the distance is LPIPS; Pennisi et al. 2023, spec §6) rises
as well when images get worse: read it beside that of held-out real images and a Fréchet distance. The name of the
number is that of the network behind the features.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import bdtrc

from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples
from lib.statistics.bootstrap import Interval, bootstrap
from lib.statistics.weighted import WeightedRatio

MEASURES = ("closest", "mean")


class NearestReal(NamedTuple):
    """Outcome of `nearest_real`."""

    distances: np.ndarray  # (p, T) float64, of each image of each walk to its nearest real image; exactly 0 for a copy
    rows: np.ndarray  # (p, T) int64, of that image


class Comparison(NamedTuple):
    """Outcome of `compare_walks`."""

    ratios: np.ndarray  # (p,) walk / baseline; inf where the baseline is 0, as a copy on a straight walk makes it
    ratio: float  # of the means over pairs
    higher: int  # pairs whose ratio is above 1
    pairs: int
    pvalue: float  # one-sided sign test: the chance of `higher` or more if either were as likely


def nearest_real(*, walks: Iterable, real: ArrayLike | torch.Tensor, squared: bool = False) -> NearestReal:
    """Distance of every image of walks to its nearest real image, exactly.

    `walks` (p, T, d) are features of T images a walk, or an iterable of (T, d), one walk at a time, where all do not
    fit in memory; `real` (n, d). The distance is Euclidean, or its square: LPIPS is the square of that of its
    features (`lib.models.pretrained.lpips`). Sets of images that are no walks are one walk, (1, n, d).

    Raises ValueError on NaN, other widths, or walks of different lengths.
    """
    real = samples.rows(real, "real")
    found = [nearest(walk, real) for walk in walks]
    if len({len(each.distances) for each in found}) != 1:
        raise ValueError("walks are none or of different lengths: give features (p, T, d), T images of every walk")
    distances, rows = (np.stack(part)[:, :, 0] for part in zip(*found, strict=True))
    return NearestReal(distances**2 if squared else distances, rows)


def mean_minimum(distances: ArrayLike, *, rng: np.random.Generator, draws: int = 1000, level: float = 0.95) -> Interval:
    """Mean of the distances to the nearest real image, (p, T) of walks or (n,) of single images, by `bootstrap`.

    The images of a walk are drawn together: they are steps of one path and not independent. Raises ValueError with
    one walk only.
    """
    distances = samples.columns(distances, "distances")
    walks = np.repeat(np.arange(len(distances)), distances[0].size)
    return bootstrap(WeightedRatio(distances.ravel()), groups=walks, draws=draws, rng=rng, level=level)


def compare_walks(*, walk: ArrayLike, baseline: ArrayLike, measure: str = "closest") -> Comparison:
    """Walks against baseline walks between the same ends, by their distances (p, T) to the nearest real image.

    measure: "closest", the smallest distance of a walk, which a collision with one patient lowers; "mean" over its
    images. Raises ValueError for another measure, or shapes that differ.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    walk, baseline = samples.columns(walk, "walk"), samples.columns(baseline, "baseline")
    if walk.shape != baseline.shape or walk.ndim != 2 or min(walk.min(), baseline.min()) < 0:
        raise ValueError(
            f"walk has shape {walk.shape} and baseline {baseline.shape}: give distances (p, T) of the same pairs"
        )
    of = np.min if measure == "closest" else np.mean
    first, second = of(walk, axis=1), of(baseline, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(first == second, 1.0, first / second)  # also where both are 0
        ratio = 1.0 if first.sum() == second.sum() else float(first.sum() / second.sum())
    higher = int((ratios > 1).sum())
    return Comparison(ratios, ratio, higher, len(ratios), float(bdtrc(higher - 1, len(ratios), 0.5)) if higher else 1.0)
