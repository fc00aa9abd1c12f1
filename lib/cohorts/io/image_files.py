"""Grey pixels of PNG and JPEG files, exactly as stored or reduced to a common size, many files at a time."""

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from lib.core.regular_files import refuse_unreadable, require_regular

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
MOST_PIXELS = 1 << 26  # of one image, as 8,192 × 8,192; decoded, it takes up to 0.6 GB
_COLOUR = ("L", "LA", "RGB", "RGBA", "P")


def read_exact(path: Path, size: int) -> np.ndarray:
    """The pixels of an 8-bit grey PNG of `size` × `size`: (size, size) uint8.

    Raises ValueError that names the file if it is damaged, of another size, in colour or deeper than 8 bits.
    """

    def check(image):
        if image.mode != "L":
            raise ValueError(f"{path}: mode {image.mode} where 8-bit grey (L) is expected; fetch the file again")
        if image.size != (size, size):
            problem = f"{image.width}×{image.height} pixels where {size}×{size} are expected"
            raise ValueError(f"{path}: {problem}; fetch the file again")

    return _decode(path, check, lambda image: image)


def read_reduced(path: Path, size: int) -> np.ndarray:
    """The pixels of a square PNG, box-averaged to `size` × `size`: (size, size) uint8.

    Colour becomes grey by ITU-R 601 luma; a grey radiograph stored as RGB keeps its values exactly, as the weights sum
    to one. Transparency is dropped and not blended, for radiographs are opaque. The average is taken along rows and
    rounded, then along columns and rounded, which is within one grey level of the mean of the block.
    Raises ValueError that names the file if it is damaged, deeper than 8 bits, or not a whole multiple of
    `size` on each side.
    """

    def check(image):
        if image.mode not in _COLOUR:
            raise ValueError(f"{path}: mode {image.mode} is not 8-bit grey or colour; convert the file")
        if image.width != image.height or image.width % size:
            problem = f"{image.width}×{image.height} pixels cannot be box-averaged to {size}×{size}"
            raise ValueError(f"{path}: {problem}; give the published square radiograph")

    return _decode(path, check, lambda image: image.convert("L").resize((size, size), Image.Resampling.BOX))


def read_squeezed(path: Path, size: int) -> np.ndarray:
    """The pixels of a JPEG or PNG of any shape, squeezed to `size` × `size` and stretched to 0 … 255: uint8.

    The whole radiograph is kept, without crop or border, so its aspect ratio is lost. Each pixel is the area average of
    what it covers, colour becomes luma as in `read_reduced`, and `stretched` sets the grey levels. Raises ValueError
    that names the file if it is damaged, deeper than 8 bits, or smaller than `size` on a side.
    """

    def check(image):
        if image.mode not in _COLOUR:
            raise ValueError(f"{path}: mode {image.mode} is not 8-bit grey or colour; convert the file")
        require_larger(path, image.size, size)

    return stretched(_decode(path, check, lambda image: squeezed(image.convert("L"), size), formats=("JPEG", "PNG")))


def open_image(path: Path, formats: tuple[str, ...], *, mend: str = "fetch the file again") -> Image.Image:
    """The image file at `path`, of which only the header has been read.

    Raises ValueError, naming the file and the `mend`, if it is none of `formats` or damaged, a pipe or a device, and
    if it has more than MOST_PIXELS.
    """
    require_regular(path)
    try:
        image = Image.open(path, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own limits
        problem = f"more than {MOST_PIXELS:,} pixels; reduce the image or take it out"
        raise ValueError(f"{path}: {problem}") from error
    except UNREADABLE as error:
        refuse_unreadable(path, error)
        raise ValueError(f"{path}: not a readable {' or '.join(formats)}; {mend}") from error
    try:
        require_bounded(path, image.size)
    except ValueError:
        image.close()
        raise
    return image


def require_bounded(path: Path, shape: tuple[int, int]) -> None:
    """Raise ValueError, naming the file, for a width and height of more than MOST_PIXELS together."""
    if shape[0] * shape[1] > MOST_PIXELS:
        raise ValueError(
            f"{path}: {shape[0]:,}×{shape[1]:,} pixels, more than {MOST_PIXELS:,}; reduce the image or take it out"
        )


def require_larger(path: Path, shape: tuple[int, int], size: int) -> None:
    """Raise ValueError, naming the file, unless both sides of `shape` reach `size`."""
    if min(shape) < size:
        raise ValueError(
            f"{path}: {shape[0]}×{shape[1]} pixels are fewer than {size}×{size}; give the published radiograph"
        )


def squeezed(image: Image.Image, size: int) -> Image.Image:
    """`image` at `size` × `size`, each pixel the area average of what it covers."""
    return image.resize((size, size), Image.Resampling.BOX)


def stretched(radiograph: np.ndarray) -> np.ndarray:
    """A radiograph with its darkest pixel at 0 and its brightest at 255, uint8; a constant one becomes 0."""
    low, high = int(radiograph.min()), int(radiograph.max())
    return np.rint((radiograph.astype(np.float32) - low) * (255 / max(high - low, 1))).astype(np.uint8)


def _decode(path: Path, check: Callable, convert: Callable, formats: tuple[str, ...] = ("PNG",)) -> np.ndarray:
    kind = " or ".join(formats)
    with open_image(path, formats) as image:
        check(image)  # before it is decoded
        try:
            return np.asarray(convert(image))
        except UNREADABLE as error:
            raise ValueError(f"{path}: truncated or damaged {kind}; fetch the file again") from error


class Unread:
    """Images of many files that threads decode when they are asked for: `unread[index]` is (n, size, size) uint8.

    It takes the place of an array in a Cohort, so that a set of any length is saved in bounded memory.
    """

    def __init__(self, paths: Sequence[Path], size: int, read: Callable[[Path, int], np.ndarray]):
        self.paths, self.size, self.read = list(paths), size, read
        self.shape: tuple[int, ...] = (len(self.paths), size, size)
        self.ndim, self.dtype = 3, np.dtype("uint8")
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, which) -> np.ndarray:
        index = np.arange(len(self))[which]
        if index.ndim == 0:
            return self.read(self.paths[index], self.size)
        images = np.empty((len(index), *self.shape[1:]), np.uint8)
        for row, image in enumerate(self._pool.map(lambda i: self.read(self.paths[i], self.size), index)):
            images[row] = image
        return images

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)
