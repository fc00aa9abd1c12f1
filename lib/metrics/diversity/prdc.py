"""Do synthetic images cover the real ones, and stay among them? Precision, recall, density, coverage, dispersion.

Around every image of a set lies a ball that reaches to its k-th nearest neighbour in that set; the balls together
stand for the support of the set. Precision and recall: Kynkäänniemi et al. 2019; density and coverage: Naeem et al.
2020.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples


class Support(NamedTuple):
    """Outcome of `support`; all but density lie in [0, 1]."""

    precision: float  # share of synthetic images inside a real ball: is it plausible?
    recall: float  # share of real images inside a synthetic ball: is it all there?
    density: float  # real balls that a synthetic image lies in, over k; 1 is expected of the real distribution
    coverage: float  # share of real balls that hold a synthetic image
    k: int


@torch.no_grad()
def dispersion(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> float:
    """Median distance of two synthetic images over that of two real ones: below 1 the generator varies too little.

    `real` (n, ...) and `synthetic` (m, ...) are images or features of one space, preferably of one class. Raises
    ValueError on NaN, rows of different lengths, a set of one image, or real images that are all equal.
    """
    sides = {"real": samples.rows(real, "real"), "synthetic": samples.rows(synthetic, "synthetic")}
    samples.same_width(sides["real"], sides["synthetic"], ("real", "synthetic"))
    middle = {}
    for name, rows in sides.items():
        if len(rows) < 2:
            raise ValueError(f"{name} holds {len(rows)} image: a distance needs two")
        middle[name] = torch.pdist(rows.double()).median().item()
    if middle["real"] == 0:
        raise ValueError("most real images are equal: there is no dispersion to compare with")
    return middle["synthetic"] / middle["real"]


class Inside(NamedTuple):
    """Outcome of `inside`, image by image: `Support` holds the means, and these allow intervals."""

    precision: np.ndarray  # (m,) bool, of synthetic images
    recall: np.ndarray  # (n,) bool, of real images
    density: np.ndarray  # (m,) real balls it lies in, over k
    coverage: np.ndarray  # (n,) bool


def support(
    *, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor, k: int = 5, memory: int = 2**28
) -> Support:
    """Compare the supports of `real` (n, ...) and `synthetic` (m, ...), features of one space.

    A point at exactly the radius of a ball counts as inside. All four depend on n, m and k: compare sets of equal
    size, and give a second real set as the yardstick, since two finite samples of one distribution do not reach 1.
    Distances are float64, at most about `memory` bytes of them at a time.

    Raises ValueError on NaN, rows of different lengths, or a set with no more than k images.
    """
    found = inside(real=real, synthetic=synthetic, k=k, memory=memory)
    precision, recall, density, coverage = (float(each.mean()) for each in found)
    return Support(precision, recall, density, coverage, k)


@torch.no_grad()
def inside(
    *, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor, k: int = 5, memory: int = 2**28
) -> Inside:
    """What `support` takes the means of; arguments and errors as there."""
    sides = {"real": samples.rows(real, "real"), "synthetic": samples.rows(synthetic, "synthetic")}
    samples.same_width(sides["real"], sides["synthetic"], ("real", "synthetic"))
    for name, rows in sides.items():
        if not 1 <= k < len(rows):
            raise ValueError(f"k is {k} and {name} has {len(rows)} images: give more images, or a k from 1 below that")
    radius = {
        name: torch.from_numpy(nearest(rows, rows, k=k, exclude_self=True).distances[:, -1]).to(rows.device)
        for name, rows in sides.items()
    }
    first, second = (rows.double() for rows in sides.values())
    second = second.to(first.device)
    balls, recalled, covered = [], [], []
    step = max(1, memory // (8 * len(second)))
    for rows, reach in zip(first.split(step), radius["real"].split(step), strict=True):
        apart = torch.cdist(rows, second)
        within = apart <= reach[:, None]
        balls.append(within.sum(dim=0))
        covered.append(within.any(dim=1))
        recalled.append((apart <= radius["synthetic"].to(apart.device)).any(dim=1))
    held = torch.stack(balls).sum(dim=0).cpu().numpy()
    recall, coverage = (torch.cat(parts).cpu().numpy() for parts in (recalled, covered))
    return Inside(held > 0, recall, held / k, coverage)
