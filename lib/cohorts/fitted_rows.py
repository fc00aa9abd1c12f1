"""Images in another form than their file has, made when they are asked for: bytes, grey, of another size."""

from collections.abc import Sequence

import numpy as np

from lib.cohorts.io.resampling import fitted

_BYTES = (0.0, 255.0)


class FittedRows:
    """The rows of `images`, an array or unread `Rows`, as uint8; `rows[index]` is a NumPy array.

    images: (n, h, w) or (n, c, h, w). value_range: that of their pixels, which becomes 0 to 255; uint8 stays as it is.
    size: pixels a side, which each image is averaged to; None, as they are. grey: only the first channel is taken.
    """

    def __init__(self, images, *, value_range: Sequence[float], size: int | None = None, grey: bool = False):
        self._images, self._range, self._size, self._grey = images, tuple(value_range), size, grey
        shape = (images.shape[0], *images.shape[2:]) if grey else tuple(images.shape)
        self.shape: tuple[int, ...] = shape if size is None else (*shape[:-2], size, size)
        self.ndim, self.dtype, self.value_range = len(self.shape), np.dtype("uint8"), _BYTES

    def __len__(self) -> int:
        return self.shape[0]

    def as_grey(self) -> "FittedRows":
        """The first channel of each."""
        return FittedRows(self._images, value_range=self._range, size=self._size, grey=True)

    def fitted(self, size: int) -> "FittedRows":
        """The same images, averaged to `size` × `size` pixels when they are read."""
        return FittedRows(self._images, value_range=self._range, size=size, grey=self._grey)

    def select(self, which) -> "FittedRows":
        """A selection of these rows, in the order of `which`, still unread."""
        images = self._images.select(which) if hasattr(self._images, "select") else self._images[which]
        return FittedRows(images, value_range=self._range, size=self._size, grey=self._grey)

    def __getitem__(self, which) -> np.ndarray:
        images = np.asarray(self._images[which])
        images = images[None] if (one := images.ndim < len(self._images.shape)) else images
        images = images[:, 0] if self._grey else images
        if self._size is not None and images.shape[-2:] != (self._size, self._size):
            flat = images.reshape(-1, *images.shape[-2:])
            flat = np.stack([fitted(image, self._size, f"image {row}") for row, image in enumerate(flat)])
            images = flat.reshape(*images.shape[:-2], self._size, self._size)
        images = self._as_bytes(images)
        return images[0] if one else images

    def _as_bytes(self, images: np.ndarray) -> np.ndarray:
        if images.dtype == np.uint8 and self._range == _BYTES:
            return images
        low, high = self._range
        return np.rint((images.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)
