"""Rows of a benchmark that takes hours: written one by one, and none that is there is measured again.

rows = KeptRows("audit_null_splits_nih_600", "split")
for (split,) in rows.left([(0,), (1,)]):
    rows.add({"split": split, …})
"""

import json
from pathlib import Path

from lib.core.files import atomic
from lib.core.paths import root
from lib.core.revision import revision


class KeptRows(list):
    """The rows of data/runs/benchmarks/NAME.json, dictionaries; `key`: the columns by which one is told from others."""

    def __init__(self, name: str, *key: str):
        self._file, self._key = Path(root() / "data" / "runs" / "benchmarks" / f"{name}.json"), key
        super().__init__(json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else [])

    def left(self, wanted: list[tuple]) -> list[tuple]:
        """Those of the keys that have no row, in their order."""
        done = {tuple(row[name] for name in self._key) for row in self}
        return [key for key in wanted if key not in done]

    def add(self, row: dict) -> None:
        """Print and keep a row, with the revision that measured it."""
        self.append(row | {"revision": revision()})
        print(self[-1], flush=True)
        with atomic(self._file) as partial:
            partial.write_text(json.dumps(self, indent=1), encoding="utf-8")
