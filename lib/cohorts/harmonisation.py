"""Histogram matching: the radiographs of one hospital with the grey levels of another (P9 of Han et al. 2019)."""

import numpy as np


def match_histogram(images, reference) -> np.ndarray:
    """`images` with the grey levels of `reference` as a whole: uint8 of the shape of `images`.

    images (n, h, w) or (n, c, h, w) and reference (any shape), uint8. All pixels of all images are ranked together,
    and rank by rank they receive the sorted pixels of the reference; so a pixel that is brighter than another, in
    the same or another image, is never darker after. Where there are m times as many pixels as in the reference, the
    result's histogram is m times that of the reference exactly; else no cumulative count is off by more than 1/2.
    Among pixels of one level the one with the brighter 3x3 neighbourhood is brighter (exact histogram specification,
    Coltuc et al. 2006), then the later one. ValueError for other types or shapes, or no pixel.
    """
    images, reference = np.asarray(images), np.asarray(reference)
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or reference.dtype != np.uint8:
        given = f"{images.dtype} {images.shape} and {reference.dtype} {reference.shape}"
        raise ValueError(f"Histograms are matched of uint8 images (n, h, w) or (n, c, h, w), not {given}.")
    n, m = images.size, reference.size
    if n == 0 or m == 0:
        raise ValueError("Histograms are matched of at least one pixel: the images or the reference are empty.")
    order = np.argsort((images.astype(np.int32) * 2296 + _neighbourhood(images)).ravel(), kind="stable")
    # Rank r receives the reference's pixel of rank floor((r + 1/2) m / n). In whole numbers, how many ranks then
    # receive each level or less:
    cumulative = np.cumsum(np.bincount(reference.ravel(), minlength=256)).astype(object)
    below = np.array([max(0, -(-(2 * n * int(count) - m) // (2 * m))) for count in cumulative])
    matched = np.empty(n, np.uint8)
    matched[order] = np.repeat(np.arange(256, dtype=np.uint8), np.diff(below, prepend=0))
    return matched.reshape(images.shape)


def _neighbourhood(images: np.ndarray) -> np.ndarray:
    """The sum over 3 x 3 pixels, the border repeated: 0..2295."""
    padded = np.pad(images.astype(np.int32), [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
