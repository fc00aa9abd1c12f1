"""The code cells of one notebook, run here or in every rank of torchrun.

    python -m lib.experiment.run NOTEBOOK [-p NAME VALUE]…
    torchrun --nproc-per-node 4 -m lib.experiment.run notebooks/NN_name/01_train.ipynb -p scale paper -p cohort public

Trainings that know of ranks share their batches out (lib.training.loop.data_parallel), those of `run_ahead` are
assigned whole, and any other is repeated by every rank. Only rank 0 leaves files, for cells write through `Run` and
trainings through `atomic`. No executed copy is kept: `./run_all.sh` makes it afterwards, and finds every training
finished.
"""

import argparse
import json
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from lib.core import distributed as ranks
from lib.core.lock import FolderInUse
from lib.runner.cli import value_of
from lib.runner.run_folder import hold

_PROG = "python -m lib.experiment.run"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def main(argv: list[str]) -> int:
    """Exit code 0 done, 1 failed, 2 for arguments that cannot be meant."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    parser = _Parser(prog=_PROG, description="Execute the code cells of a notebook.", allow_abbrev=False)
    parser.add_argument("notebook", help="notebooks/PAPER/NAME.ipynb")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    try:
        found = parser.parse_args(argv)
        notebook, cells, names = _read(found.notebook, {name: value_of(text) for name, text in found.parameter})
        ranks.begin()
    except (ValueError, OSError) as problem:
        if first:  # every rank of a machine finds the same
            print(f"{_PROG}: {problem}", file=sys.stderr)
        return 2
    command = shlex.join(["python", "-m", "lib.experiment.run", *argv])
    try:
        with hold([notebook.run_folder] if ranks.rank() == 0 else (), command):
            os.environ["SUITE_RUN_TAG"] = notebook.run_folder.name  # lets `Run` write there
            if ranks.rank() == 0:  # what it says is no longer so
                notebook.record("done").unlink(missing_ok=True)
            os.environ.setdefault("MPLBACKEND", "agg")
            if ranks.rank() > 0:
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115  rank 0 alone speaks
            return _execute(notebook, cells, names)
    except OSError as problem:
        print(f"{_PROG}: {problem}", file=sys.stderr)
        return 2 if isinstance(problem, FolderInUse) else 1
    finally:
        os.environ.pop("SUITE_RUN_TAG", None)


def _read(path: str, given: dict):
    """The notebook, its code cells in order, and its parameters. ValueError for what is not known."""
    from lib.core.paths import root
    from lib.experiment.paper import known_papers
    from lib.experiment.run import Run
    from lib.runner.own_data import cohort_of, own_key  # seconds of imports, after a typing error
    from lib.runner.plan import check_parameters, find

    source = Path(path).resolve()
    if source.suffix != ".ipynb" or source.parent.parent != (root() / "notebooks").resolve():
        raise ValueError(f"{path} is no notebook of the suite: give notebooks/PAPER/NAME.ipynb")
    paper, name = source.parent.name, source.stem
    if paper not in known_papers():
        raise ValueError(f"unknown paper {paper!r}: choose one of {', '.join(known_papers())}")
    if not source.exists():
        known = sorted(file.stem for file in source.parent.glob("*.ipynb"))
        raise ValueError(f"{paper} has no notebook {name!r}: choose one of {', '.join(known)}")
    check_parameters(source, given)
    content = json.loads(source.read_text(encoding="utf-8"))
    cells = [(cell["metadata"].get("tags", []), "".join(cell["source"]))
             for cell in content["cells"] if cell["cell_type"] == "code"]  # fmt: skip
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(next(text for tags, text in cells if "parameters" in tags), names)  # noqa: S102
    names |= given
    run = Run(paper, names["scale"], names["cohort"], names["seed"])
    extra = {key: value for key, value in given.items() if key not in ("scale", "cohort", "seed")}
    of, own = cohort_of(run.cohort, extra), own_key(run.cohort, extra)
    notebook = find(paper, name, scale=run.scale, cohort=of, seed=run.seed, own=own)
    return notebook, cells, names


def _execute(notebook, cells: list[tuple[list[str], str]], names: dict) -> int:
    trace = notebook.log.with_suffix(".traceback.txt")
    trace.parent.mkdir(parents=True, exist_ok=True)
    if ranks.is_writer():
        trace.unlink(missing_ok=True)
    ranks.barrier()
    number = 0
    try:
        for number, (tags, text) in enumerate(cells, 1):
            if "parameters" not in tags:
                exec(compile(text, f"{notebook}, cell [{number}]", "exec"), names)  # noqa: S102
            ranks.barrier()  # what the writer left is there for all
            if pyplot := sys.modules.get("matplotlib.pyplot"):
                pyplot.close("all")
        ranks.end()
    except Exception as problem:
        try:  # the first rank that fails speaks; others fail because it is gone
            trace.touch(exist_ok=False)
        except FileExistsError:
            return 1
        with ranks.no_sync():
            trace.write_text(traceback.format_exc(), encoding="utf-8")
        says = next(iter(str(problem).strip().splitlines()), "")
        who = f", rank {ranks.rank()}" if ranks.is_one_of_many() else ""
        print(f"{notebook}{who}, cell [{number}]: {type(problem).__name__}: {says} ({trace})", file=sys.stderr)
        return 1
    if ranks.rank() == 0 and (absent := notebook.unmade()):
        print(f"{notebook} ran, but did not make what paper.yaml declares: {', '.join(absent)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
