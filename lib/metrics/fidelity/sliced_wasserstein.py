"""Sliced Wasserstein distance between patches of images, scale by scale (Karras et al. 2018, §5)."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from lib.statistics import checks as samples

PATCH = 7  # pixels a side
COARSEST = 16  # pixels a side of the last level
_BLOCK, _CELLS = 256, 2**24  # images in a pyramid, and projections, held at a time


@torch.no_grad()
def sliced_wasserstein(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    rng: np.random.Generator,
    patches: int = 128,
    directions: int = 512,
) -> np.ndarray:
    """Distance, times 1,000, at each level of a Laplacian pyramid from full size to 16 pixels: (levels,) float64.

    `real` and `synthetic` are (N, H, W), equally many and of one size, any real dtype. Of every image and level,
    `patches` patches of 7 × 7 pixels at random places; all patches of a set and level are brought to mean 0 and SD
    1, so neither gain nor offset counts; then the mean, over random directions, of the distance between sorted
    projections. Convention of Karras et al.: 16,384 images, 128 patches, 4 × 128 directions; the mean over the levels
    is the usual summary. Two samples of one population are not at 0: offer held-out real images as a comparator.

    Raises ValueError on NaN, other shapes, images below 16 pixels or without contrast.
    """
    sets = samples.grey_images(real, "real"), samples.grey_images(synthetic, "synthetic")
    if sets[0].shape != sets[1].shape:
        raise ValueError(
            f"real has shape {tuple(sets[0].shape)}, synthetic {tuple(sets[1].shape)}: give as many, of one size"
        )
    side = min(sets[0].shape[1:])
    if side < COARSEST:
        raise ValueError(f"images have {side} pixels a side: the pyramid needs {COARSEST}")
    levels = (side // COARSEST).bit_length()
    first = _patches(sets[0], levels, patches, rng, "real")
    second = _patches(sets[1], levels, patches, rng, "synthetic")
    found = []
    for one, two in zip(first, second, strict=True):
        drawn = torch.from_numpy(rng.normal(size=(directions, one.shape[1]))).to(one)
        found.append(1000 * sliced_distance(one, two, drawn / drawn.norm(dim=1, keepdim=True)))
    return np.array(found)


def sliced_distance(first: torch.Tensor, second: torch.Tensor, directions: torch.Tensor) -> float:
    """Mean Wasserstein-1 distance of the projections of two sets (n, d) on unit `directions` (k, d).

    In one dimension the optimal transport pairs the sorted values, so n must be the same.
    """
    total = 0.0
    for part in directions.split(max(1, _CELLS // len(first))):
        one, two = ((part @ values.T).sort(dim=1).values for values in (first, second))
        total += float((one - two).abs().mean(dim=1).double().sum())
    return total / len(directions)


def laplacian_pyramid(images: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Band-passed copies of images (N, H, W), finest first, and last the (levels − 1)-fold reduced image itself.

    Burt and Adelson 1983: binomial filter of five taps, mirrored at the border; an odd size rounds up.
    """
    bands = []
    for _ in range(levels - 1):
        reduced = _blur(images)[:, ::2, ::2]
        spread = torch.zeros_like(images)
        spread[:, ::2, ::2] = 4 * reduced  # three of four pixels are 0 before the filter fills them
        bands.append(images - _blur(spread))
        images = reduced
    return [*bands, images]


def _blur(images: torch.Tensor) -> torch.Tensor:
    taps = images.new_tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(images[:, None], (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, taps[None, None, None, :]), taps[None, None, :, None])[:, 0]


def _patches(images: torch.Tensor, levels: int, patches: int, rng, name: str) -> list[torch.Tensor]:
    """Per level the normalised patches (N · patches, 49) float32."""
    taken: list[list[torch.Tensor]] = [[] for _ in range(levels)]
    for part in images.split(_BLOCK):
        for level, band in enumerate(laplacian_pyramid(part.float(), levels)):
            windows = band.unfold(1, PATCH, 1).unfold(2, PATCH, 1)
            corners = (rng.integers(0, size, (len(part), patches)) for size in windows.shape[1:3])
            row, column = (torch.from_numpy(corner).to(part.device) for corner in corners)
            image = torch.arange(len(part), device=part.device)[:, None]
            taken[level].append(windows[image, row, column].reshape(-1, PATCH**2))
    normalised = []
    for parts in taken:
        values = torch.cat(parts)
        sd, mean = torch.std_mean(values.double(), correction=0)
        if sd == 0:
            raise ValueError(f"{name} has no contrast at a level of the pyramid: give images that vary")
        normalised.append((values - mean.float()) / sd.float())
    return normalised
