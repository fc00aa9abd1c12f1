"""What a run left of each paper: its records read, what is missing or damaged named, nothing computed."""

import math
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib.core.files import is_partial
from lib.core.json_objects import read_object
from lib.core.manifest import damaged
from lib.core.paths import root
from lib.experiment.paper import Paper, known_papers, load_paper
from lib.experiment.verdict import BY_CHANCE, Effect, claimed
from lib.report.runs import RunFolders, find_run, parts_of
from lib.statistics.multiple_testing import holm

STAGES = ["train", "fidelity", "diversity", "privacy", "utility", "release"]
# Verdict → symbol and CSS class: symbol, word and colour say the same, so that none is needed alone.
VERDICTS = {
    "replicated": ("✓", "yes"),
    "contradicted": ("✗", "no"),
    "inconclusive": ("≈", "plain"),
    "not discriminating": ("≡", "alike"),
    "not testable here": ("○", "plain"),
    "pending": ("…", "plain"),
    "not run": ("–", "absent"),
}
DECIDED = ("replicated", "contradicted", "inconclusive", "not discriminating")  # from an interval and nulls
SIGNIFICANT = 0.05  # after Holm's correction
_NUMBER = re.compile(r"[−+-]?\d[\d,.]*(e[−+-]?\d+)?( ?%)?( \[.*\]| ± .*)?")
_WIDE_PX, _WIDE_COLUMNS = 1400, 5  # beyond 120 mm at 300 dpi, or as many columns, a card has a row of its own
_LONG = 40  # characters of a cell
# What reading a damaged record may raise: text that is no JSON, of another shape, too deep, with too large numbers.
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError, OSError)


def read_run(run: str) -> list["Records"]:
    """The records of each known paper, of the run that `run` names (lib.report.runs). ValueError if it is not there.

    The run is one of this checkout, whose notebooks/ says what was to be made.
    """
    folders = find_run(run)
    if folders.checkout != root():
        raise ValueError(f"{folders} lies in another checkout: run this command there")
    return [Records(name, folders) for name in known_papers()]


class Records:
    """What a run left of the paper `name`.

    `paper`: its paper.yaml, or None. `problems`: a sentence for each piece that cannot be used. `made`: the (revision,
    time) of each that can. `arithmetic`: what figures and tables were computed in. `content`: all of it as the page
    shows it: title, cite, source, items, claims, deviations, notebooks; lists of dictionaries, empty where the paper
    has no such cohort or scale.
    """

    def __init__(self, name: str, folders: RunFolders):
        self.name, self.folders, self.page = name, folders, folders.page
        self.scale, self.cohort, _ = parts_of(folders.tag)
        self.problems: list[str] = []
        self.made: list[tuple[str, float]] = []
        self.arithmetic: set[str] = set()
        self.paper: Paper | None = None
        self.content = self._read_all()

    def _read_all(self) -> dict:
        content: dict[str, Any] = {"name": self.name, "title": self.name, "cite": "", "source": "", "closing": False}
        content |= {"items": [], "claims": [], "deviations": [], "notebooks": [], "problems": self.problems}
        try:
            paper = self.paper = load_paper(root() / "notebooks" / self.name)
        except DAMAGE as error:
            self.problems.append(str(error).replace(f"{root()}/", ""))
            return content
        source = paper.source(self.cohort, self.scale) if self.scale in paper.scales else None
        content |= {"title": paper.title, "cite": paper.cite, "source": source}
        content["closing"] = paper.closing
        if content["source"]:
            self._settings = paper.settings_digest(self.scale, self.cohort)
            # A notebook that declares no result, as a release, leaves nothing that is committed.
            shown = [name for name in paper.notebooks if paper.declares(name) or not self.folders.reference]
            notebooks = {name: self._notebook(name) for name in shown}
            here = {name: item for name, item in paper.items.items() if self.cohort in item.cohorts}
            content["notebooks"] = list(notebooks.values())
            content["items"] = [self._item(name, i, notebooks[i.notebook]) for name, i in here.items()]
            content["claims"] = [self._claim(name, c, notebooks[c.notebook]) for name, c in paper.claims.items()]
            _correct([claim for claim in content["claims"] if claim["kind"] == "paper"])
            for entry in (*content["items"], *content["claims"]):
                entry["deviations"] = _ranges(paper.deviations_on(entry["name"]))
            content["deviations"] = paper.deviations
            self._undeclared(self.page / self.name, paper.items)
            self._undeclared(self.folders.claims(self.name), paper.claims)
        return content

    def _notebook(self, name: str) -> dict:
        done, copies = self.folders.done(self.name, name), self.folders.executed(self.name)
        failed = copies / f"{name}.failed.ipynb"
        has_failed = failed.exists() and not (done.exists() and done.stat().st_mtime > failed.stat().st_mtime)
        executed = failed if has_failed else copies / f"{name}.ipynb"
        notebook = {"name": name, "stage": _stage(name), "executed": executed, "link": self._link(executed)}
        notebook |= dict.fromkeys(("time", "memory", "finished", "revision", "error", "stale"), "")
        notebook |= {"seconds": 0.0, "megabytes": 0.0, "status": "not run"}
        if has_failed:
            return notebook | {"status": "failed", "error": _error(failed)}

        def read(record: dict) -> dict:
            found = dict(damaged(record.get("files", {}), self.folders.checkout))
            self.problems += [f"{damage}: run its notebook again" for damage in found.values()]
            if executed.is_relative_to(self.folders.checkout):
                if executed.relative_to(self.folders.checkout).as_posix() in found:
                    notebook.update(executed=executed.parent, link="")  # whose it is nobody knows
            seconds, memory = float(record["seconds"]), float(record["peak_memory_mb"])
            times = {"seconds": seconds, "time": duration(seconds), "megabytes": memory, "memory": f"{memory:,.0f} MB"}
            return times | {"status": "done", "finished": moment(str(record["finished_at"]))}

        return notebook | (self._read(done, read) or ({"status": "record damaged"} if done.exists() else {}))

    def _item(self, name: str, item, notebook: dict) -> dict:
        products = self.page / self.name
        card = {"name": name, "shows": item.shows, "published": _published(item.published), "source": item.source}
        card |= {"notebook": notebook, "kind": "missing", "wide": False, "revision": "", "stale": "", "n": ""}
        card |= {"given": item.published}

        def read(record: dict) -> dict:
            if record["kind"] == "figure":
                width, height = _png_size(products / f"{name}.png")
                shown = {"width": width, "height": height, "wide": width > _WIDE_PX, "png": f"{name}.png"}
            else:
                table = _table(record["rows"]["columns"], record["rows"]["data"])
                shown = {"table": table, "wide": len(table["columns"]) > _WIDE_COLUMNS}
            suffixes = {"figure": ("png", "pdf"), "table": ("csv", "tex")}[record["kind"]]
            files = {suffix: self._link(products / f"{name}.{suffix}") for suffix in suffixes}
            # PDFs are not committed: the reference has none.
            wanted = [suffix for suffix in suffixes if suffix != "pdf" or not self.folders.reference]
            self.problems += [f"{name}.{suffix} is missing" for suffix in wanted if not files[suffix]]
            return shown | {"kind": record["kind"], "n": str(record["n"]), "files": files}

        return card | (self._read(products / f"{name}.json", read) or {})

    def _claim(self, name: str, claim, notebook: dict) -> dict:
        row = {"name": name, "kind": claim.kind, "says": claim.says, "place": claim.place, "quantity": claim.value}
        row |= {"claimed": as_text(claim.claimed), "given": claim.published, "p": None, "p_holm": None, "null": ""}
        row |= {"effect": isinstance(claimed(claim.claimed), Effect), "survives": "", "ratio": (), "of_published": ""}
        row |= {"notebook": notebook, "published": as_text(claim.published), "verdict": "not run", "revision": ""}
        row |= {"ours": "", "interval": "", "n": "", "why": f"made by {notebook['name']}", "stale": ""}
        row |= {"value": None, "low": None, "high": None, "within": "", "study": ""}

        def read(record: dict) -> dict:
            _ = VERDICTS[record["verdict"]]
            evaluated = {"verdict": record["verdict"], "why": record.get("why", "")}
            if record["value"] is not None:
                ends = [float(end) for end in record["interval"] or ()]
                ours, *limits = rounded(float(record["value"]), *ends)
                evaluated |= {"ours": ours, "interval": f"[{', '.join(limits)}]" if limits else ""}
                evaluated |= {"value": float(record["value"]), "n": str(record["n"])}
                evaluated |= dict(zip(("low", "high"), ends, strict=True)) if ends else {}
                evaluated |= _of_published(claim.published, float(record["value"]), *ends)
            if record.get("p") is not None:
                evaluated |= {"p": float(record["p"]), "null": str(record.get("null", ""))}
                if not 0 <= evaluated["p"] <= 1:
                    raise ValueError(f"p is {evaluated['p']}: it lies from 0 to 1")
            if isinstance(claim.published, int | float) and record.get("prediction"):
                low, high = map(float, record["prediction"])
                evaluated["within"] = "yes" if low <= claim.published <= high else "no"
            if self.scale == "demo" and evaluated.get("value") is not None:
                evaluated["study"] = self._study(name, claim, evaluated["value"])
            if record["claimed"] != claim.claimed:
                was = as_text(record["claimed"])
                evaluated["why"] += f" Evaluated for the claim {was}, before paper.yaml changed."
            return evaluated

        path = self.folders.claims(self.name) / f"{name}.json"
        damaged = {"why": "its record is damaged"} if path.exists() else {}
        return row | (self._read(path, read) or damaged)

    def _study(self, name: str, claim, value: float) -> str:
        """What the committed study of this cohort found, and whether it foresees `value`; empty if there is none."""
        from lib.statistics.repetitions import prediction_interval  # its libraries take seconds that few pages need

        committed = RunFolders(f"study-{self.cohort}", reference=True, checkout=self.folders.checkout)
        path = committed.claims(self.name) / f"{name}.json"
        if not path.exists():
            return ""
        try:
            record = read_object(path)
            # The demo is the first repetition of the study, which may not foresee itself.
            low, high = prediction_interval(record["repetitions"][1:])
            says = f"the study: {record['verdict']}; this value lies {'inside' if low <= value <= high else 'outside'} "
            is_of_this = record["claimed"] == claim.claimed
        except DAMAGE as error:
            self.problems.append(f"{path.relative_to(root())} is damaged ({what(error)})")
            return ""
        return f"{says}its 95 % prediction interval" if is_of_this else ""

    def _read(self, path: Path, read) -> dict | None:
        """`read` of the record at `path`, and its revision; None if it is absent or damaged, which is a problem."""
        try:
            record = read_object(path)
            content = read(record) | {"revision": str(record["revision"])}
            if record.get("settings_sha256", self._settings) != self._settings:
                content["stale"] = "made with other settings than paper.yaml has now"
        except DAMAGE as error:
            if path.exists():
                self.problems.append(f"{path.relative_to(root())} is damaged, run its notebook again ({what(error)})")
            return None
        self.made.append((content["revision"], path.stat().st_mtime))
        if given := record.get("arithmetic"):
            self.arithmetic.add(str(given))
        return content

    def _undeclared(self, folder: Path, declared: dict) -> None:
        records = (path for path in sorted(folder.glob("*.json")) if not is_partial(path))
        left = [path for path in records if path.stem not in declared]
        self.problems += [f"{path.relative_to(root())} is left over: paper.yaml does not declare it" for path in left]

    def _link(self, path: Path) -> str:
        return quote(os.path.relpath(path, self.page)) if path.exists() else ""


def by_chance(claims: list[dict]) -> float:
    """How many of these claims would be replicated were there no effect: of those of an effect with a verdict."""
    return BY_CHANCE * sum(claim["effect"] and claim["verdict"] in DECIDED for claim in claims)


def chance(expected: float) -> str:
    """The sentence that says `by_chance`; empty where no claim of an effect has a verdict."""
    effects = round(expected / BY_CHANCE)
    by_luck = f"{expected:.2g} would be replicated by chance"
    said = f"Of the {effects} effects with a verdict at most {by_luck}, were there none."
    return said if effects else ""


def what(error: Exception) -> str:
    """What is wrong with a damaged record, from what reading it raised (one of `DAMAGE`)."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _correct(family: list[dict]) -> None:
    """Holm's correction over all claims that a paper states, and whether a verdict survives it.

    A claim without a p value counts with 1: that others dropped out makes the correction no easier.
    """
    corrected = holm({claim["name"]: 1.0 if claim["p"] is None else claim["p"] for claim in family})
    for claim in (claim for claim in family if claim["p"] is not None):
        claim["p_holm"] = corrected[claim["name"]]
        if claim["verdict"] in ("replicated", "contradicted"):
            claim["survives"] = "yes" if claim["p_holm"] < SIGNIFICANT else "no"


def _of_published(published, value: float, *ends: float) -> dict:
    """Ours over the published value, with its interval where there is one; nothing unless that is a number but 0."""
    if not isinstance(published, int | float) or not published:
        return {}
    ratio, *limits = value / published, *sorted(end / published for end in ends)
    shown, *shown_limits = rounded(ratio, *limits)
    interval = f" [{', '.join(shown_limits)}]" if limits else ""
    return {"ratio": (ratio, *limits), "of_published": f"{shown}{interval} of the published"}


def _error(failed: Path) -> str:
    """The error that stopped an executed notebook."""
    try:
        cells = read_object(failed)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", ())]
        errors = [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]
    except DAMAGE as error:
        return f"{failed.name} cannot be read ({what(error)})"
    return errors[-1] if errors else "stopped without an error in a cell"


def _stage(notebook: str) -> str:
    """The stage in a notebook's name ("04_privacy_density" → privacy), or other."""
    return next((word for word in notebook.split("_")[1:2] if word in STAGES), "other")


def _png_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path.name} is not a PNG")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _table(columns: list, rows: list) -> dict:
    """Cells as text. Of each column, `numbers`: it holds numbers, which stand right; `long`: sentences, with room."""
    rows = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError("rows of unequal length")
    filled = [[row[i] for row in rows if row[i]] for i in range(len(columns))]
    numbers = [bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells) for cells in filled]
    long = [any(len(cell) > _LONG for cell in cells) and not n for cells, n in zip(filled, numbers, strict=True)]
    return {"columns": [str(column) for column in columns], "rows": rows, "numbers": numbers, "long": long}


def _published(value) -> dict | None:
    """Published values as a table: a mapping of mappings has their keys as columns, anything else no heading."""
    if not isinstance(value, dict):
        return None if value is None else _table([""], [[as_text(value)]])
    rows = {key: cells if isinstance(cells, dict) else {"": cells} for key, cells in value.items()}
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    return _table(["", *columns], [[key, *(as_text(cells.get(c)) for c in columns)] for key, cells in rows.items()])


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 5 as "1–3, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}–{b}" for a, b in runs)


def as_text(value) -> str:
    """A value of paper.yaml in words, with true minus signs; None is empty, or – among others in a list."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {as_text(v)}" for key, v in value.items())
    if isinstance(value, list):
        return ", ".join("–" if v is None else as_text(v) for v in value)
    return "" if value is None else re.sub(r"(?<!\w)-(?=\d)", "−", str(value)).replace(">=", "≥").replace("<=", "≤")


def rounded(*values: float) -> list[str]:
    """Numbers with the same decimals: three, more where all are below 0.01, none from 1,000; 2.9e−15 below 0.0001."""
    largest = max(map(abs, values))
    if 0 < largest < 1e-4:
        return [f"{value:.1e}".replace("-", "−") if value else "0" for value in values]
    places = 0 if largest >= 1000 else 3 if largest >= 0.01 or not largest else 1 - math.floor(math.log10(largest))
    return [f"{value:,.{places}f}".replace("-", "−") for value in values]


def duration(seconds: float) -> str:
    """A time as a reader says it: 7.3 s, 3 min 12 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min {round(seconds) % 60:02d} s"


def moment(iso: str) -> str:
    """A moment as a reader here writes it; what is no ISO 8601 stays as it is."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%-d %B %Y, %H:%M %Z}"
    except ValueError:
        return iso
