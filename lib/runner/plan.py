"""The notebooks of a run: which need which, which are finished, and which are out of date.

A notebook is finished while its done.json fits what it would be made from now: its cells, the modules of lib that it
rests on (`lib.runner.imports`), its own entries of paper.yaml, the files that the notebooks it needs have left, and
the files that it read from data/ (`lib.core.inputs`); and while the files that it left are as its record tells of
them (`lib.core.manifest`). Content decides, not times, so a fresh clone or a `touch` changes nothing; and a notebook
that was executed again and left the same files makes nothing out of date.
"""

import ast
import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lib.core.files import is_partial
from lib.core.json_objects import read_object
from lib.core.manifest import damaged, damages, describe
from lib.core.paths import own_tag, root, tag, trains_anew
from lib.experiment.paper import Paper, known_papers, load_paper
from lib.runner import imports

CODE = Path(__file__).resolve().parents[2]
_SAMPLES, _BLOCK = 64, 1 << 16  # of a file, which may have gigabytes
_RECORDS = ("running", "done", "failed")
_DAMAGED = (TypeError, KeyError, AttributeError, ValueError)  # what a record of another shape raises
_KNOWN = ("scale", "cohort", "seed")
THREADS = {
    "smoke": 1,
    "demo": 1,
    "study": 1,
    "paper": 4,
}  # of each notebook: a sum of two threads rounds otherwise than that of one


@dataclass(frozen=True)
class Notebook:
    """A notebook of a run. `declared`: its paper.yaml. `needs`: the notebooks of its paper whose files it reads.

    `own`: the key of a user's own parameters (`lib.runner.own_data`), which have a run folder of their own; empty for
    the suite's.
    """

    paper: str
    name: str
    scale: str
    cohort: str
    seed: int
    declared: Paper = field(compare=False, repr=False)
    needs: tuple["Notebook", ...] = ()
    own: str = ""

    def __str__(self) -> str:
        return f"{self.paper}/{self.name}"

    @property
    def closing(self) -> bool:
        """Whether it reads the records of all other papers, runs after them, and is out of date when one changed."""
        return self.declared.closing

    @property
    def source(self) -> Path:
        """The committed notebook, which is never written to."""
        return root() / "notebooks" / self.paper / f"{self.name}.ipynb"

    @property
    def run_folder(self) -> Path:
        """Where everything of this run lies."""
        own = own_tag(self.scale, self.own, self.seed) if self.own else ""
        return root() / "data" / "runs" / (own or tag(self.scale, self.cohort, self.seed))

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.run_folder / "log" / self.paper / f"{self.name}.log"

    def executed(self, kind: str = "") -> Path:
        """The executed copy; `kind` "failed" or "running" for a partial one."""
        return self.run_folder / "executed" / self.paper / f"{self.name}{'.' if kind else ''}{kind}.ipynb"

    def record(self, kind: str) -> Path:
        """Its `running`, `done` or `failed` record; at most one of the three exists."""
        return self.run_folder / self.paper / self.name / f"{kind}.json"

    def read(self, kind: str) -> dict:
        """The content of a record, empty if it is absent or damaged."""
        try:
            return read_object(self.record(kind))
        except (OSError, ValueError):
            return {}

    @property
    def sources(self) -> dict[str, str]:
        """What decides it, part → digest: its cells, its entries of paper.yaml, the modules of lib that it rests on.

        Of a closing notebook also the records it reads, which change while others run.
        """
        return self._sources | ({"records of other papers": self._records_digest()} if self.closing else {})

    @functools.cached_property
    def _sources(self) -> dict[str, str]:
        cells = json.loads(self.source.read_text(encoding="utf-8"))["cells"]
        # Outputs and execution counts decide nothing.
        read = [(cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]
        entries = json.dumps(self.declared.entries_of(self.name, self.scale, self.cohort), sort_keys=True)
        sources = {"its cells": _sha256(repr(read)), "its entries of paper.yaml": _sha256(entries)}
        modules = imports.closure(text for kind, text, _ in read if kind == "code")
        return sources | {module: imports.digest(module).hex() for module in modules}

    def _records_digest(self) -> str:
        """Of what the other papers declare, of the records they left, and of which notebooks ended how.

        Content alone: papers that run again and leave the same change nothing.
        """
        declared = sorted((root() / "notebooks").glob("*/paper.yaml"))
        products = sorted((root() / "figures" / self.run_folder.name).glob("*/*.json"))
        claims = sorted(self.run_folder.glob("*/claims/*.json"))
        sha = hashlib.sha256()
        whole = (path for path in declared + products + claims if not is_partial(path))
        for path in (path for path in whole if self.paper not in path.parts):
            sha.update(f"{path.relative_to(root())} ".encode() + path.read_bytes())
        ends = [path for kind in ("done", "failed") for path in self.run_folder.glob(f"*/*/{kind}.json")]
        sha.update(repr(sorted(str(path) for path in ends if self.paper not in path.parts)).encode())
        return sha.hexdigest()

    @property
    def is_current(self) -> bool:
        """Finished, from the present sources and inputs.

        What it needs may be out of date: that decides nothing until it was executed again and has left other files.
        """
        return not any(self.changes())

    def changes(self) -> Iterator[str]:
        """Why it is not current, a reason at a time; none where it is."""
        done = self.read("done")
        if not done:
            yield "failed" if self.read("failed") else "not finished"
            return
        try:
            for kind, now in (("sources", self.sources), ("needs", self.finished_needs())):
                if changed := _differing(done[kind], now):
                    yield f"changed: {', '.join(changed)}"
            if changed := _differing(done["inputs"], digests_of_inputs(done["inputs"])):
                yield f"changed: {', '.join(changed)}"
            if trains_anew() and (fetched := self._fetched()):
                yield f"not trained here: {', '.join(fetched)}"
            if absent := self.unmade():
                yield f"absent: {', '.join(absent)}"
            yield from damages(done["files"], root())
        except _DAMAGED:
            yield "its record is damaged"

    def _fetched(self) -> list[str]:
        """The folders of its trainings that came from weights/."""
        folder = self.record("done").parent
        records = sorted(folder.rglob("checkpoint.json"))
        return [file.parent.relative_to(folder).as_posix() for file in records if "stored" in read_object(file)["made"]]

    def damaged_trainings(self) -> list[Path]:
        """The folders of its trainings of which a weight file or the record is no longer as they were left."""
        found = set()
        with contextlib.suppress(*_DAMAGED):
            for name, _ in damaged(self.read("done").get("files", {}), root()):
                path = root() / name
                if path.suffix in (".safetensors", ".pt") or path.name == "checkpoint.json":
                    found.add(path.parent)
        return sorted(folder for folder in found if folder.is_dir())

    def unmade(self) -> list[str]:
        """The items and claims that paper.yaml declares for this notebook and that are not there."""
        kinds = (("png", "pdf", "json"), ("csv", "tex", "json"))
        return [
            *(name for name in self._items() if not any(set(kind) <= set(self._made(name)) for kind in kinds)),
            *(path.stem for path in self._claims() if not path.exists()),
        ]

    def _items(self) -> list[str]:
        items = self.declared.items.items()
        return [name for name, item in items if item.notebook == self.name and self.cohort in item.cohorts]

    def _made(self, item: str) -> dict[str, Path]:
        """The files of a figure or table that are there, by their suffix."""
        folder = root() / "figures" / self.run_folder.name / self.paper
        paths = {suffix: folder / f"{item}.{suffix}" for suffix in ("png", "pdf", "csv", "tex", "json")}
        return {suffix: path for suffix, path in paths.items() if path.exists()}

    def _claims(self) -> list[Path]:
        folder = self.run_folder / self.paper / "claims"
        return [folder / f"{name}.json" for name, claim in self.declared.claims.items() if claim.notebook == self.name]

    def finished_needs(self) -> dict[str, str]:
        """The digest of what each notebook that this one needs has left, by its own record; empty if not finished."""
        return {need.name: need.read("done").get("products", "") for need in self.needs}

    def manifest(self) -> dict[str, dict]:
        """Size, time and SHA-256 of every file that it left; half-written and hidden files do not count.

        These are its executed copy, figures, tables and claims, and what it hands to others.
        """
        shown = [self.executed(), *self._claims()]
        shown += [path for name in self._items() for path in self._made(name).values()]
        return describe([path for path in shown if path.exists()] + self._handed_over(), root())

    def _handed_over(self) -> list[Path]:
        folder = self.record("done").parent
        records = {self.record(kind) for kind in _RECORDS}
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [path for path in files if path not in records]


def products_digest(notebook: Notebook, files: dict[str, dict]) -> str:
    """SHA-256 of what `notebook` hands to others, of names and content, by its manifest `files`.

    How a training was made, when and how fast, is not part of it: `made` in a checkpoint.json, and curve.csv.
    """
    folder = notebook.record("done").parent.relative_to(root()).as_posix()
    handed = {
        name: _without_made(root() / name) or told["sha256"]
        for name, told in files.items()
        if name.startswith(f"{folder}/") and not name.endswith("/curve.csv")
    }
    return _sha256(json.dumps({name.removeprefix(f"{folder}/"): handed[name] for name in sorted(handed)}))


def _without_made(path: Path) -> str:
    """SHA-256 of a checkpoint.json but for `made`; empty of any other file."""
    if path.name != "checkpoint.json":
        return ""
    try:
        record = read_object(path)
    except (ValueError, OSError):
        return ""
    return _sha256(json.dumps({key: value for key, value in record.items() if key != "made"}))


def digests_of_inputs(paths: Iterable[str]) -> dict[str, str]:
    """Path → digest of the file's content, empty where there is none. Paths in the project count from its folder."""
    return {path: _content(root() / path) for path in sorted(paths)}


def import_path() -> str:
    """PYTHONPATH with which a process finds lib, wherever it starts; what the caller's PYTHONPATH names comes after."""
    return os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))


def plan(papers: tuple[str, ...], *, scale: str, cohort: str, seed: int, own: str = "") -> list[Notebook]:
    """The notebooks of `papers`, each after those it needs. ValueError for a paper.yaml that cannot be used.

    A paper that does not know the cohort, or has no such scale, has none. `own`: as in `Notebook`.
    """
    notebooks: list[Notebook] = []
    for paper in papers:
        loaded = load_paper(root() / "notebooks" / paper)
        has = loaded.own is not None if cohort == "own" else cohort in loaded.cohorts
        if not has or scale not in loaded.scales:
            continue
        made: dict[str, Notebook] = {}

        def make(name: str, path: tuple[str, ...] = (), paper=paper, loaded=loaded, made=made) -> Notebook:
            if name in path:
                raise ValueError(f"{paper}/paper.yaml: notebooks need each other: {' → '.join([*path, name])}")
            if name not in made:
                needs = tuple(make(need, (*path, name)) for need in loaded.notebooks[name])
                made[name] = Notebook(paper, name, scale, cohort, seed, loaded, needs, own)
            return made[name]

        for name in loaded.notebooks:
            make(name)
        notebooks += made.values()
    return notebooks


def find(paper: str, name: str, *, scale: str, cohort: str, seed: int, own: str = "") -> Notebook:
    """The notebook `name` of `paper`. ValueError, naming the known ones, if there is none. `own`: as in `Notebook`."""
    if paper not in known_papers():
        raise ValueError(f"unknown paper {paper!r}: choose one of {', '.join(known_papers())}")
    found = {notebook.name: notebook for notebook in plan((paper,), scale=scale, cohort=cohort, seed=seed, own=own)}
    if not found:
        raise ValueError(f"{paper} has no {cohort} cohort, or no scale {scale}, in its paper.yaml")
    if name not in found:
        raise ValueError(f"{paper} has no notebook {name!r}: choose one of {', '.join(found)}")
    return found[name]


def check_parameters(source: Path, parameters: dict) -> None:
    """ValueError unless the cell tagged `parameters` sets every name of `parameters` (papermill only warns).

    And unless it leaves those besides scale, cohort and seed empty: they name a user's own data, which must not come
    into the suite's run, whose executed copies are published, by an edit of the notebook.
    """
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{source}: needs one cell tagged 'parameters', and has {len(tagged)}")
    set_to: dict[str, ast.expr | None] = {}
    for node in ast.parse(tagged[0]).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        set_to |= {target.id: getattr(node, "value", None) for target in targets if isinstance(target, ast.Name)}
    unknown = [name for name in parameters if name not in set_to]
    if unknown:
        raise ValueError(f"{source}: no parameter {', '.join(unknown)}; its parameters cell sets {', '.join(set_to)}")
    filled = [name for name, value in set_to.items() if name not in _KNOWN and not _is_empty(value)]
    if filled:
        name = filled[0]
        raise ValueError(f"{source}: its parameters cell fills {name}: leave it empty there and give -p {name} VALUE")


def _is_empty(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and not value.value


def _differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The keys that only one has, or with another value, in the order of `now`."""
    return [key for key in now | before if before.get(key) != now.get(key)]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _content(path: Path) -> str:
    """SHA-256 of a file, above 4 MiB of its size and of blocks spread over it; empty if there is none."""
    if not path.is_file():
        return ""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _BLOCK:
            return hashlib.file_digest(file, "sha256").hexdigest()
        sha = hashlib.sha256(str(size).encode())
        for block in range(_SAMPLES):
            file.seek((size - _BLOCK) * block // (_SAMPLES - 1))
            sha.update(file.read(_BLOCK))
    return sha.hexdigest()
