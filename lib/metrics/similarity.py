"""How alike the images of a set are: multi-scale structural similarity of pairs, and which pairs to compare."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from lib.metrics import samples
from lib.metrics.distances import full_precision

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first (Wang et al. 2003, §3.2)
WINDOW, SIGMA = 11, 1.5  # pixels
_BLOCK = 64  # outputs of one product with the band matrix of the window: few enough zeros, still a fast product
_CELLS = 2**19  # pixels worked on at a time, so that the moments stay in a core's cache


@torch.no_grad()
def ms_ssim(
    first: ArrayLike | torch.Tensor,
    second: ArrayLike | torch.Tensor,
    *,
    data_range: float | None,
    scales: int = 5,
    as_published: bool = False,
) -> np.ndarray:
    """Multi-scale structural similarity of image i of `first` and image i of `second`, (N,) float64, at most 1.

    Both are (N, H, W) of any real dtype; `data_range` is that of their type (255 for uint8, 2 for [−1, 1]), not of
    one image. Π csⱼ^wⱼ · (l·cs)_M^w_M over the M = `scales` scales (Wang, Simoncelli and Bovik 2003, eq. 7): 11 × 11
    Gaussian window of SD 1.5, valid convolution, means over the map, 2 × 2 mean between scales (an odd last row or
    column is left out), C₁ = (.01 L)², C₂ = (.03 L)². A negative mean counts as 0, and so does the product: no pair
    is lost. These are the conventions of MONAI and pytorch-msssim. Five scales need 176 pixels; of smaller images
    take `fitting_scales` of them, whose weights are scaled to sum 1: a value states its image size and scales.
    Accurate to 1e-6: the moments are float32, of x + y and x − y rather than of x and y, which subtracts less.

    `as_published=True` is the variant behind the published diversity figures, in float64, to compare with those
    only: the last scale is raised to 4·w₅; a negative mean makes the pair NaN; below 176 pixels the window shrinks
    to the image, with its peak at half its width; `data_range=None` guesses 255 for a pair whose first image
    exceeds 128, otherwise 1. Always five scales.

    Raises ValueError on NaN, on shapes that differ, or on images too small.
    """
    first, second = _images(first, "first"), _images(second, "second").to(_device(first))
    if first.shape != second.shape:
        raise ValueError(f"first has shape {tuple(first.shape)}, second {tuple(second.shape)}: give one pair per item")
    side = min(first.shape[1:])
    if as_published:
        if scales != len(WEIGHTS):
            raise ValueError(f"scales is {scales}: the published variant has {len(WEIGHTS)}, whatever the image size")
        if side < 2 ** (len(WEIGHTS) - 1):
            raise ValueError(f"images have {side} pixels a side: {len(WEIGHTS)} scales need at least 16")
    elif not 1 <= scales <= fitting_scales(side):
        raise ValueError(f"scales is {scales}: images of {side} pixels a side take 1 to {fitting_scales(side)}")
    if data_range is None and not as_published:
        raise ValueError("data_range is None: give the range of the images' type, such as 255")
    if data_range is not None and not data_range > 0:
        raise ValueError(f"data_range is {data_range}: give a positive number")
    step = max(1, _CELLS // first[0].numel())
    with full_precision(first.device.type):
        parts = [
            _similarity(one, two, data_range, scales, as_published)
            for one, two in zip(first.split(step), second.split(step), strict=True)
        ]
    return torch.cat(parts).cpu().numpy()


def fitting_scales(side: int) -> int:
    """Scales, at most five, at which images of this smaller side (pixels) hold the 11-pixel window: 32 takes 2.

    Raises ValueError below 11 pixels.
    """
    if side < WINDOW:
        raise ValueError(f"images have {side} pixels a side: the window needs {WINDOW}")
    return min(len(WEIGHTS), (side // WINDOW).bit_length())


def label_pairs(
    labels: ArrayLike, pairs: int, *, rng: np.random.Generator, groups: ArrayLike | None = None
) -> list[np.ndarray]:
    """For each column of `labels` (N, K) 0/1, up to `pairs` random pairs of images that carry the label.

    Returns K arrays (m, 2) int64 of rows. The pairs of a label are distinct, unordered, and never of an image with
    itself; m is `pairs`, or all there are where a rare label has fewer. With the patients `groups` (N,) the two
    images are of two patients: films of one patient resemble each other for another reason. Labels (N,) are one
    column. Raises ValueError on a label that has no pair.
    """
    labels = samples.columns(labels, "labels")
    labels = labels.reshape(len(labels), -1)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels hold other values than 0 and 1: give one column per label")
    if pairs < 1:
        raise ValueError(f"pairs is {pairs}: ask for at least one")
    patients = samples.codes(groups, len(labels))
    chosen = []
    for column, carries in enumerate(labels.T):
        rows = np.flatnonzero(carries)
        within = np.bincount(patients[rows]) if len(rows) else np.zeros(1, dtype=np.int64)
        within = int((within * (within - 1) // 2).sum())
        every = len(rows) * (len(rows) - 1) // 2
        if every == within:
            raise ValueError(f"label {column} has no pair of images of two patients: leave it out or add images")
        # As many more as there are pairs within a patient: enough are left when those are taken out.
        drawn = rows[_triangle(rng.choice(every, min(every, pairs + within), replace=False))]
        chosen.append(drawn[patients[drawn[:, 0]] != patients[drawn[:, 1]]][:pairs])
    return chosen


def _triangle(index: np.ndarray) -> np.ndarray:
    """Pair (i, j), i < j, of each index into the list 01, 02, 12, 03, 13, 23, …"""
    j = ((1 + np.sqrt(8.0 * index + 1)) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > index  # the root may round up past a whole number
    return np.stack([index - j * (j - 1) // 2, j], axis=1)


def _similarity(first, second, data_range, scales: int, as_published: bool) -> torch.Tensor:
    """(n,) float64 similarity of two blocks of images (n, H, W)."""
    # The published variant may meet a range far below the images' own, where float32 has too few digits.
    dtype = torch.float64 if as_published else torch.float32
    x, y = first.to(dtype), second.to(dtype)
    if data_range is None:
        reach = torch.where(x.amax(dim=(1, 2), keepdim=True) > 128, 255.0, 1.0).to(dtype)
    else:
        reach = torch.full((len(x), 1, 1), data_range, dtype=dtype, device=x.device)
    c1, c2 = (0.01 * reach).square(), (0.03 * reach).square()
    shift = (x.mean(dim=(1, 2), keepdim=True) + y.mean(dim=(1, 2), keepdim=True)) / 2
    both = torch.stack([x + y - 2 * shift, x - y])
    value = torch.ones(len(x), dtype=torch.float64, device=x.device)
    weights = [w / sum(WEIGHTS[:scales]) for w in WEIGHTS[:scales]]
    for scale, weight in enumerate(weights):
        mean = _smooth(torch.cat([both, both.square()]))
        # With s = x + y, d = x − y: 4 cov(x, y) = var s − var d and 2 (var x + var y) = var s + var d, so that
        # (2 cov + C) / (var x + var y + C) = 1 − 2 var d / (var s + var d + 2 C). Likewise of means.
        spread = mean[2:] - mean[:2].square()
        map_ = 1 - 2 * spread[1] / (spread[0] + spread[1] + 2 * c2)
        if scale == scales - 1:
            level, gap = (mean[0] + 2 * shift).square(), mean[1].square()
            map_ = map_ * (1 - 2 * gap / (level + gap + 2 * c1))
            weight *= scale if as_published else 1
        factor = map_.mean(dim=(1, 2)).double()
        value = value * (factor if as_published else factor.clamp_min(0)) ** weight
        if scale < scales - 1:
            both = F.avg_pool2d(both, 2)
    return value


def _smooth(images: torch.Tensor) -> torch.Tensor:
    """Gaussian mean (..., H, W) -> (..., H − 10, W − 10) by products with band matrices, one block at a time."""
    size = min(WINDOW, *images.shape[-2:])
    offset = torch.arange(size, dtype=torch.float64, device=images.device) - size // 2
    window = torch.exp(-offset.square() / (2 * SIGMA**2))
    window = window / window.sum()
    across = torch.cat([part @ band.T for part, band in _banded(images, window, -1)], dim=-1)
    return torch.cat([band @ part for part, band in _banded(across, window, -2)], dim=-2)


def _banded(images: torch.Tensor, window: torch.Tensor, dim: int):
    """Overlapping parts of `images` along `dim`, each with the matrix (outputs, inputs) that slides the window."""
    more, total = len(window) - 1, images.shape[dim]
    count = min(_BLOCK, total - more)
    band = window.new_zeros(count, count + more)
    for place in range(count):
        band[place, place : place + more + 1] = window
    band = band.to(images.dtype)
    for start in range(0, total - more, count):
        outputs = min(count, total - more - start)
        yield images.narrow(dim, start, outputs + more), band[:outputs, : outputs + more]


def _images(values: ArrayLike | torch.Tensor, name: str) -> torch.Tensor:
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
    if values.ndim != 3:
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give grey images (N, H, W)")
    return samples.rows(values, name).reshape(tuple(values.shape))


def _device(images: torch.Tensor) -> torch.device:
    return images.device
