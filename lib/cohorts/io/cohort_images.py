"""The images of a cohort, or of its file, at one working size."""

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io.image_facts import TO_LUMA
from lib.cohorts.io.resampling import fitted, side

_BLOCK, _BLOCK_BYTES = 512, 1 << 28  # of rows read at a time


def names_of(cohort: Cohort) -> np.ndarray:
    """The name of each image, (n,) str."""
    if cohort.source_name is not None:
        return np.asarray(cohort.source_name)
    return np.array([f"{cohort.name} {i}" for i in range(len(cohort))])


def read_cohort(cohort: Cohort, rows: np.ndarray, *, size: int, fit: str) -> tuple[np.ndarray, list[str]]:
    """The images `rows` of a cohort, (n, size, size) float32 from 0 to 255, and sentences that say what was done.

    Raises ValueError, naming file and image, for other channels than grey or RGB, for pixels outside the file's value
    range or within a fiftieth of it, and what `fitted` refuses.
    """
    high, wide = cohort.images.shape[-2:]
    channels = cohort.images.shape[1] if cohort.images.ndim == 4 else 1
    if channels not in (1, 3):
        raise ValueError(f"{cohort.name}: images of {channels} channels; give grey or RGB")
    splits = [name for name, code in SPLITS.items() if (cohort.split == code).any()]
    rules = [f"its sets {', '.join(splits)} taken alike: for one of them, give a file of it"] * (len(splits) > 1)
    rules += [f"{channels} channels made grey by luma"] * (channels == 3)
    names = names_of(cohort)[rows]
    low, top = cohort.value_range
    images = np.empty((len(rows), size, size), np.float32)
    step = max(1, min(_BLOCK, _BLOCK_BYTES // (4 * channels * high * wide)))
    for start in range(0, len(rows), step):
        block = np.asarray(cohort.images[rows[start : start + step]], np.float32)
        if cohort.images.ndim == 4:
            block = np.einsum("nchw,c->nhw", block, TO_LUMA if channels == 3 else np.ones(1, np.float32))
        _require_range(block, (low, top), cohort.name, names[start : start + step])
        block = (block - low) * (255 / (top - low))
        for place, image in enumerate(block, start):
            images[place] = fitted(image, size, f"{cohort.name}, image {names[place]}", fit=fit)
    darkest, brightest = images.min(), images.max()
    if cohort.images.dtype.kind == "f" and brightest - darkest < 0.02 * 255:  # too few grey levels would remain
        pixels = [low + of * (top - low) / 255 for of in (darkest, brightest)]
        raise ValueError(
            f"{cohort.name}: all pixels lie from {pixels[0]:g} to {pixels[1]:g}, and the file's value range is "
            f"{low:g} to {top:g}; set value_range to what the pixels are given in"
        )
    return images, rules


def cohort_side(cohort: Cohort, fit: str) -> int:
    """The `side` of each image of a cohort."""
    high, wide = cohort.images.shape[-2:]
    return side((high, wide), fit)


def _require_range(block: np.ndarray, limits: tuple[float, float], name: str, images: np.ndarray) -> None:
    low, top = limits
    least, most = (extreme(block, axis=(1, 2)) for extreme in (np.min, np.max))
    outside = np.flatnonzero((least < low - 1e-3 * (top - low)) | (most > top + 1e-3 * (top - low)))
    if len(outside):
        i = outside[0]
        raise ValueError(
            f"{name}, image {images[i]}: pixels from {least[i]:g} to {most[i]:g}, and the file's value range is "
            f"{low:g} to {top:g}; set value_range, or convert the images to uint8"
        )
