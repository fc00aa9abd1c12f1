"""Altered copies: what a generator, or somebody who hides a copy, does to an image that is repeated.

An audit injects them to learn which copies it would see. Images are square and of the working size; a shift or a blur
is given as a share of their side, so that it means the same at every size.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

_NOISE = 5.0  # grey levels
_AT_ONCE = 2**22  # pixels that noise is drawn for
_CONTRAST = (0.75, 1.25)


def altered(images: ArrayLike, kind: str, *, rng: np.random.Generator) -> np.ndarray:
    """Copies of uint8 `images` (n, H, W) in the disguise `kind`, one of `KINDS`: uint8 of the same shape.

    "exact": as they are. "mirrored": left to right, top to bottom, or both. "contrast": exponent 0.7 to 1.4, contrast
    0.75 to 1.25, any brightness that saturates nothing. "noisy": Gaussian noise of 5 grey levels. "disguised": all of
    these together, some not mirrored. "blurred": Gaussian of 3 % of the side. "shifted 3 %", "shifted 6 %": to any
    side, the edge repeated. "turned 5°": clockwise or not. "enlarged 10 %": about the centre.
    Raises ValueError for another kind, dtype or shape.
    """
    images = np.asarray(images)
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if images.ndim != 3 or images.dtype != np.uint8 or len(images) == 0:
        raise ValueError(f"images are {images.dtype} of shape {images.shape}: give uint8 (n, H, W)")
    changed = KINDS[kind](images.astype(np.float32), rng)
    changed = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    flat = changed.max(axis=(1, 2)) == changed.min(axis=(1, 2))  # an image that the disguise erased is no copy
    return np.where(flat[:, None, None], images, changed)


def jittered(images, *, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Copies of uint8 `images` (n, ...), or of unread rows of a file, with Gaussian noise of `sd` grey levels: uint8.

    A block at a time: the noise of 100,000 images of 256 x 256 pixels would take 52 GB. ValueError for another dtype.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}: give uint8")
    changed = np.empty(images.shape, np.uint8)
    step = max(1, _AT_ONCE // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        part = images[start : start + step]
        noise = rng.normal(0, sd, part.shape)
        noise += part
        changed[start : start + step] = np.clip(np.rint(noise, out=noise), 0, 255, out=noise)
    return changed


def _mirrored(x: np.ndarray, rng: np.random.Generator, first: int = 1) -> np.ndarray:
    way = rng.integers(first, 4, len(x))[:, None, None]
    x = np.where(way & 1, x[:, :, ::-1], x)
    return np.where(way & 2, x[:, ::-1], x)


def _contrast(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    exponent, gain, place = (
        rng.uniform(low, high, (len(x), 1, 1)) for low, high in ((np.log(0.7), np.log(1.4)), _CONTRAST, (0, 1))
    )
    y = 255 * (x / 255) ** np.exp(exponent)
    low, high = y.min(axis=(1, 2), keepdims=True), y.max(axis=(1, 2), keepdims=True)
    span = np.minimum(gain * (high - low), 255)
    return place * (255 - span) + (y - low) * (span / np.maximum(high - low, 1e-6))


def _noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + _NOISE * rng.standard_normal(x.shape)


def _disguised(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _noisy(_contrast(_mirrored(x, rng, first=0), rng), rng)


def _blurred(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(x, (0, 0.03 * x.shape[1], 0.03 * x.shape[2]), mode="nearest")


def _shifted(share: float) -> Callable:
    def shift(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        steps = [rng.choice([-1, 1]) * share * side for side in x.shape[1:]]
        return ndimage.shift(x, (0, *steps), order=1, mode="nearest")

    return shift


def _turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(x, 5 * rng.choice([-1, 1]), axes=(1, 2), reshape=False, order=1, mode="nearest")


def _enlarged(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    middle = (np.array(x.shape[1:]) - 1) / 2
    offset = (0, *(middle - middle / 1.1))
    return ndimage.affine_transform(x, (1, 1 / 1.1, 1 / 1.1), offset, order=1, mode="nearest")


KINDS: dict[str, Callable] = {
    "exact": lambda x, rng: x,
    "mirrored": _mirrored,
    "contrast": _contrast,
    "noisy": _noisy,
    "disguised": _disguised,
    "blurred": _blurred,
    "shifted 3 %": _shifted(0.03),
    "shifted 6 %": _shifted(0.06),
    "turned 5°": _turned,
    "enlarged 10 %": _enlarged,
}
