"""An image of any shape at one square size, by area averages: padded, squeezed, or cut to its middle."""

import numpy as np
from PIL import Image

FITS = ("pad", "squeeze", "crop")


class TooSmallError(ValueError):
    """An image has fewer pixels than the working size."""


def side(shape: tuple[int, int], fit: str) -> int:
    """The side of an image of `shape` (H, W) that has to reach the working size: the longer one if it is padded."""
    return max(shape) if fit == "pad" else min(shape)


def fitted(image: np.ndarray, size: int, name: str, *, fit: str = "pad") -> np.ndarray:
    """`image` (H, W) as (size, size) float32, each pixel the area average of what it covers.

    fit: "pad" keeps the aspect ratio and fills the rest, half on either side, with the darkest pixel; "squeeze" does
    not keep it; "crop" takes the square in the middle.
    Raises ValueError, naming the image, for NaN and an unknown `fit`, and TooSmallError if its `side` has fewer pixels
    than `size`.
    """
    if fit not in FITS:
        raise ValueError(f"unknown fit {fit!r}: choose {', '.join(FITS)}")
    if side(image.shape, fit) < size:
        raise TooSmallError(f"{name}: {image.shape[1]}×{image.shape[0]} pixels; give {size}×{size} at least")
    image = np.ascontiguousarray(image, np.float32)
    if not np.isfinite(image).all():
        raise ValueError(f"{name}: holds NaN or infinite pixels; repair the image or take it out")
    high, wide = image.shape
    if fit == "crop" and high != wide:
        top, left, short = (high - min(high, wide)) // 2, (wide - min(high, wide)) // 2, min(high, wide)
        image = image[top : top + short, left : left + short]
    if fit != "pad" or high == wide:
        return _averaged(image, (size, size))
    shape = max(1, round(high * size / max(high, wide))), max(1, round(wide * size / max(high, wide)))
    padded = np.full((size, size), image.min(), np.float32)
    top, left = ((size - length) // 2 for length in shape)
    padded[top : top + shape[0], left : left + shape[1]] = _averaged(image, shape)
    return padded


def _averaged(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if image.shape == shape:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(shape[::-1], Image.Resampling.BOX))
