"""Harmonisation of grey levels between hospitals.

Histogram matching gives the radiographs of one hospital the grey levels of another at little cost (P9 of Han et al.).
"""

import numpy as np


def match_histogram(images, reference) -> np.ndarray:
    """`images` with the histogram of `reference` as a whole: uint8 of the shape of `images`.

    images (n, h, w) or (n, c, h, w) and reference (any shape) are uint8. All pixels of all images are ranked together,
    and each rank receives the pixel of that rank of the reference. A pixel that is brighter than another, in the same
    image or in another one, is therefore never darker afterwards. If the images have m times as many pixels as the
    reference, the histogram of the result is exactly m times that of the reference; otherwise no cumulative count is
    off by more than 1/2. Among pixels of one level, the pixel with the brighter 3 x 3 neighbourhood has the higher rank
    (exact histogram specification, Coltuc et al. 2006), and then the later pixel. Raises ValueError for other types or
    shapes, and for no pixel.
    """
    images, reference = np.asarray(images), np.asarray(reference)
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or reference.dtype != np.uint8:
        given = f"{images.dtype} {images.shape} and {reference.dtype} {reference.shape}"
        raise ValueError(f"Histograms are matched of uint8 images (n, h, w) or (n, c, h, w), not {given}.")
    n, m = images.size, reference.size
    if n == 0 or m == 0:
        raise ValueError("Histograms are matched of at least one pixel: the images or the reference are empty.")
    order = np.argsort((images.astype(np.int32) * 2296 + _neighbourhood(images)).ravel(), kind="stable")
    # Rank r receives the pixel of rank floor((r + 1/2) m / n) of the reference. In whole numbers, this many ranks
    # receive each level or less:
    cumulative = np.cumsum(np.bincount(reference.ravel(), minlength=256)).astype(object)
    below = np.array([max(0, -(-(2 * n * int(count) - m) // (2 * m))) for count in cumulative])
    matched = np.empty(n, np.uint8)
    matched[order] = np.repeat(np.arange(256, dtype=np.uint8), np.diff(below, prepend=0))
    return matched.reshape(images.shape)


def _neighbourhood(images: np.ndarray) -> np.ndarray:
    """The sum over 3 x 3 pixels, from 0 to 2295; pixels beyond the border repeat it."""
    padded = np.pad(images.astype(np.int32), [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
