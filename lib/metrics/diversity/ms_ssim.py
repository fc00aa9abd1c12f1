"""How alike the images of a set are: multi-scale structural similarity of pairs, and which pairs to compare."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from lib.metrics.neighbours.distances import full_precision
from lib.statistics import checks as samples

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first (Wang et al. 2003, §3.2)
WINDOW, SIGMA = 11, 1.5  # pixels
_BLOCK = 64  # outputs of one product with the band matrix of the window: few enough zeros, still a fast product
_CELLS, _BATCH = 2**17, 2**20  # pixels smoothed at a time by each thread, to stay in its cache, and pixels prepared


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
    take `fitting_scales` of them, whose weights are scaled to the sum of all five (1.0001): state size and scales.
    Computed in float64, as the difference of E x² and (E x)² has few digits left in float32 (1e-5 in the peers).

    `as_published=True` is the variant behind the published diversity figures, to compare with those only: the last
    scale is raised to 4·w₅; a negative mean makes the pair NaN; below 176 pixels the window shrinks to the image,
    with its peak at half its width; the window is rounded to float32; `data_range=None` guesses 255 for a pair whose
    first image exceeds 128, otherwise 1. Always five scales.

    Raises ValueError on NaN, on shapes that differ, or on images too small.
    """
    first, second = samples.grey_images(first, "first"), samples.grey_images(second, "second")
    second = second.to(first.device)
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
    step = max(1, _BATCH // first[0].numel())
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
    images are of two patients: radiographs of one patient resemble each other for another reason. Labels (N,) are one
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
        of_each = np.bincount(patients[rows]) if len(rows) else np.zeros(1, dtype=np.int64)
        within = int((of_each * (of_each - 1) // 2).sum())
        every = len(rows) * (len(rows) - 1) // 2
        if every == within:
            raise ValueError(f"label {column} has no pair of images of two patients: leave it out or add images")
        # As many more as there are pairs within a patient: enough are left when those are taken out.
        drawn = rows[_triangle(rng.choice(every, min(every, pairs + within), replace=False))]
        chosen.append(drawn[patients[drawn[:, 0]] != patients[drawn[:, 1]]][:pairs])
    return chosen


def _triangle(index: np.ndarray) -> np.ndarray:
    """Pair (i, j), i < j, of each index into the list 01, 02, 12, 03, 13, 23 and so on."""
    j = ((1 + np.sqrt(8.0 * index + 1)) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > index  # the root may round up past a whole number
    return np.stack([index - j * (j - 1) // 2, j], axis=1)


def _similarity(first, second, data_range, scales: int, as_published: bool) -> torch.Tensor:
    """(n,) float64 similarity of two blocks of images (n, H, W)."""
    x, y = first.double(), second.double()
    if data_range is None:
        data_range = torch.where(x.amax(dim=(1, 2), keepdim=True) > 128, x.new_tensor(255), 1)
    ranges = torch.as_tensor(data_range, dtype=x.dtype, device=x.device).expand(len(x), 1, 1)
    value = x.new_ones(len(x))
    both = torch.stack([x + y, x - y])
    for scale, weight in enumerate(WEIGHTS[:scales]):
        weight *= sum(WEIGHTS) / sum(WEIGHTS[:scales])
        last = scale == scales - 1
        step = max(1, torch.get_num_threads() * _CELLS // both[0, 0].numel())
        parts = zip(both.split(step, dim=1), ranges.split(step), strict=True)
        factor = torch.cat([_alike(*part, luminance=last, as_published=as_published) for part in parts])
        weight *= scale if last and as_published else 1
        value *= (factor if as_published else factor.clamp_min(0)) ** weight
        if not last:
            both = F.avg_pool2d(both, 2)
    return value


def _alike(both: torch.Tensor, ranges: torch.Tensor, *, luminance: bool, as_published: bool) -> torch.Tensor:
    """Mean contrast-structure term (n,) at one scale, or times luminance, of the sums and differences (2, n, H, W)."""
    mean, spread = _smooth(torch.cat([both, both.square()]), as_published).split(2)
    spread -= mean.square_()
    # With s = x + y, d = x − y: 4 cov(x, y) = var s − var d and 2 (var x + var y) = var s + var d, so that
    # (2 cov + C) / (var x + var y + C) = 1 − 2 var d / (var s + var d + 2 C). Likewise of means.
    total, apart = spread
    alike = apart.div_(total.add_(apart).add_(2 * (0.03 * ranges) ** 2)).mul_(-2).add_(1)
    if luminance:
        level, gap = mean
        alike = alike * (1 - 2 * gap / (level + gap + 2 * (0.01 * ranges) ** 2))
    return alike.mean(dim=(1, 2))


def _smooth(images: torch.Tensor, as_published: bool) -> torch.Tensor:
    """Gaussian mean (m, n, H, W) -> (m, n, H − 10, W − 10) by products with band matrices, one block at a time."""
    *lead, height, width = images.shape
    size = min(WINDOW, height, width)
    images = images.flatten(0, 1)
    across = images.new_empty(len(images), height, width - size + 1)
    rows, out = images.flatten(0, 1), across.view(-1, across.shape[2])
    for start, band in _bands(width, size, as_published, images.device):
        torch.mm(rows[:, start : start + band.shape[1]], band.T, out=out[:, start : start + len(band)])
    down = images.new_empty(len(images), height - size + 1, across.shape[2])
    for start, band in _bands(height, size, as_published, images.device):
        part = across[:, start : start + band.shape[1]]
        torch.bmm(band.expand(len(part), -1, -1), part, out=down[:, start : start + len(band)])
    return down.unflatten(0, lead)


@cache
def _bands(side: int, size: int, as_published: bool, device: torch.device) -> list[tuple[int, torch.Tensor]]:
    """First output of each block along a side, and the matrix (outputs, inputs) that slides the window there."""
    offset = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    window = torch.exp(-offset.square() / (2 * SIGMA**2))
    if as_published:
        window = window.float()  # sums to 1 only nearly, and a squared mean is far larger than a variance
    window = (window / window.sum()).double()
    bands = []
    for start in range(0, side - size + 1, _BLOCK):
        outputs = min(_BLOCK, side - size + 1 - start)
        lag = torch.arange(outputs + size - 1, device=device) - torch.arange(outputs, device=device)[:, None]
        bands.append((start, torch.where((lag >= 0) & (lag < size), window[lag.clamp(0, size - 1)], 0.0)))
    return bands
