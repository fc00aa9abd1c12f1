"""Harmonisation of grey levels between hospitals.

Histogram matching gives the radiographs of one hospital the grey levels of another at little cost (P9 of Han et al.).
"""

import math
from collections.abc import Iterator

import numpy as np

_KEYS = 256 * 2296  # levels times sums of nine levels
_AT_ONCE = 2**22  # pixels ranked at a time: beside the result little memory is needed, of however many images


def match_histogram(images, reference) -> np.ndarray:
    """`images` with the histogram of `reference` as a whole: uint8 of the shape of `images`.

    images (n, h, w) or (n, c, h, w) and reference (any shape) are uint8, arrays or unread rows of a file. All pixels of
    all images are ranked together, and each rank receives the pixel of that rank of the reference. A pixel that is
    brighter than another, in the same image or in another one, is therefore never darker afterwards. If the images have
    m times as many pixels as the reference, the histogram of the result is exactly m times that of the reference;
    otherwise no cumulative count is off by more than 1/2. Among pixels of one level, the pixel with the brighter 3 x 3
    neighbourhood has the higher rank (exact histogram specification, Coltuc et al. 2006), and then the later pixel.
    Raises ValueError for other types or shapes, and for no pixel.
    """
    given = f"{images.dtype} {tuple(images.shape)} and {reference.dtype} {tuple(reference.shape)}"
    if len(images.shape) not in (3, 4) or images.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"Histograms are matched of uint8 images (n, h, w) or (n, c, h, w), not {given}.")
    n, m = math.prod(images.shape), math.prod(reference.shape)
    if n == 0 or m == 0:
        raise ValueError("Histograms are matched of at least one pixel: the images or the reference are empty.")
    levels = sum(np.bincount(part.ravel(), minlength=256) for _, part in _blocks(reference))
    # Rank r receives the pixel of rank floor((r + 1/2) m / n) of the reference. In whole numbers, this many ranks
    # receive each level or less:
    below = np.array([max(0, -(-(2 * n * int(count) - m) // (2 * m))) for count in np.cumsum(levels)])
    counts = sum(np.bincount(_keys(part), minlength=_KEYS) for _, part in _blocks(images))
    first = np.cumsum(counts) - counts  # rank of the first pixel of each key
    level = np.searchsorted(below, first, side="right").astype(np.uint8)
    # Of a key whose ranks receive several levels, the order of its pixels decides.
    several = np.searchsorted(below, first + np.maximum(counts, 1) - 1, side="right") > level
    matched = np.empty(images.shape, np.uint8)
    for start, part in _blocks(images):
        keys = _keys(part)
        found, at = level[keys], np.flatnonzero(several[keys])
        at = at[np.argsort(keys[at], kind="stable")]
        of, place = keys[at], np.arange(len(at))
        place -= np.searchsorted(of, of)  # among the pixels of its key in this block
        found[at] = np.searchsorted(below, first[of] + place, side="right")
        first += np.bincount(of, minlength=_KEYS)  # `level` and `several` are known; now: of the first that is left
        matched[start : start + len(part)] = found.reshape(part.shape)
    return matched


def _blocks(images) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first image and the images (k, ...), a few at a time."""
    step = max(1, _AT_ONCE // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        yield start, np.asarray(images[start : start + step])


def _keys(images: np.ndarray) -> np.ndarray:
    """What pixels are ranked by, (pixels,), from 0 to `_KEYS` - 1: their level, and then their neighbourhood."""
    return (images.astype(np.int32) * 2296 + _neighbourhood(images)).ravel()


def _neighbourhood(images: np.ndarray) -> np.ndarray:
    """The sum over 3 x 3 pixels, from 0 to 2295; pixels beyond the border repeat it."""
    padded = np.pad(images.astype(np.int32), [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
