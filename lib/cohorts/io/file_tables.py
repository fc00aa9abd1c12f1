"""A user's own table that tells something of each image file, such as its patient, however its paths are written."""

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lib.cohorts.io.label_tables import read_own_rows

_NO_NAME = ("", "nan", "none", "null", "<na>", "nat")  # as programs write a missing value
LONGEST_NAME = 1024  # characters; NumPy gives every name as much room as the longest
_DEEPEST = 64  # folders above a file that its row may name


def is_name(text: str) -> bool:
    """Whether `text` names anybody."""
    return text.strip().lower() not in _NO_NAME


class FileTable:
    """The rows of a CSV table with the columns file and `columns`, in any case and order; ";" and tabs also separate.

    A row names the files whose path ends as it says; where several rows do, that with more of the path, and rows that
    hold all of a file's path within the folder have to agree. Backslashes are slashes, and letters with accents are
    equal however they are composed. A row of a longer path than the file has now, as of another computer, names it by
    the folder and what is within.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, tuple(columns)
        self._rows: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        self._ends: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for file, *cells in read_own_rows(path, ("file", *columns)):
            parts = self._parts(file)
            self._rows.setdefault(parts, set()).add(tuple(cells))
            for start in range(max(1, len(parts) - _DEEPEST), len(parts) - 1):
                self._ends.setdefault(parts[start:], set()).add(tuple(cells))

    def _parts(self, file: str) -> tuple[str, ...]:
        text = unicodedata.normalize("NFC", file.strip().replace("\\", "/"))
        if text.startswith("../"):  # from the table's folder
            text = os.path.normpath(self.path.absolute().parent.as_posix() + "/" + text)
        return tuple(part for part in text.split("/") if part not in ("", "."))

    def rows(
        self, names: Sequence[str], folder: Path, *, may_lack: Callable[[int], bool] = lambda row: False
    ) -> list[tuple[str, ...]]:
        """The cells of `columns` for each file of `names`, which are paths within `folder` with "/".

        A file without a row may have none, an empty tuple, if `may_lack` says so of its number.
        Raises ValueError, naming table and file, for a file without a row, for rows that disagree, and for a row
        without folders that would name two files.
        """
        found, short = list[tuple[str, ...]](), dict[tuple[str, ...], str]()
        for row, (name, (parts, within)) in enumerate(zip(names, self._paths(names, folder), strict=True)):
            whole = f"{folder.name}/{name}"
            named, key = self._of(parts, within)
            if len(named) > 1:
                column, values = next(
                    (column, sorted(set(values)))
                    for column, *values in zip(self.columns, *named, strict=True)
                    if len(set(values)) > 1
                )
                raise ValueError(
                    f"{self.path}: {whole} has {column}s {', '.join(map(repr, values))}; leave one, or give each "
                    "path with its folders"
                )
            if not named:
                if not may_lack(row):
                    raise ValueError(f"{self.path}: no {self.columns[0]} for {whole}; add its row")
                found.append(())
                continue
            if len(key) < within and short.setdefault(key, whole) != whole:
                raise ValueError(
                    f"{self.path}: {'/'.join(key)} is {short[key]} as well as {whole}; give the path with its folders"
                )
            found += named
        return found

    def unmatched(self, names: Sequence[str], folder: Path) -> int:
        """How many paths of the table name none of the files `names`, which are as in `rows`."""
        named, longer = set[tuple[str, ...]](), set[tuple[str, ...]]()
        for parts, within in self._paths(names, folder):
            ends = _ends(parts)
            named.update(ends)
            longer.update(end for end in ends if len(end) > within)
        return sum(row not in named and longer.isdisjoint(_ends(row)) for row in self._rows)

    def _paths(self, names: Sequence[str], folder: Path) -> Iterator[tuple[tuple[str, ...], int]]:
        """The parts of each file's whole path, and how many of them lie within `folder`."""
        above = tuple(unicodedata.normalize("NFC", part) for part in folder.absolute().parts[1:])
        for name in names:
            within = tuple(unicodedata.normalize("NFC", name).split("/"))
            yield above + within, len(within)

    def _of(self, parts: tuple[str, ...], within: int) -> tuple[set[tuple[str, ...]], tuple[str, ...]]:
        """The cells that the table gives a file of this path, and the end of the path by which it does."""
        ends = _ends(parts)
        holding = [end for end in ends if len(end) >= within]
        if rows := [end for end in holding if end in self._rows]:
            return set().union(*(self._rows[end] for end in rows)), rows[0]
        for end in holding[:-1]:
            if end in self._ends:
                return self._ends[end], end
        for end in ends[len(holding) :]:
            if end in self._rows:
                return self._rows[end], end
        return set(), parts


def _ends(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The ends of a path, the longest first."""
    return [parts[start:] for start in range(max(0, len(parts) - _DEEPEST), len(parts))]


class PatientTable:
    """The column patient of a `FileTable`."""

    def __init__(self, path: Path):
        self._table = FileTable(path, ("patient",))

    def patients(
        self, names: Sequence[str], folder: Path, *, may_lack: Callable[[int], bool] = lambda row: False
    ) -> np.ndarray:
        """The patient of each file, (n,) str, "" where it `may_lack` one; arguments and errors as `FileTable.rows`.

        Raises ValueError also for a missing or overlong name.
        """
        found, path = list[str](), self._table.path
        for name, cells in zip(names, self._table.rows(names, folder, may_lack=may_lack), strict=True):
            patient, whole = "".join(cells), f"{folder.name}/{name}"
            if cells and not is_name(patient):
                raise ValueError(f"{path}: no patient for {whole}; add its row")
            if len(patient) > LONGEST_NAME:
                raise ValueError(
                    f"{path}: a patient of {len(patient):,} characters for {whole}; give {LONGEST_NAME:,} at most"
                )
            found.append(patient.strip())
        return np.array(found)
