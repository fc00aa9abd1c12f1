"""HDF5 files opened to be read, in one place: they were received, and nothing in them is trusted.

The format can make one file read others (external storage, virtual data sets, links) and can claim terabytes in a
few bytes. Here a data set is a plain one of this file, of no more than its stored bytes can hold, or it is refused
before a pixel of it is read.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np

from lib.core.regular_files import require_regular

LARGEST_BLOCK = 1 << 29  # bytes of one row or of one chunk: 8,192 × 8,192 pixels of 8 bytes
MOST_IN_MEMORY = 1 << 32  # bytes of what is read as a whole
MOST_ROWS = 10_000_000
_EXPANSION = 1032  # bytes out of one stored byte, at most, by deflate; other filters stay below it
_TEXTS_AT_ONCE = 32  # each text may be as long as the file
_LONGEST_TEXT = 1024
# What h5py raises for a damaged file, by where the damage is.
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


class Hdf5Error(ValueError):
    """A received HDF5 file is damaged, or has what is not read."""


class Received:
    """An open file, of whose root the data sets and texts are read by name; what is not asked for stays unread."""

    def __init__(self, file: h5py.File, path: Path, mend: str):
        self._file, self._path, self._mend = file, path, mend

    def refuse(self, why: str) -> NoReturn:
        """Raise Hdf5Error, which names the file, says `why`, and ends with the mend."""
        raise Hdf5Error(f"{self._path}: {why}; {self._mend}")

    def __contains__(self, name: str) -> bool:
        return self._file.id.links.exists(name.encode())

    def require(self, *names: str) -> None:
        """Raise Hdf5Error unless the file has all data sets `names`."""
        if missing := [name for name in names if name not in self]:
            self.refuse(f"no data set {', '.join(missing)}")

    def dataset(self, name: str, *, measured: bool = False) -> h5py.Dataset:
        """The data set `name`, unread.

        measured: its size was found sound before, and is not asked for again, which takes 10 ms of 100,000 images.
        Raises Hdf5Error if it is a soft or external link, no data set, stored in other files, virtual, or claims more
        bytes than the stored ones can hold, rows of over LARGEST_BLOCK bytes, or over MOST_ROWS rows.
        """
        self.require(name)
        if self._file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            self.refuse(f"{name} is a link, not a data set")
        stored = self._file[name]
        if not isinstance(stored, h5py.Dataset) or not stored.shape:
            self.refuse(f"{name} is no data set with rows")
        layout = stored.id.get_create_plist()
        if layout.get_external_count():
            self.refuse(f"{name} is stored in other files")
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            self.refuse(f"{name} is virtual: its rows are those of other data sets")
        if not measured:
            self._require_sound_size(name, stored)
        return stored

    def whole(self, name: str) -> np.ndarray:
        """All numbers of the data set `name`. Raises Hdf5Error as `dataset` does, and over MOST_IN_MEMORY bytes."""
        stored = self.dataset(name)
        if stored.dtype.kind not in "biuf":
            self.refuse(f"{name} holds {stored.dtype}, no numbers")
        self._require_room(name, stored.dtype.itemsize * math.prod(stored.shape))
        return stored[:]

    def texts(self, name: str) -> np.ndarray:
        """The texts of the data set `name`, (n,) str of 1,024 characters at most. Raises Hdf5Error as `whole` does."""
        stored = self.dataset(name)
        if stored.ndim != 1 or h5py.check_string_dtype(stored.dtype) is None:
            self.refuse(f"{name} is no column of texts")
        texts: list[str] = []
        longest = 1
        for start in range(0, len(stored), _TEXTS_AT_ONCE):
            part = stored.asstr("utf-8")[start : start + _TEXTS_AT_ONCE]
            longest = max(longest, *map(len, part))
            if longest > _LONGEST_TEXT:
                self.refuse(f"{name} holds a text of {longest:,} characters")
            texts += part.tolist()
        self._require_room(name, 4 * longest * len(stored))  # NumPy gives each as much room as the longest
        return np.array(texts, str)

    def attribute(self, name: str) -> str | None:
        """The text of the file's attribute `name`, None if it has none. Raises Hdf5Error for another value."""
        if name not in self._file.attrs:
            return None
        stored = self._file.attrs.get_id(name)
        if stored.shape != () or h5py.check_string_dtype(stored.dtype) is None:
            self.refuse(f"its attribute {name} is no text")
        value = self._file.attrs[name]
        return value.decode() if isinstance(value, bytes) else str(value)

    def _require_sound_size(self, name: str, stored: h5py.Dataset) -> None:
        row, chunk = (stored.dtype.itemsize * math.prod(shape) for shape in (stored.shape[1:], stored.chunks or ()))
        if stored.shape[0] > MOST_ROWS or max(row, chunk) > LARGEST_BLOCK:
            self.refuse(f"{name} of shape {stored.shape}, with chunks of {chunk:,} bytes, is too large")
        claimed, held = row * stored.shape[0], stored.id.get_storage_size()
        if claimed > _EXPANSION * held:
            self.refuse(f"{name} claims {claimed:,} bytes and stores {held:,}")

    def _require_room(self, name: str, size: int) -> None:
        if size > MOST_IN_MEMORY:
            self.refuse(f"{name} takes {size:,} bytes of memory, and {MOST_IN_MEMORY:,} at most are read")


@contextlib.contextmanager
def received(path: str | Path, *, mend: str) -> Iterator[Received]:
    """The HDF5 file at `path`, open for reading.

    Within the context, whatever h5py raises for a damaged file becomes Hdf5Error, a ValueError of one sentence that
    ends with the `mend` ("make the file again").
    """
    path = Path(path)
    require_regular(path)
    try:
        with h5py.File(path, "r") as file:
            yield Received(file, path, mend)
    except Hdf5Error:
        raise
    except _DAMAGE as error:
        raise Hdf5Error(f"{path}: truncated, damaged or not HDF5; {mend}") from error
