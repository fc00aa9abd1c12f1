"""HDF5 files opened to be read, in one place: they were received, and nothing in them is trusted.

The format can make one file read others (external storage, virtual data sets, links) and can claim terabytes in a
few bytes. Here a data set is a plain one of this file, of no more than its stored bytes can hold, or it is refused
before a pixel of it is read.

A filter makes as many bytes of a stored chunk as it likes, and HDF5 takes memory for them all before it looks at their
number. So filters are one of gzip and LZF at most, beside shuffle and Fletcher32; a chunk of up to _UNTESTED stored
bytes is left to them, for 1.1 GB is all it can become; and a larger one is inflated here first, up to its size.
"""

import contextlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np

from lib.cohorts.io.image_files import MOST_PIXELS
from lib.core.regular_files import require_regular

LARGEST_BLOCK = 1 << 29  # bytes of one row or of one chunk: 8,192 × 8,192 pixels of 8 bytes
MOST_IN_MEMORY = 1 << 32  # bytes of what is read as a whole
MOST_ROWS = 10_000_000
MOST_TIMES_STORED = 16  # above MOST_IN_MEMORY: of a large set, bytes in memory for each that is stored
_EXPANSION = 1032  # bytes out of one stored byte, at most, by deflate; other filters stay below it
_LZF_EXPANSION = 88
_UNTESTED = (1 << 20) + (1 << 12)  # stored bytes; a chunk of 1,024 × 1,024 pixels of one byte never has more
_SLACK = 1 << 12  # bytes that a chunk of noise may grow by, beside a thousandth
_LZF = 32000
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "Fletcher32",
    _LZF: "LZF",
}
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
        bytes than the stored ones can hold, rows of over LARGEST_BLOCK bytes, or over MOST_ROWS rows; and for filters
        and chunks that could take more memory than this module says.
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
            if layout.get_nfilters():
                self._require_sound_chunks(name, stored, layout)
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
        if stored.dtype.kind == "S" and stored.dtype.itemsize > 4 * _LONGEST_TEXT:  # of UTF-8
            self.refuse(f"{name} has room for texts of {stored.dtype.itemsize:,} bytes")
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

    def require_bounded(self, name: str, row: tuple[int, ...]) -> None:
        """Raise Hdf5Error if `row`, the shape of an image of the data set `name`, has more than MOST_PIXELS."""
        if len(row) > 1 and math.prod(row[-2:]) > MOST_PIXELS:
            self.refuse(f"{name} has {row[-1]:,}×{row[-2]:,} pixels an image, more than {MOST_PIXELS:,}")

    def require_share(self, name: str, rows: int) -> None:
        """Raise Hdf5Error if `rows` rows of the data set `name` are too many to be in memory at once.

        A small file may not take more than MOST_IN_MEMORY; a large one, MOST_TIMES_STORED times what it stores.
        """
        stored = self._file[name]
        size = rows * stored.dtype.itemsize * math.prod(stored.shape[1:])
        if size > MOST_IN_MEMORY and size > MOST_TIMES_STORED * (held := stored.id.get_storage_size()):
            self.refuse(
                f"{name} takes {size:,} bytes of memory and stores {held:,}, "
                f"and beyond {MOST_IN_MEMORY:,} bytes {MOST_TIMES_STORED} times what is stored is read"
            )

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

    def _require_sound_chunks(self, name: str, stored: h5py.Dataset, layout: h5py.h5p.PropDCID) -> None:
        codes = [layout.get_filter(place)[0] for place in range(layout.get_nfilters())]
        known = [_FILTERS.get(code, f"filter {code}") for code in codes]
        is_compressed = h5py.h5z.FILTER_DEFLATE in codes, _LZF in codes
        if set(codes) - _FILTERS.keys() or len(set(codes)) < len(codes) or all(is_compressed):
            self.refuse(f"{name} is stored by {', '.join(known)}, and one of gzip and LZF is read")
        if not any(is_compressed):
            return
        claimed = stored.dtype.itemsize * math.prod(stored.chunks)
        large = []

        def look(chunk: h5py.h5d.StoreInfo) -> bool | None:
            if chunk.size > _UNTESTED:
                large.append(chunk)
            return True if chunk.size > claimed + claimed // 1000 + _SLACK else None  # ends the look

        if stored.id.chunk_iter(look):
            self.refuse(f"{name} stores more bytes in a chunk than the {claimed:,} it has")
        if _LZF in codes and any(chunk.size * _LZF_EXPANSION > _UNTESTED * _EXPANSION for chunk in large):
            self.refuse(f"{name} has LZF chunks of over {_UNTESTED * _EXPANSION // _LZF_EXPANSION:,} stored bytes")
        for chunk in large if _LZF not in codes else ():
            mask, content = stored.id.read_direct_chunk(chunk.chunk_offset)
            is_deflated = not mask >> codes.index(h5py.h5z.FILTER_DEFLATE) & 1
            if is_deflated and _inflates_beyond(content, claimed + _SLACK):
                self.refuse(f"{name} has a chunk that inflates to more than its {claimed:,} bytes")

    def _require_room(self, name: str, size: int) -> None:
        if size > MOST_IN_MEMORY:
            self.refuse(f"{name} takes {size:,} bytes of memory, and {MOST_IN_MEMORY:,} at most are read")


def _inflates_beyond(content: bytes, most: int) -> bool:
    try:
        return len(zlib.decompressobj().decompress(content, most + 1)) > most
    except zlib.error:  # HDF5 comes no further, and says so where the chunk is read
        return False


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
