"""Power of privacy measures: how often does each see copies that were injected, and how often some that were not?

A measure gives scores to candidates (training images, or synthetic ones) and to references (held-out images), larger
meaning more highly ranked; a test asks whether the candidates' are larger. Without copies the sides are exchangeable,
so that either test below rejects in 5 % of all random cohorts, whatever the images. Everything is computed from
distances between images, once; a repetition permutes the patients, which costs a few partial sorts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import hypergeom, rankdata

MEASURES = (
    "pairwise", "density", "nearest, distance", "nearest, correlation", "neighbour ratio", "C_T", "authenticity",
)  # fmt: skip
TESTS = ("whole ranking", "top")
_BLOCK = 2**22  # distances held at a time


def between(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Distances and correlations (n, m) of uint8 images (n, ...) and (m, ...), as `rejections` takes them.

    Exact: products of integers are, in float64. ValueError for another dtype, or a constant image.
    """
    pair = [of.reshape(len(of), -1) for of in map(np.asarray, (first, second))]
    if any(of.dtype != np.uint8 for of in pair):
        raise ValueError(f"the images are {[of.dtype.name for of in pair]}: give uint8")
    a, b = (of.astype(float) for of in pair)
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    a, b = (of - of.mean(axis=1, keepdims=True) for of in (a, b))
    length = [np.linalg.norm(of, axis=1) for of in (a, b)]
    if min(of.min() for of in length) < 1e-9:
        raise ValueError("an image is constant, which correlates with none: leave it out")
    return np.sqrt(square), a @ b.T / np.outer(*length)


def area_pvalue(candidate: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """One-sided p-values (...) of the Mann–Whitney test: do candidates (..., a) score above references (..., b)?

    By the normal approximation with its correction for ties; all scores equal: 1. The test of an AUROC against ½.
    ValueError for NaN, or an empty side.
    """
    candidate, reference = _sides(candidate, reference)
    a, b = candidate.shape[-1], reference.shape[-1]
    rank = rankdata(np.concatenate([candidate, reference], axis=-1), axis=-1)
    excess = rank[..., :a].sum(axis=-1) - a * (a + b + 1) / 2
    # The variance of the rank sum among all ways to assign these ranks, tied or not.
    spread = a * b / (a + b) * rank.var(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, ndtr(-excess / np.sqrt(spread)), 1.0)


def top_pvalue(candidate: ArrayLike, reference: ArrayLike, *, fpr: float = 0.01) -> np.ndarray:
    """One-sided p-values (...) of the number of candidates (..., a) that score above all but f of b references.

    f = ⌊fpr · b⌋: the test of a TPR at this false-positive rate, exact. t candidates or more are found exactly where at
    most f of the t + f largest scores are references, which is hypergeometric. Of ties with the limit none counts.
    ValueError for NaN, or an empty side.
    """
    candidate, reference = _sides(candidate, reference)
    a, b = candidate.shape[-1], reference.shape[-1]
    allowed = int(fpr * b)
    limit = np.partition(reference, b - 1 - allowed, axis=-1)[..., b - 1 - allowed]
    found = (candidate > limit[..., None]).sum(axis=-1)
    chance = np.append(1.0, hypergeom.cdf(allowed, a + b, b, np.arange(1, a + 1) + allowed))
    return chance[found]


def _sides(candidate: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sides = {"candidate": np.asarray(candidate), "reference": np.asarray(reference)}
    for name, of in sides.items():
        if of.ndim == 0 or of.size == 0 or np.isnan(of).any():
            raise ValueError(f"{name} scores of shape {of.shape} are empty or hold NaN: give a number of each image")
    return sides["candidate"], sides["reference"]


def membership_scores(distance: np.ndarray, correlation: np.ndarray, *, quantile: float) -> dict[str, np.ndarray]:
    """Scores (..., q) of candidates by their distances and correlations (..., q, s) with s synthetic images.

    As `lib.metrics.privacy.attacks.distance` and `lib.metrics.privacy.membership` give them, the radius of the density
    attack being the ⌈quantile · q · s⌉-th smallest distance.
    """
    q, s = distance.shape[-2:]
    ranks = [(s - 1) // 2, s // 2]
    nearest = distance.min(axis=-1)
    median = np.partition(distance, ranks, axis=-1)[..., ranks].mean(axis=-1)
    flat, at = distance.reshape(*distance.shape[:-2], q * s), int(np.ceil(quantile * q * s)) - 1
    radius = np.partition(flat, at, axis=-1)[..., at]
    return {
        "pairwise": -np.divide(nearest, median, out=np.zeros_like(nearest), where=nearest > 0),
        "density": (distance <= radius[..., None, None]).sum(axis=-1),
        "nearest, distance": -nearest,
        "nearest, correlation": correlation.max(axis=-1),
    }


def copying_scores(distance: np.ndarray, spacing: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (..., s) of images by their distances (..., n, s) to n training images.

    spacing: (..., n), the distance from each training image to the nearest other one.

    "neighbour ratio": −nearest/second nearest. "C_T": −nearest, so that `area_pvalue` is the test of Meehan et al. 2020
    in one cell. "authenticity": 1 where the image lies no farther from its nearest training image than that one's
    spacing (Alaa et al. 2022).
    """
    first, second = np.moveaxis(np.partition(distance, 1, axis=-2)[..., :2, :], -2, 0)
    around = np.take_along_axis(spacing, distance.argmin(axis=-2), axis=-1)
    ratio = np.divide(first, second, out=np.zeros_like(first), where=first > 0)
    return {"neighbour ratio": -ratio, "C_T": -first, "authenticity": (first <= around).astype(float)}


def rejections(
    distance: ArrayLike, correlation: ArrayLike, *, copy_distance: ArrayLike, copy_correlation: ArrayLike,
    copies: Sequence[int], side: int, repeats: int, quantile: float = 0.01, fpr: float = 0.01, level: float = 0.05,
    rng: np.random.Generator,
) -> Mapping[tuple[str, str], np.ndarray]:  # fmt: skip
    """Which of `repeats` random cohorts each measure and test rejects: (measure, test) -> (len(copies), repeats) bool.

    `distance` and `correlation` (P, P): of images of P patients, one of each; `copy_distance` and `copy_correlation`
    (P, P): of an image (row) with the copy, altered or not, of another (column). Each time `side` patients are split
    out as training, as many as held out, and as many as the synthetic set, a perfect generator's that copies nobody.
    For each number in `copies` so many of its images are then replaced by copies of as many training images; the larger
    injections hold the smaller. Authenticity, of two values, has no top.
    ValueError for matrices that differ in shape, three sides that exceed P, or more copies than a side.
    """
    given = [np.asarray(of, np.float32) for of in (distance, correlation, copy_distance, copy_correlation)]
    total = len(given[0])
    if any(of.shape != (total, total) for of in given):
        raise ValueError(f"the matrices have shapes {[of.shape for of in given]}: give four of one (P, P)")
    if not (3 * side <= total and 2 <= side and all(0 <= m <= side for m in copies)):
        raise ValueError(f"three sides of {side} and copies {list(copies)} do not fit {total} patients")
    apart, alike, copied, copied_alike = given
    found: dict[tuple[str, str], list[np.ndarray]] = {
        key: [] for key in [(measure, test) for measure in MEASURES for test in TESTS][:-1]
    }
    step = max(1, _BLOCK // (2 * side**2))
    for start in range(0, repeats, step):
        permuted = rng.permuted(np.tile(np.arange(total), (min(step, repeats - start), 1)), axis=1)
        train, real, carrier = permuted[:, :side], permuted[:, : 2 * side], permuted[:, 2 * side : 3 * side]
        among = apart[train[:, :, None], train[:, None, :]]
        among[:, np.arange(side), np.arange(side)] = np.inf
        spacing = among.min(axis=-1)
        null = copying_scores(apart[train[:, :, None], real[:, None, side:]], spacing)
        block, similar = (of[real[:, :, None], carrier[:, None, :]] for of in (apart, alike))
        rejected: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in found}
        for m in copies:
            columns = real[:, :, None], train[:, None, :m]
            block[:, :, :m], similar[:, :, :m] = copied[columns], copied_alike[columns]
            sides = {
                name: (of[:, :side], of[:, side:])
                for name, of in membership_scores(block, similar, quantile=quantile).items()
            }
            sides |= {name: (of, null[name]) for name, of in copying_scores(block[:, :side], spacing).items()}
            for measure, test in found:
                p = area_pvalue(*sides[measure]) if test == TESTS[0] else top_pvalue(*sides[measure], fpr=fpr)
                rejected[measure, test].append(p <= level)
        for key, of in rejected.items():
            found[key].append(np.stack(of))
    return {key: np.concatenate(of, axis=1) for key, of in found.items()}
