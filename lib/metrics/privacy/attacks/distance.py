"""Pairwise and density attacks: does a candidate lie so near to synthetic images that it must have been a member?

Both give every candidate image a score, larger meaning more likely a member, from its Euclidean distances to all
synthetic images, in pixels or in features; `lib.metrics.privacy.membership` evaluates the scores. The pairwise attack
asks how near the nearest synthetic image is, the density attack how many are near; as in Sun et al. 2021. A single
copy is found by the pairwise attack; in a dense neighbourhood it hardly changes the count of the density attack.

Distances come from float64 products; what lies within their error of a decision is compared by direct difference.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours import distances
from lib.metrics.neighbours.grey_rows import GreyRows, as_rows
from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples

_DIGIT = 16  # bits of a distance that one histogram resolves; three tell all but rounding apart


class Pairwise(NamedTuple):
    """Outcome of `pairwise_attack`, for each candidate."""

    scores: np.ndarray  # (q,) float64, −ratio: larger means more likely a member
    ratio: np.ndarray  # (q,) minimum / median, in [0, 1]
    minimum: np.ndarray  # (q,) distance to the nearest synthetic image; exactly 0 for a copy
    median: np.ndarray  # (q,) median distance to all synthetic images
    nearest: np.ndarray  # (q,) int64, row of the nearest synthetic image


class Density(NamedTuple):
    """Outcome of `density_attack`."""

    scores: np.ndarray  # (q,) int64, synthetic images within the radius of each candidate
    radius: float  # in the unit of the input


@torch.no_grad()
def pairwise_attack(
    candidates: ArrayLike | torch.Tensor | GreyRows,
    synthetic: ArrayLike | torch.Tensor | GreyRows,
    *,
    memory: int = 2**29,
) -> Pairwise:
    """Score candidates by their distance to the nearest synthetic image, in units of their median distance.

    `candidates` (q, ...) and `synthetic` (n, ...) are images or features of one shape and value range, or `GreyRows`;
    beside them
    the attack holds about `memory` bytes. Dividing by the median makes up for candidates that are far from
    everything, as images of high contrast are. The minimum is exact. The median, for an even n the mean of the two
    in the middle, errs by a relative 1e-6 at most where it is above a thousandth of the largest distance from the
    mean, and by 1e-12 where it is of that size. A median of 0 (most synthetic images are copies of the candidate)
    comes with a minimum of 0, and the ratio is then 0 by definition.

    Raises ValueError on NaN, rows of different lengths, or fewer than two synthetic images: of one, the minimum is
    the median.
    """
    candidates, synthetic = _checked(candidates, synthetic)
    n = len(synthetic)
    if n < 2:
        raise ValueError("one synthetic image is its own median: give two at least, so that there is a nearer one")
    found = nearest(candidates, synthetic, memory=memory)
    minimum = found.distances[:, 0]
    frame = distances.frame(candidates, synthetic)
    middle = []
    with distances.full_precision(candidates.device.type):
        for some in candidates.split(max(1, memory // (32 * max(n, 4096)))):
            square = _squares(some, synthetic, frame)[0].cpu().numpy()
            ranks = [(n - 1) // 2, n // 2]
            middle.append(np.sqrt(np.partition(square, ranks, axis=1)[:, ranks]).mean(axis=1))
    # By its rounding the median could come out below the minimum, where most images are equally far.
    median = np.concatenate(middle) / frame.scale
    median = np.maximum(np.where(median < 1e-100, 0, median), minimum)  # squares are kept above 1e-300
    ratio = np.divide(minimum, median, out=np.zeros(len(minimum)), where=minimum > 0)
    return Pairwise(-ratio, ratio, minimum, median, found.indices[:, 0])


@torch.no_grad()
def density_attack(
    candidates: ArrayLike | torch.Tensor | GreyRows,
    synthetic: ArrayLike | torch.Tensor | GreyRows,
    *,
    quantile: float | None = None,
    radius: float | None = None,
    as_published: bool = False,
    memory: int = 2**29,
) -> Density:
    """Score candidates by the number of synthetic images within a radius, the same for all.

    `candidates` (q, ...) and `synthetic` (n, ...) are images or features of one shape and value range. The radius
    is given in their unit, or as a `quantile` of all N = q·n distances: the ⌈quantile·N⌉-th smallest, so that this
    many pairs count. A set with m copies of candidates reveals them at a quantile of m / N; at a larger one, such
    as the published 1 %, candidates in dense regions drown them. A pair at exactly the radius counts;
    `as_published` takes the distance at index ⌊quantile·N⌋ of the sorted list, counted from 0, and the pairs below
    it: the same pairs, unless distances are tied or quantile·N is no whole number.

    Radius and counts are those of the brute force in float64, identical images being at exactly 0. Beside its input
    the attack holds about `memory` bytes, and 24 for every pair that is tied with the radius; where the N distances
    do not fit in half of it, they are computed anew for each of two to four passes.

    Raises ValueError on NaN, rows of different lengths, a quantile of less than one pair, or unless exactly one of
    `quantile` and `radius` is given.
    """
    candidates, synthetic = _checked(candidates, synthetic)
    if (quantile is None) == (radius is None):
        raise ValueError("give either quantile= or radius=: one of them is the size of the neighbourhood")
    squares = _Squares(candidates, synthetic, memory)
    rank = 0 if quantile is None else _rank(quantile, squares.pairs, as_published)
    with distances.full_precision(candidates.device.type):
        low, high = squares.bracket(rank) if radius is None else _around(radius, squares.frame.scale)
        counts, row, far = squares.settled(low, high)
    if radius is None:
        radius = float(far.kthvalue(rank - int(counts.sum())).values)
    inside = far < radius if as_published else far <= radius
    counts += torch.bincount(row[inside], minlength=len(counts))
    return Density(counts.cpu().numpy(), float(radius))


class _Squares:
    """All squared distances of candidates and synthetic images in their frame, block by block."""

    def __init__(self, candidates: torch.Tensor, synthetic: torch.Tensor, memory: int):
        self.candidates, self.synthetic = candidates, synthetic
        self.frame = distances.frame(candidates, synthetic)
        self.pairs = len(candidates) * len(synthetic)
        # Small blocks: what is done to them then happens in cache.
        self._wide, self._tall = distances.tiling(candidates, synthetic, min(memory // 4, 2**26), torch.float64)
        self._kept: list[tuple[int, int, torch.Tensor, torch.Tensor]] | None = (
            [] if 8 * self.pairs <= memory // 2 else None
        )
        # Comparing a pair costs as much as some hundred products; those kept cost nothing.
        self._few = 2**12 if self._kept is not None else min(self.pairs // 512, memory // 64)

    def __iter__(self) -> Iterator[tuple[int, int, torch.Tensor, torch.Tensor]]:
        """First row, first column, squares (a, b) and the bound (a, 1) on their error, of each block."""
        if self._kept:
            yield from self._kept
            return
        for top in range(0, len(self.candidates), self._wide):
            for left in range(0, len(self.synthetic), self._tall):
                some, others = self.candidates[top : top + self._wide], self.synthetic[left : left + self._tall]
                block = (top, left, *_squares(some, others, self.frame))
                if self._kept is not None:
                    self._kept.append(block)
                yield block

    def bracket(self, rank: int) -> tuple[float, float]:
        """An interval that holds the `rank`-th smallest true square, counted from 1, and few others.

        The bits of a float64 above 0, read as an integer, are in its order. So histograms of one digit after the
        other, each within the bin found before, lead to the computed square; its error widens the interval.
        """
        found, error = 0, 0.0
        for shift in (63 - _DIGIT, 63 - 2 * _DIGIT, 63 - 3 * _DIGIT):
            counts, below = torch.zeros(2**_DIGIT, dtype=torch.int64, device=self.candidates.device), 0
            for _, _, square, bound in self:
                error = max(error, float(bound.max()))
                digits = square.view(torch.int64).flatten() >> shift
                if found:  # counted anew in every pass, as a product may change in its last digit
                    below += int((digits < found << _DIGIT).sum())
                    digits = digits[digits >> _DIGIT == found]
                counts = counts + torch.bincount(digits & (2**_DIGIT - 1), minlength=2**_DIGIT)
            running = counts.cumsum(0)
            digit = int(torch.searchsorted(running, min(max(1, rank - below), int(running[-1]))))
            found = found << _DIGIT | digit
            if int(counts[digit]) <= self._few:
                break
        low, high = np.array([found << shift, (found + 1) << shift]).view(np.float64)
        return low - error, high + error

    def settled(self, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pairs surely below the interval, per candidate (q,); candidate and exact distance of those near it (m,)."""
        below = torch.zeros(len(self.candidates), dtype=torch.int64, device=self.candidates.device)
        near = []
        for top, left, square, bound in self:
            below[top : top + len(square)] += (square < low - bound).sum(dim=1, dtype=torch.int32)
            row, column = ((square >= low - bound) & (square <= high + bound)).nonzero(as_tuple=True)
            near.append((row + top, column + left))
        row, column = (torch.cat(parts) for parts in zip(*near, strict=True))
        return below, row, distances.direct(self.candidates, self.synthetic, row, column)


def _squares(candidates, synthetic, frame: distances.Frame) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances (q, n) above 0 in the frame, in float64, and the bound (q, 1) on their error."""
    product = distances.product(candidates, synthetic, frame, dtype=torch.float64)
    square = product.values.add_(product.norms[:, None]).clamp_(min=1e-300)  # no -0.0: its bits are out of order
    return square, (product.bound + product.norm_bound)[:, None]


def _around(radius: float, scale: float) -> tuple[float, float]:
    """The square of a radius in the frame, below and above its rounding."""
    if not 0 <= radius < math.inf:
        raise ValueError(f"radius is {radius}: give a finite distance that is not below 0")
    square = (radius * scale) ** 2
    return square * (1 - 1e-14), square * (1 + 1e-14)


def _rank(quantile: float, pairs: int, as_published: bool) -> int:
    """Which of the sorted distances, counted from 1, is the radius."""
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}: give a share of the pairs in (0, 1)")
    share = round(quantile * pairs, 6)  # m / N · N is m, whatever its rounding
    if share < 1:
        raise ValueError(
            f"a quantile of {quantile:g} of {pairs} pairs is less than one pair: give more synthetic images or a "
            "larger quantile"
        )
    return math.floor(share) + 1 if as_published else math.ceil(share)


def _checked(candidates, synthetic) -> tuple[torch.Tensor, torch.Tensor]:
    shapes = [tuple(of.shape if hasattr(of, "shape") else np.shape(of))[1:] for of in (candidates, synthetic)]
    if shapes[0] != shapes[1] and np.prod(shapes[0]) == np.prod(shapes[1]):
        raise ValueError(f"candidates are {shapes[0]} each and synthetic {shapes[1]}: bring both to one size and order")
    candidates = as_rows(candidates, "candidates")
    synthetic = as_rows(synthetic, "synthetic").to(candidates.device)
    if candidates.is_floating_point() != synthetic.is_floating_point():
        raise ValueError(
            f"candidates are {candidates.dtype}, synthetic {synthetic.dtype}: bring both to one value range and dtype"
        )
    samples.same_width(candidates, synthetic, ("candidates", "synthetic"))
    return candidates, synthetic
