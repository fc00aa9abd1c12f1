"""Anonymising without a network: blur and noise. The mean of k people's images is in `lib.anonymise.ksame`."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter


def blurred(images: ArrayLike, *, sigma: float) -> np.ndarray:
    """Grey images (n, h, w) uint8 after a Gaussian filter of `sigma` pixels; ValueError for other images."""
    return _grey_levels(gaussian_filter(_checked(images), sigma=(0, sigma, sigma), mode="nearest"))


def noisy(images: ArrayLike, *, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Grey images (n, h, w) uint8 with normal noise of SD `sigma` on [-1, 1]; ValueError for other images."""
    images = _checked(images)
    return _grey_levels(images + 127.5 * sigma * rng.standard_normal(images.shape))


def _checked(images: ArrayLike) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"The images are {images.dtype} of shape {images.shape}: give grey ones, (n, h, w) uint8.")
    return images.astype(np.float64)


def _grey_levels(images: np.ndarray) -> np.ndarray:
    return images.round().clip(0, 255).astype(np.uint8)
