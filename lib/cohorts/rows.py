"""Images that are read when they are asked for: the rows of a file, and those of several parts, one after another."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from lib.cohorts.io import hdf5

BLOCK = 512  # rows read at a time, so that memory stays bounded
AGAIN = "make the file again"


def in_blocks(images) -> Iterator[np.ndarray]:
    """The rows of `images`, an array or unread, `BLOCK` at a time."""
    for start in range(0, len(images), BLOCK):
        yield images[start : start + BLOCK]


class Rows:
    """Rows of an HDF5 data set that are read when they are asked for: `rows[index]` is a NumPy array.

    float64 is read as float32, and a trailing colour axis moves to the front. Reading a row that holds NaN or infinity
    raises ValueError.
    """

    def __init__(self, path: Path, key: str, index: np.ndarray | None = None):
        self.path, self.key = path, key
        with hdf5.received(path, mend=AGAIN) as file:
            stored = file.dataset(key, measured=index is not None)
            shape, dtype = stored.shape, stored.dtype
            if dtype.kind not in "biuf":
                file.refuse(f"{key} holds {dtype}, no numbers")
            self._channels_last = len(shape) == 4 and shape[1] > 4 and shape[3] <= 4
            row = (shape[3], *shape[1:3]) if self._channels_last else shape[1:]
            file.require_bounded(key, row)
        self.index = np.arange(shape[0]) if index is None else index
        self.shape = (len(self.index), *row)
        self.dtype = np.dtype("float32") if dtype == np.float64 else dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.index)

    def select(self, which) -> "Rows":
        """A selection of these rows, in the order of `which`, still unread."""
        return Rows(self.path, self.key, self.index[which])

    def __getitem__(self, which) -> np.ndarray:
        index = self.index[which]
        order, inverse = np.unique(index, return_inverse=True)
        places = np.argsort(inverse, axis=None, kind="stable")  # of the smallest row, then of the next, …
        ends = np.cumsum(np.bincount(inverse.ravel(), minlength=len(order)))
        with hdf5.received(self.path, mend=AGAIN) as file:
            stored = file.dataset(self.key, measured=True)
            file.require_share(self.key, np.size(index))
            found, first = np.empty((np.size(index), *self.shape[1:]), self.dtype), 0
            try:
                for part in _blocks(order):
                    rows = _read(stored, part)
                    rows = np.moveaxis(rows, -1, 1) if self._channels_last else rows
                    at = places[ends[first - 1] if first else 0 : ends[first + len(part) - 1]]
                    found[at] = rows[inverse.ravel()[at] - first]
                    first += len(part)
            except OSError:
                file.refuse(f"damaged pixel data in {self.key}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{self.path}: {self.key} holds NaN or infinite pixels; repair or drop those rows")
        return found.reshape(*np.shape(index), *self.shape[1:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


class Pooled:
    """The images of several parts (n, ...), arrays or unread `Rows`, one after another; unread until asked for.

    `pooled[index]` is a NumPy array, and so is what NumPy makes of it, read in blocks: pooling takes no memory but
    that of the result. ValueError without parts, or for parts of other shapes or dtypes.
    """

    def __init__(self, *parts):
        kinds = {(str(part.dtype), part.shape[1:]) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"parts of {len(kinds)} kinds, {sorted(kinds)}: give images of one size and dtype")
        self.parts, self.dtype = parts, np.dtype(parts[0].dtype)
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        index = np.arange(len(self))[which]
        flat = np.ravel(index)
        found, of = np.empty((len(flat), *self.shape[1:]), self.dtype), np.digitize(flat, self._starts[1:])
        for part, (images, start) in enumerate(zip(self.parts, self._starts[:-1], strict=True)):
            places = np.flatnonzero(of == part)
            for some in np.split(places, range(BLOCK, len(places), BLOCK)):
                if len(some):
                    found[some] = images[flat[some] - start]
        return found.reshape(*np.shape(index), *self.shape[1:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def _blocks(order: np.ndarray) -> Iterator[np.ndarray]:
    """Ascending rows in groups, each within one block of the file."""
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(order // BLOCK)) + 1)


def _read(stored: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Ascending rows of one block. HDF5 reads scattered rows slowly, so the whole span is read unless they are few."""
    if len(rows) * 8 < rows[-1] - rows[0]:
        return stored[rows]
    return stored[rows[0] : rows[-1] + 1][rows - rows[0]]
