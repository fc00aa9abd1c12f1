"""Rows of a published label table."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.core.regular_files import require_regular


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
        raise ValueError(f"{path}: not a readable table ({error}); fetch it again") from error
