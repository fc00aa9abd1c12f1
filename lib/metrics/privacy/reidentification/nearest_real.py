"""How near do shared images come to a real patient? Distances to the nearest real image, along walks.

The mean of the minimum distances (mmL where the distance is LPIPS; Pennisi et al. 2023, spec §6) rises
as well when images get worse: read it beside that of held-out real images and a Fréchet distance. The name of the
number is that of the network behind the features.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples


class NearestReal(NamedTuple):
    """Outcome of `nearest_real`."""

    distances: np.ndarray  # (p, T) float64, of each image of each walk to its nearest real image; exactly 0 for a copy
    rows: np.ndarray  # (p, T) int64, of that image


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
