"""Rows of tables: published ones, as they are, and a user's own, as programs write them."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.core.regular_files import refuse_unreadable, require_regular


def read_rows(path: Path, columns: Sequence[str], *, expected: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the place ("file, line 3") and the texts of `columns` of each row of a CSV file, plain or gzipped.

    An absent cell is read as "". Raises ValueError, naming the file, for a missing column (`expected` says which table
    is meant), and for a file that is damaged or not text.
    """
    path = Path(path)
    require_regular(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [column for column in columns if column not in (rows.fieldnames or ())]
            if missing:
                raise ValueError(f"{path}: no column {', '.join(missing)}; give {expected}")
            for row in rows:
                yield f"{path}, line {rows.line_num}", tuple(row[column] or "" for column in columns)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        refuse_unreadable(path, error)
        raise ValueError(f"{path}: not a readable table ({error}); fetch it again") from error


def read_own_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The texts of `columns`, named in any case, of each row of a user's own table; nothing is taken for a number.

    Commas, semicolons and tabs separate, whichever the first line has with these columns. UTF-8, or UTF-16 with its
    mark. An absent cell is "". Raises ValueError, naming the file, if it may not be read, is no text of these, lacks a
    column or has no rows.
    """
    heads, rows = _own_table(path, columns)
    places = [heads.index(column.lower()) for column in columns]
    return [tuple(row[place] if place < len(row) else "" for place in places) for row in rows]


def own_columns(path: Path, columns: Sequence[str]) -> list[str]:
    """The names of the columns beside `columns` of a user's own table, in its order, in lower case. Errors as above."""
    heads, _ = _own_table(path, columns)
    return [head for head in heads if head and head not in columns]


def _own_table(path: Path, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The headings, in lower case, and the rows."""
    if not path.exists():
        raise ValueError(f"{path}: no such table; give a CSV with the columns {', '.join(columns)}")
    require_regular(path)
    asked = {column.lower() for column in columns}
    try:
        text = _decoded(path.read_bytes())
        if text.lower().startswith("sep="):  # a line for a spreadsheet
            text = text.partition("\n")[2]
        found = list[str]()
        for separator in ",;\t":
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            heads = [head.strip().lower() for head in next(lines, [])]
            if asked <= set(heads) and (rows := [row for row in lines if any(row)]):
                return heads, rows
            found = max(found, heads, key=len)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        refuse_unreadable(path, error)
        raise ValueError(
            f"{path}: not a readable table ({error}); give a CSV in UTF-8 with the columns {', '.join(columns)}"
        ) from error
    lacks = ", ".join(column for column in columns if column.lower() not in found)
    raise ValueError(
        f"{path}: no column {lacks}; its first line names {', '.join(filter(None, found)) or 'none'}: rename or add"
        if lacks
        else f"{path}: no rows below its first line; add one for each file"
    )


def _decoded(data: bytes) -> str:
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")
