"""Claims of several runs side by side: of scales, cohorts, seeds, machines and checkouts, or of the reference."""

import collections
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lib.core.files import atomic, is_partial
from lib.core.json_objects import read_object
from lib.core.paths import root
from lib.experiment.paper import known_papers, load_paper
from lib.report.records import DAMAGE, VERDICTS, rounded, what
from lib.report.runs import find_run
from lib.report.templates import environment

_Key = tuple[str, str]  # paper, claim
_COLUMNS = ("verdict", "value", "low", "high", "n", "threshold", "revision")


@dataclass
class Comparison:
    """Claims of runs. `runs`: as they were named; `found`: of each run, claim → its record, by `_COLUMNS` and `says`.

    `order`: the (paper, claim) of all, those that paper.yaml declares here first. `problems`: a sentence for each
    record that cannot be read.
    """

    runs: list[str]
    found: dict[str, dict[_Key, dict[str, Any]]]
    order: list[_Key]
    problems: list[str] = field(default_factory=list)

    def verdicts(self, claim: _Key) -> list[str]:
        """The verdict of each run; "not run" where it has no record."""
        return [self.found[run].get(claim, {}).get("verdict", "not run") for run in self.runs]

    def differs(self, claim: _Key) -> bool:
        """Whether the runs that evaluated a claim disagree. A run that did not evaluate it says nothing."""
        return len(set(self.verdicts(claim)) - {"not run"}) > 1

    def frame(self) -> pd.DataFrame:
        """One row a claim: paper, claim, says, differs, then `_COLUMNS` of each run, after its name and a space."""
        rows = []
        for paper, claim in self.order:
            records = [self.found[run].get((paper, claim), {}) for run in self.runs]
            row = {"paper": paper, "claim": claim, "says": next((r["says"] for r in records if r), "")}
            row["differs"] = self.differs((paper, claim))
            for run, record in zip(self.runs, records, strict=True):
                row |= {f"{run} {column}": record.get(column) for column in _COLUMNS}
                row[f"{run} verdict"] = record.get("verdict", "not run")
            rows.append(row)
        of_runs = [f"{run} {column}" for run in self.runs for column in _COLUMNS]
        return pd.DataFrame(rows, columns=["paper", "claim", "says", "differs", *of_runs])

    def cells(self, claim: _Key) -> list[str]:
        """Of each run the symbol of its verdict, its value and its interval."""
        return [_cell(self.found[run].get(claim, {})) for run in self.runs]

    def summary(self) -> list[str]:
        """Sentences: what the runs rest on, how many claims differ, how many have another threshold."""
        says = []
        for run in self.runs:
            made = collections.Counter(record["revision"] for record in self.found[run].values())
            code = ", ".join(f"{revision} ({count})" for revision, count in made.most_common())
            says.append(f"{run}: {len(self.found[run])} of {len(self.order)} claims, code {code or 'none'}")
        both = [c for c in self.order if len(set(self.verdicts(c)) - {"not run"}) and "not run" not in self.verdicts(c)]
        differing = sum(map(self.differs, self.order))
        says.append(f"{len(both)} claims were evaluated by all runs; the verdicts of {differing} differ (≠).")
        if moved := [c for c in self.order if len({r[c]["threshold"] for r in self.found.values() if c in r}) > 1]:
            says.append(f"The threshold differs of {', '.join('/'.join(claim) for claim in moved)}.")
        return says + self.problems

    def text(self) -> str:
        """A table for a terminal, the summary below it."""
        rows = [["", "claim", *self.runs]]
        for claim in self.order:
            rows.append(["≠" if self.differs(claim) else "", "/".join(claim), *self.cells(claim)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        legend = " · ".join(f"{symbol} {verdict}" for verdict, (symbol, _) in VERDICTS.items())
        return "\n".join([*lines, "", legend, *self.summary()])

    def write_csv(self, path: Path) -> None:
        """Write `frame` as CSV, every digit kept. Raises OSError, naming the file, if it cannot be written."""
        with atomic(path) as partial:
            self.frame().to_csv(partial, index=False)

    def write_html(self, path: Path) -> None:
        """Write the table as one page that needs nothing besides itself. Raises OSError as `write_csv`."""
        html = environment().get_template("compare.html").render(of=self, verdicts=VERDICTS, zip=zip)
        with atomic(path) as partial:
            partial.write_text(html, encoding="utf-8")


def compare(runs: list[str]) -> Comparison:
    """The claims of `runs` (lib.report.runs says how each is named). ValueError for one that is not there."""
    runs = list(dict.fromkeys(runs))
    folders = [find_run(run) for run in runs]
    found: dict[str, dict[_Key, dict[str, Any]]] = {}
    problems: list[str] = []
    for run, of in zip(runs, folders, strict=True):
        found[run] = {}
        for path in sorted(of.records.glob("*/claims/*.json")):
            if is_partial(path):
                continue
            try:
                found[run][path.parts[-3], path.stem] = _read(path)
            except DAMAGE as error:
                problems.append(f"{path} is damaged, run its notebook again ({what(error)})")
    declared = [(name, claim) for name in known_papers() for claim in _claims_of(name)]
    there = {claim for claims in found.values() for claim in claims}
    order = [claim for claim in declared if claim in there] + sorted(there - set(declared))
    return Comparison(runs, found, order, problems)


def _claims_of(paper: str) -> list[str]:
    try:
        return list(load_paper(root() / "notebooks" / paper).claims)
    except (ValueError, OSError):  # its claims stand last, in the order of their names
        return []


def _read(path: Path) -> dict[str, Any]:
    """The record of a claim. Raises one of `DAMAGE` for another content."""
    record = read_object(path)
    _ = VERDICTS[record["verdict"]]
    value, (low, high) = record["value"], record["interval"] or (None, None)
    numbers = {"value": value, "low": low, "high": high}
    numbers = {name: None if number is None else float(number) for name, number in numbers.items()}
    texts = {name: str(record[name]) for name in ("says", "verdict", "n", "threshold", "revision")}
    read = texts | numbers
    _cell(read)
    return read


def _cell(record: dict[str, Any]) -> str:
    symbol = VERDICTS[record.get("verdict", "not run")][0]
    if record.get("value") is None:
        return symbol
    value, low, high = rounded(record["value"], record["low"], record["high"])
    return f"{symbol} {value} [{low}, {high}]"
