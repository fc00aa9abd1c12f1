"""Images whatever their margins, brightness and contrast: what copies are looked for in.

A margin of one grey level is cut away, so that padding and letterboxes do not move the rest. The image is averaged to
one size. Grey levels are replaced by their ranks, which no window, gamma or other monotone curve changes. A part of one
grey level that the rest does not lead up to, such as a hidden patch, says nothing: its weight is 0, and it is filled
smoothly. A part that is saturated, as by a window, is bounded by values that approach its own, and stays.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

SIZE = 32  # pixels a side
_MARGIN = 0.95  # of the pixels of a row of a margin lie in a part of one grey level
_LEFT = 0.4  # of a side is left at least; if less, nothing is cut away
_SEEN = 0.6  # of the pixels count at least; if less, all do: a narrow window leaves steps as a hidden patch does
_STEP = 0.6  # of how far values lie from a part's own at 3 to 4 pixels, reached at 1 to 2: it is no saturated one
_BLOCK = 512  # images that are computed with at a time


class Normalised(NamedTuple):
    """Outcome of `normalised`."""

    ranks: torch.Tensor  # (n, size, size) float32, of the pixels within their image, from -1 to 1
    weight: torch.Tensor  # (n, size, size) float32, 0 within a part that says nothing, else up to 1


def normalised(images: np.ndarray, size: int = SIZE) -> Normalised:
    """`images` uint8 (n, H, W) as this module says; ValueError for another dtype or shape."""
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"images are {images.dtype} of shape {images.shape}: give uint8 (n, H, W)")
    parts = [_normalised(images[start : start + _BLOCK], size) for start in range(0, len(images), _BLOCK)]
    return Normalised(*(torch.cat(column) for column in zip(*parts, strict=True)))


def without_margins(images: np.ndarray, size: int) -> np.ndarray:
    """`images` uint8 (n, H, W) without margins of one grey level, at `size` × `size`: uint8, for pictures."""
    vertical, horizontal = _cuts(_constant(images), size)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).float()
    return (vertical @ pixels @ horizontal.transpose(1, 2)).round().byte().numpy()


def blurred(images: torch.Tensor, sd: float) -> torch.Tensor:
    """`images` (n, H, W), Gaussian, the edge repeated; sd in pixels."""
    reach = max(1, round(3 * sd))
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sd**2))
    kernel /= kernel.sum()
    padded = F.pad(images[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def _normalised(images: np.ndarray, size: int) -> Normalised:
    constant = _constant(images)
    vertical, horizontal = _cuts(constant, size)
    across = horizontal.transpose(1, 2)
    counts = torch.from_numpy(~_silent(images, constant)).float()
    counts = torch.where(counts.mean(dim=(1, 2), keepdim=True) < _SEEN, 1.0, counts)
    weight = vertical @ counts @ across
    total = vertical @ (torch.from_numpy(np.ascontiguousarray(images)).float() * counts) @ across
    near = size / 8
    filled = blurred(total, near) / blurred(weight, near).clamp_min(1e-3)
    return Normalised(_ranks(torch.where(weight > 0.05, total / weight.clamp_min(1e-6), filled)), weight)


def _constant(images: np.ndarray) -> np.ndarray:
    """Whether a pixel equals all that surround it, (n, H, W) bool."""
    return ndimage.maximum_filter(images, (1, 3, 3)) == ndimage.minimum_filter(images, (1, 3, 3))


def _silent(images: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """The pixels (n, H, W), bool, of parts of one grey level that the values around them do not lead up to."""
    within = np.zeros((3, 3, 3), bool)
    within[1] = True
    part, count = ndimage.label(constant, within)
    if count == 0:
        return constant
    wide = ndimage.maximum_filter(part, (1, 3, 3))  # with the pixels whose surroundings alone made them no part
    own = np.zeros(count + 1)
    own[part] = images
    near, far = (_ring(images, wide, own, *reach) for reach in ((0, 2), (2, 4)))
    return ((near > _STEP * far) & (near > 0))[wide] & (wide > 0)


def _ring(images: np.ndarray, part: np.ndarray, own: np.ndarray, least: int, most: int) -> np.ndarray:
    """How far, of each part, the pixels `least` + 1 to `most` beside it lie from its own value: (parts + 1,)."""
    size = (1, 2 * most + 1, 2 * most + 1), (1, 2 * least + 1, 2 * least + 1)
    inside = ndimage.maximum_filter(part, size[1]) if least else part
    around = np.where(inside > 0, 0, ndimage.maximum_filter(part, size[0]))
    apart = np.abs(images - own[around]).ravel()
    total = np.bincount(around.ravel(), apart, len(own))
    found = total / np.maximum(np.bincount(around.ravel(), minlength=len(own)), 1)
    found[0] = 0
    return found


def _cuts(constant: np.ndarray, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices (n, size, H) and (n, size, W) that cut the margins away and average what is left to `size`."""
    varying = torch.from_numpy(~constant).float()
    high, wide = constant.shape[1:]
    return (
        _averaging(*_inside(varying.mean(dim=2)), high, size),
        _averaging(*_inside(varying.mean(dim=1)), wide, size),
    )


def _inside(varying: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last + 1 of the rows that are no margin, from the share (n, H) of each row that varies."""
    inner = varying > 1 - _MARGIN
    high = varying.shape[1]
    first = inner.float().argmax(dim=1)
    last = high - inner.flip(1).float().argmax(dim=1)
    keep = (last - first < _LEFT * high) | ~inner.any(dim=1)
    return torch.where(keep, 0, first), torch.where(keep, high, last)


def _averaging(first: torch.Tensor, last: torch.Tensor, high: int, size: int) -> torch.Tensor:
    """Matrices (n, size, high) that average pixels `first` to `last` of `high` to `size` equal parts."""
    step = (last - first)[:, None, None] / size
    start = first[:, None, None] + step * torch.arange(size)[None, :, None]
    pixel = torch.arange(high)[None, None]
    return (torch.minimum(start + step, pixel + 1) - torch.maximum(start, pixel)).clamp_min(0) / step


def _ranks(images: torch.Tensor) -> torch.Tensor:
    """Mean ranks of the pixels within their image, from -1 to 1; equal pixels have equal ranks."""
    flat = images.flatten(1).contiguous()
    ordered = flat.sort(dim=1).values.contiguous()
    below, upto = (torch.searchsorted(ordered, flat, right=right) for right in (False, True))
    return ((below + upto) / flat.shape[1] - 1).view_as(images)
