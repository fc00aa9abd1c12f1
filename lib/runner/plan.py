"""The notebooks of a run: which need which, which are finished, and which are out of date.

A notebook is finished while its done.json fits what it would be made from now: its cells, the modules of lib that it
rests on (`lib.runner.imports`), its own entries of paper.yaml, the files that the notebooks it needs have left, and
the files that it read from data/ (`lib.core.inputs`). Content decides, not times, so a fresh clone or a `touch` changes
nothing; and a notebook that was executed again and left the same files makes nothing out of date.
"""

import ast
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lib.core.files import is_partial
from lib.core.json_objects import read_object
from lib.core.paths import root, tag
from lib.experiment.paper import Paper, known_papers, load_paper
from lib.runner import imports

CODE = Path(__file__).resolve().parents[2]
_SAMPLES, _BLOCK = 64, 1 << 16  # of a file, which may have gigabytes
_RECORDS = ("running", "done", "failed")


@dataclass(frozen=True)
class Notebook:
    """A notebook of a run. `declared`: its paper.yaml. `needs`: the notebooks of its paper whose files it reads."""

    paper: str
    name: str
    scale: str
    cohort: str
    seed: int
    declared: Paper = field(compare=False, repr=False)
    needs: tuple["Notebook", ...] = ()

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
        return root() / "data" / "runs" / tag(self.scale, self.cohort, self.seed)

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
        for path in (path for path in declared + products + claims if self.paper not in path.parts):
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
        for kind, now in (("sources", self.sources), ("needs", self.finished_needs())):
            if changed := _differing(done.get(kind, {}), now):
                yield f"changed: {', '.join(changed)}"
        inputs = done.get("inputs", {})
        if changed := _differing(inputs, digests_of_inputs(inputs)):
            yield f"changed: {', '.join(changed)}"
        if absent := [*([] if self.executed().exists() else ["its executed copy"]), *self.unmade()]:
            yield f"absent: {', '.join(absent)}"

    def unmade(self) -> list[str]:
        """The items and claims that paper.yaml declares for this notebook and that are not there."""
        paper = self.declared
        made = root() / "figures" / self.run_folder.name / self.paper
        absent = []
        for name in (n for n, i in paper.items.items() if i.notebook == self.name and self.cohort in i.cohorts):
            kinds = (("png", "pdf", "json"), ("csv", "tex", "json"))
            if not any(all((made / f"{name}.{suffix}").exists() for suffix in kind) for kind in kinds):
                absent.append(name)
        evaluated = (name for name, claim in paper.claims.items() if claim.notebook == self.name)
        return absent + [
            name for name in evaluated if not (self.run_folder / self.paper / f"claims/{name}.json").exists()
        ]

    def finished_needs(self) -> dict[str, str]:
        """The digest of what each notebook that this one needs has left, by its own record; empty if not finished."""
        return {need.name: need.read("done").get("products", "") for need in self.needs}

    def products_digest(self) -> str:
        """SHA-256 of the files that it left for others, of their names and content; half-written ones do not count."""
        folder, sha = self.record("done").parent, hashlib.sha256()
        records = {self.record(kind) for kind in _RECORDS}
        files = (path for path in folder.rglob("*") if path.is_file() and not is_partial(path))
        for path in sorted(path for path in files if path not in records):
            sha.update(f"{path.relative_to(folder).as_posix()} {_content(path)} ".encode())
        return sha.hexdigest()


def digests_of_inputs(paths: Iterable[str]) -> dict[str, str]:
    """Path → digest of the file's content, empty where there is none. Paths in the project count from its folder."""
    return {path: _content(root() / path) for path in sorted(paths)}


def import_path() -> str:
    """PYTHONPATH with which a process finds lib, wherever it starts; what the caller's PYTHONPATH names comes after."""
    return os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))


def plan(papers: tuple[str, ...], *, scale: str, cohort: str, seed: int) -> list[Notebook]:
    """The notebooks of `papers`, each after those it needs. ValueError for a paper.yaml that cannot be used.

    A paper that does not know the cohort has none.
    """
    notebooks: list[Notebook] = []
    for paper in papers:
        loaded = load_paper(root() / "notebooks" / paper)
        if cohort not in loaded.cohorts:
            continue
        made: dict[str, Notebook] = {}

        def make(name: str, path: tuple[str, ...] = (), paper=paper, loaded=loaded, made=made) -> Notebook:
            if name in path:
                raise ValueError(f"{paper}/paper.yaml: notebooks need each other: {' → '.join([*path, name])}")
            if name not in made:
                needs = tuple(make(need, (*path, name)) for need in loaded.notebooks[name])
                made[name] = Notebook(paper, name, scale, cohort, seed, loaded, needs)
            return made[name]

        for name in loaded.notebooks:
            make(name)
        notebooks += made.values()
    return notebooks


def find(paper: str, name: str, *, scale: str, cohort: str, seed: int) -> Notebook:
    """The notebook `name` of `paper`. ValueError, naming the known ones, if there is none."""
    if paper not in known_papers():
        raise ValueError(f"unknown paper {paper!r}: choose one of {', '.join(known_papers())}")
    found = {notebook.name: notebook for notebook in plan((paper,), scale=scale, cohort=cohort, seed=seed)}
    if not found:
        raise ValueError(f"{paper} has no {cohort} cohort")
    if name not in found:
        raise ValueError(f"{paper} has no notebook {name!r}: choose one of {', '.join(found)}")
    return found[name]


def check_parameters(source: Path, parameters: dict) -> None:
    """ValueError unless the cell tagged `parameters` sets every name of `parameters` (papermill only warns)."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    tagged = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{source}: needs one cell tagged 'parameters', and has {len(tagged)}")
    targets = [t for node in ast.parse(tagged[0]).body for t in getattr(node, "targets", [getattr(node, "target", 0)])]
    known = [target.id for target in targets if isinstance(target, ast.Name)]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ValueError(f"{source}: no parameter {', '.join(unknown)}; its parameters cell sets {', '.join(known)}")


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
