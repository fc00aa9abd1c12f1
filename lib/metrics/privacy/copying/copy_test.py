"""Does a synthetic set hold copies of its training images? A test with a stated rate of false alarms.

Every synthetic image is matched with the most similar real image, training and held-out together, whatever its
mirroring, brightness or contrast. The ratio of its distance to that image over its distance to the nearest image of
any *other* patient is near 1 for a bland image, which resembles many, and near 0 for a copy, which resembles one (the
ratio of Lowe 2004, §7.1; its distribution among independent points, Facco et al. 2017). The ratio does not know which
real image was trained on. So where nothing was copied, training images are no more frequent among the closest
matches than among all (`_count_test`, exact by permuting patients), and no match is an outlier by its distance ratio,
set against those of images that cannot be copies (`_tail`). Neither needs a model of the images.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import chi2, ks_2samp

from lib.metrics.neighbours.distances import full_precision
from lib.statistics import checks as samples

_BAND = 8.0  # cycles per image; the filter peaks at 5.7, where anatomy differs and noise does not yet rule
_FIRST = 5  # the smallest number of closest matches that is looked at
_TAIL = 0.2  # of the false alarms are the tail test's, which rests on a fit, the others those of the exact count test
_RAREST = 1e-4  # p-values of the tail go no lower: the fit cannot know of rarer events
_OUTLIER = 0.01  # a held-out image matched at this p-value of the tail, or below, seems to have been copied
_CLOSER = 0.1  # p-value, or below, at which matches with held-out images are taken to be closer than the null
_FEW = 20  # with fewer null matches than this their tail is not fitted
_CELLS = 2**24  # labels assigned at a time


class Matches(NamedTuple):
    """What `match` found for each of s queries among n real images."""

    nearest: np.ndarray  # (s,) int64, row of the most similar real image
    similarity: np.ndarray  # (s,) correlation of the band-pass descriptors, at most 1
    mirror: np.ndarray  # (s,) 0 as it is, 1 left to right, 2 top to bottom, 3 both: how the query matches it best
    ratio: np.ndarray  # (s,) distance to it over distance to the nearest image of another patient, in [0, 1]
    reached: np.ndarray  # (n,) the best similarity of each real image to any query


class CopyTest(NamedTuple):
    """Outcome of `copy_test`."""

    pvalue: float  # of the two tests together; flag at or below the false-alarm rate that is accepted
    count_pvalue: float  # are training images too frequent among the closest matches?
    tail_pvalue: float  # is a match an outlier by its distance ratio?
    pair_pvalues: np.ndarray  # (s,) of each match by itself, with any real image, corrected for all tests
    k: np.ndarray  # (K,) numbers of closest matches looked at
    share: np.ndarray  # (K,) of training images among them
    low: np.ndarray  # (K,) the middle 95 % of what permuted patients give
    high: np.ndarray  # (K,)

    @property
    def is_by_tail(self) -> bool:
        """Whether `pvalue` is that of the tail test, a fit, and not of the count test, which permutes."""
        return self.pvalue < min(1, self.count_pvalue / (1 - _TAIL))


@torch.no_grad()
def band_pass(images: ArrayLike | torch.Tensor, name: str = "images") -> torch.Tensor:
    """What tells an image from others: band-passed, limited, of mean 0 and length 1; (n, H, W) float32.

    `images` (n, H, W) of any real dtype. The filter f·exp(−(f / 8)²), f in cycles per image, leaves out brightness,
    most of the shading that all images share, and noise; tanh at one standard deviation keeps a bright border from
    outweighing the rest. Two descriptors correlate by their inner product, whatever brightness and contrast were.
    Raises ValueError on NaN, another shape, fewer than 8 pixels a side, or a constant image.
    """
    images = samples.grey_images(images, name)
    high, wide = images.shape[1:]
    if min(high, wide) < 8:
        raise ValueError(f"{name} have {high}×{wide} pixels: give 8 a side at least")
    flat = images.flatten(1)
    if bool((flat.amax(dim=1) == flat.amin(dim=1)).any()):
        raise ValueError(f"{name} hold a constant image, which resembles none: leave it out")
    f = torch.hypot(torch.fft.fftfreq(high)[:, None] * high, torch.fft.rfftfreq(wide) * wide).to(images.device)
    weight = f * torch.exp(-((f / _BAND) ** 2))
    parts = []
    for part in images.split(4096):
        band = torch.fft.irfft2(torch.fft.rfft2(part.float()) * weight, s=(high, wide)).flatten(1)
        band = torch.tanh(band / band.std(dim=1, keepdim=True).clamp_min(1e-12))
        band -= band.mean(dim=1, keepdim=True)
        parts.append(band / torch.linalg.vector_norm(band, dim=1, keepdim=True).clamp_min(1e-12))
    return torch.cat(parts).reshape(len(images), high, wide)


@torch.no_grad()
def match(
    queries: torch.Tensor,
    real: torch.Tensor,
    *,
    groups: ArrayLike,
    own: ArrayLike | None = None,
    memory: int = 2**27,
) -> Matches:
    """Match the `band_pass` of each query (s, H, W) with that of a real image (n, H, W), over four mirrorings.

    `groups` (n,) are the patients of the real images. `own` (s,): the patients of the queries, in the same
    numbering, when these are real images as well; their own patient is then left out. Holds about
    `memory` bytes beside its input. Raises ValueError on other shapes or fewer than three patients.
    """
    if queries.shape[1:] != real.shape[1:]:
        raise ValueError(f"queries have {tuple(queries.shape[1:])} pixels and real images {tuple(real.shape[1:])}")
    code = patient_codes(groups, len(real), 3)
    asked = (
        None
        if own is None
        else samples.codes(np.concatenate([np.asarray(groups), np.asarray(own)]), len(real) + len(queries))
    )
    code = code if asked is None else asked[: len(real)]
    mirrored = torch.cat([real, real.flip(2), real.flip(1), real.flip(1, 2)]).flatten(1)
    step, found = max(1, memory // (24 * len(real))), []
    reached = np.full(len(real), -1.0, np.float32)
    for start in range(0, len(queries), step):
        with full_precision(real.device.type):
            product = queries[start : start + step].flatten(1) @ mirrored.T
        alike, mirror = (best.cpu().numpy() for best in product.view(len(product), 4, -1).max(dim=1))
        apart = None if asked is None else asked[len(real) + start : len(real) + start + len(alike)]
        nearest, similarity, ratio = distance_ratios(alike, code, apart)
        reached = np.maximum(reached, alike.max(axis=0))
        found.append((nearest, similarity, mirror[np.arange(len(nearest)), nearest], ratio))
    nearest, similarity, mirror, ratio = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Matches(nearest, similarity, mirror, ratio, reached)


def distance_ratios(alike: np.ndarray, code: np.ndarray, own: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Nearest, similarity and ratio (q,), as in `Matches`, from similarities (q, n), which are overwritten.

    `code` (n,) are the patients of the real images, `own` (q,) those of queries that are real as well.
    """
    if own is not None:
        alike[own[:, None] == code] = -2
    nearest = alike.argmax(axis=1)
    similarity = np.minimum(alike[np.arange(len(alike)), nearest], 1)
    others = np.where(code[nearest][:, None] == code, np.float32(-2), alike).max(axis=1)
    # Rounding leaves 1e-7 of an identical pair.
    near, next_near = (np.sqrt(np.where(1 - s < 1e-6, 0, 1 - s)) for s in (similarity, others))
    ratio = np.divide(near, next_near, out=np.ones(len(alike)), where=next_near > 0)
    return nearest, similarity.astype(float), ratio


def copy_test(
    matches: Matches,
    *,
    member: ArrayLike,
    groups: ArrayLike,
    null: ArrayLike,
    is_heldout: bool = True,
    permutations: int = 999,
    rng: np.random.Generator,
) -> CopyTest:
    """Test whether synthetic images, matched with real ones by `match`, are copies of those that are `member` (n,).

    `groups` (n,) are the patients. `null` (N,) are ratios of images that cannot be copies: each real image
    matched with those of other patients, of each patient the smallest, since images of one patient are alike. The
    p-value is the smaller of two, each over its part of the false alarms:

    The count test looks at the k = 5, 10, 20, … closest matches. Patients are randomly permuted as training or
    held out, the smallest p-value over k is compared with the smallest of each permutation: an exact test if the
    patients were split at random, however similar the images of one patient.

    The tail test asks whether one match by itself is an outlier by its distance ratio. Among independent images
    −log ratio has an exponential tail; its rate comes from the √N closest null matches, at the careful end of its
    95 % interval. It is corrected for the number of matches. A copy of a held-out image is one of a patient as well, so
    that matches with held-out images are tested alike. Those that are no outliers say how close this synthetic set
    comes to images that it cannot have copied. Are they closer than the null (Kolmogorov-Smirnov), a match with a
    training image has the larger p-value of that by the null and that by them; else they would only add the
    uncertainty of a tail that is fitted to a few. is_heldout=False: the other side may have been trained on as well, so
    it says nothing of that, and only outliers by themselves are found.

    Raises ValueError if shapes differ, a side is empty, a patient is on both, or null matches are fewer than 10.
    """
    member, null = np.asarray(member, bool), samples.scores(null, "null")
    code = patient_codes(groups, len(member), 2)
    inside = np.bincount(code, weights=member)
    size = np.bincount(code)
    if member.all() or not member.any():
        raise ValueError("the real images are of one side only: give training and held-out images")
    if np.any((inside > 0) & (inside < size)):
        raise ValueError("a patient is both training and held out: leave the patient out on one side")
    if len(null) < 10:
        raise ValueError(f"{len(null)} null matches are too few: give ten at least")
    k, share, low, high, count_p = _count_test(matches, inside > 0, code, permutations, rng)
    of_member = member[matches.nearest]
    closeness = _closeness(matches.ratio)
    pairs = _tail(closeness, _closeness(null)) * len(closeness)
    elsewhere = closeness[~of_member & (pairs > _OUTLIER)]
    if (
        is_heldout
        and len(elsewhere) >= _FEW
        # Its exact p value takes as long as the rest of the test, and lies a twentieth above this one at most.
        and ks_2samp(elsewhere, _closeness(null), alternative="less", method="asymp").pvalue <= _CLOSER
    ):
        pairs = np.where(of_member, np.maximum(pairs, _tail(closeness, elsewhere) * len(closeness)), pairs)
    pairs = np.clip(pairs, _RAREST, 1)
    tail_p = float(pairs.min())
    pairs = np.minimum(pairs / _TAIL, 1)
    return CopyTest(min(1.0, count_p / (1 - _TAIL), tail_p / _TAIL), count_p, tail_p, pairs, k, share, low, high)


def population_pvalue(
    nearest: ArrayLike,
    *,
    member: ArrayLike,
    groups: ArrayLike,
    permutations: int = 999,
    rng: np.random.Generator,
) -> float:
    """Chance that training and held-out images of one population keep to their own side as much as these do.

    `nearest` (n,) is, of each real image, the row of the most similar one of another patient (`match` with `own`).
    The share of images whose neighbour is on their side is compared with that of permuted patients (nearest-neighbour
    two-sample test, Schilling 1986). A small value says that the held-out images are not of the same population.
    """
    nearest, member = np.asarray(nearest), np.asarray(member, bool)
    code = patient_codes(groups, len(member), 2)
    members = np.bincount(code, weights=member) > 0
    permuted = np.concatenate([members[None], rng.permuted(np.tile(members, (permutations, 1)), axis=1)])
    same = (permuted[:, code] == permuted[:, code[nearest]]).sum(axis=1)
    return float((same >= same[0]).mean())


def rank_by_ratio(matches: Matches, member: ArrayLike) -> np.ndarray:
    """Rows of the matches with training images by distance ratio, the smallest first, and of equals the most alike."""
    rows = np.flatnonzero(np.asarray(member, bool)[matches.nearest])
    return rows[np.lexsort((-matches.similarity[rows], matches.ratio[rows]))]


def _count_test(matches, members, code, permutations: int, rng):
    """The k looked at, the share of training images among them, its middle 95 %, and the p-value."""
    total = len(matches.nearest)
    order = np.argsort(matches.ratio, kind="stable")
    patient = code[matches.nearest[order]]
    grid = np.unique(np.minimum(_FIRST * 2 ** np.arange(math.ceil(math.log2(max(total / _FIRST, 1))) + 1), total))
    starts = np.concatenate([[0], grid[:-1]])
    parts = [np.add.reduceat(members[patient][None].astype(np.int32), starts, axis=1)]
    step = max(1, _CELLS // max(total, len(members)))
    for start in range(0, permutations, step):
        permuted = np.tile(members, (min(step, permutations - start), 1))
        permuted = rng.permuted(permuted, axis=1, out=permuted)
        parts.append(np.add.reduceat(permuted[:, patient], starts, axis=1, dtype=np.int32))
    counts = np.concatenate(parts).cumsum(axis=1)
    each = np.empty(counts.shape)
    for column, values in enumerate(counts.T):
        each[:, column] = len(counts) - np.searchsorted(np.sort(values), values, side="left")
    smallest = each.min(axis=1)
    pvalue = float((smallest <= smallest[0]).mean())
    low, high = np.quantile(counts[1:], [0.025, 0.975], axis=0) / grid
    return grid, counts[0] / grid, low, high, pvalue


def _closeness(ratio: np.ndarray) -> np.ndarray:
    """−log of distance ratios: large for outliers."""
    return -np.log(np.maximum(ratio, 1e-9))


def _tail(closeness: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Chance (s,) that a null match is as close: counted, and beyond the √N-th by an exponential tail."""
    null = np.sort(null)
    n, top = len(null), max(4, round(len(null) ** 0.5))
    limit = null[-top]
    excess = max((null[-top:] - limit).sum(), 1e-9) * 2 / chi2.ppf(0.05, 2 * (top - 1))
    counted = (1 + n - np.searchsorted(null, closeness, side="left")) / (n + 1)
    fitted = (top / n) * np.exp(-np.maximum(closeness - limit, 0) / excess)
    return np.where(closeness > null[-1], fitted, np.maximum(counted, np.where(closeness > limit, fitted, 0)))


def patient_codes(groups: ArrayLike, n: int, fewest: int) -> np.ndarray:
    """Codes (n,) of the patients `groups`; ValueError for fewer than `fewest` of them."""
    code = samples.codes(groups, n)
    if code.max() + 1 < fewest:
        raise ValueError(f"images of {fewest} patients at least are needed, and these are of {code.max() + 1}")
    return code
