"""A throw-away project of notebooks, and how it is run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from tests.paths import ROOT


def cell(source: str, tags: tuple[str, ...] = (), **more) -> dict:
    """A code cell of a notebook."""
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": [],
            "execution_count": None, "id": f"c{abs(hash(source)) % 10**8}"} | more  # fmt: skip


def write_notebook(path: Path, *sources: str, parameters: str = 'scale = "demo"\ncohort = "phantom"\nseed = 0') -> None:
    """The notebook at `path`: a cell of parameters, then a cell for each of `sources`."""
    cells = [cell(parameters, ("parameters",)), *map(cell, sources)]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def _hears_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Suite:
    """A throw-away project with the papers given as {paper: {notebook: (needs, source)}}, run by `code`.

    A paper whose name ends in "_last" is closing.
    """

    def __init__(self, root: Path, papers: dict, fork_server: str | None, code: Path = ROOT):
        self.root, self.folder, self.code = root, root / "data" / "runs" / "smoke-phantom-seed3", code
        self.env = os.environ | {"SUITE_ROOT": str(root), "PYTHON": sys.executable}
        self.env.pop("SUITE_FORK_SERVER", None)
        self.env |= {"SUITE_FORK_SERVER": fork_server} if fork_server else {}
        for paper, notebooks in papers.items():
            folder = root / "notebooks" / paper
            folder.mkdir(parents=True)
            content = {"title": paper, "cite": "", "cohorts": {"phantom": None if paper.endswith("_last") else "mass"}}
            content["notebooks"] = {name: list(needs) for name, (needs, _) in notebooks.items()}
            content |= {"closing": True} if paper.endswith("_last") else {}
            (folder / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            for name, (_, source) in notebooks.items():
                write_notebook(folder / f"{name}.ipynb", source)

    def start(self, *words: str, seeded: bool = True, script: bool = False) -> subprocess.Popen:
        """A command of the suite; `script`: by run_all.sh, which first looks through the environment, half a second."""
        command = [self.code / "run_all.sh"] if script else [sys.executable, "-m", "lib.runner.suite"]
        command += ["smoke", *words, *(("--seed", "3") if seeded else ())]
        # A shell starts what it puts in the background deaf to SIGINT, and so may have started these tests.
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": self.code}
        return subprocess.Popen(command, env=self.env, preexec_fn=_hears_interrupts, **options)

    def run(self, *words: str, seeded: bool = True, script: bool = False) -> tuple[int, str]:
        process = self.start(*words, seeded=seeded, script=script)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def record_path(self, notebook: str, kind: str = "done") -> Path:
        return self.folder / notebook / f"{kind}.json"

    def record(self, notebook: str, kind: str = "done") -> dict | None:
        path = self.record_path(notebook, kind)
        return json.loads(path.read_text()) if path.exists() else None

    def source(self, notebook: str) -> Path:
        return self.root / "notebooks" / f"{notebook}.ipynb"
