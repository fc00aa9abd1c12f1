"""Execute one notebook by papermill: its parameters checked, its time and memory measured, its end on record."""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from datetime import datetime
from pathlib import Path

import lib.runner.nbformat_import  # noqa: F401  # before papermill

# isort: split
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lib.core.files import atomic, put_in_place
from lib.core.paths import rehearsal, root
from lib.core.revision import revision
from lib.runner.fork_server.kernel import INPUTS, ForkedKernel, KernelManager
from lib.runner.own_data import COHORT, STANDS_FOR, cohort_of, own_key
from lib.runner.plan import (
    THREADS,
    Notebook,
    check_parameters,
    digests_of_inputs,
    find,
    products_digest,
)
from lib.runner.rehearsal import noted_trainings, trainings_file
from lib.runner.run_folder import set_aside, sockets_folder

_POLL = 0.1  # seconds between two looks at the kernel's memory
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")  # fmt: skip
_RECENT = 5  # looks, of which the highest is what was held in the end
_CHILDREN = 20  # of these looks go by between two at its children, which cost a walk through all processes


def execute(
    paper: str,
    name: str,
    *,
    scale: str,
    cohort: str,
    seed: int,
    extra: dict | None = None,
    threads: int = 0,
    forked: ForkedKernel | None = None,
) -> int:
    """Execute notebook `name` of `paper` and return an exit code: 0 done, 1 failed, 2 not a thing to execute.

    `extra`: parameters besides scale, cohort and seed; with these everything lies in a run folder of its own, so that
    nothing of it is taken for the suite's. `threads`: to compute with, 0 for those of the scale (`plan.THREADS`).
    `forked`: a process to use as the kernel. The caller holds the run folder. Leaves executed/PAPER/NAME.ipynb and
    done.json, the latter last; or NAME.failed.ipynb and failed.json. Problems are printed, one sentence each.
    """
    try:
        given = extra or {}
        of = cohort_of(cohort, given)
        notebook = find(paper, name, scale=scale, cohort=of, seed=seed, own=own_key(cohort, given))
        parameters = {"scale": scale, "cohort": STANDS_FOR if of == COHORT else cohort, "seed": seed} | given
        return _execute(notebook, parameters, threads or THREADS[scale], forked)
    except (ValueError, OSError) as problem:  # a typing error; a full disk
        print(problem, file=sys.stderr)
        return 2 if isinstance(problem, ValueError) else 1


def _execute(notebook: Notebook, parameters: dict, threads: int, forked: ForkedKernel | None) -> int:
    clock = time.perf_counter()
    for said in set_aside(notebook):
        print(said)
    for old in (notebook.record("done"), notebook.record("failed"), notebook.executed("failed")):
        old.unlink(missing_ok=True)
    facts = {"notebook": notebook.name, "paper": notebook.paper, **parameters, "started_at": _now()}
    facts |= {"revision": revision(), "forked": forked is not None, "threads": threads}
    trainings, before = trainings_file(notebook) if rehearsal() else (None, 0)
    _write(notebook.record("running"), facts | {"pid": os.getpid()})
    try:
        check_parameters(notebook.source, parameters)
        facts |= {"sources": notebook.sources, "needs": notebook.finished_needs()}
    except ValueError as problem:
        _write(notebook.record("failed"), facts | {"error": str(problem), "finished_at": _now()})
        notebook.record("running").unlink()
        raise
    partial = notebook.executed("running")
    partial.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    error, inputs = None, {}
    # The run that this kernel works for, which holds the run folder; and how many threads it computes with.
    variables = {"SUITE_RUN_TAG": notebook.run_folder.name} | dict.fromkeys(_THREADS, str(threads))
    with sockets_folder() as folder:
        variables |= {"SUITE_REHEARSED": str(trainings)} if trainings else {}
        of = {"folder": folder, "forked": forked, "variables": variables}
        manager = type("KernelManager", (KernelManager,), of)
        memory = _Memory(manager)
        try:
            with memory:
                made = papermill.execute_notebook(
                    _literal(notebook.source),
                    _literal(partial),
                    parameters,
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    cwd=str(notebook.source.parent),
                    stdout_file=sys.stdout,
                    stderr_file=sys.stdout,
                    kernel_manager_class=manager,
                )
        except PapermillExecutionError as stopped:
            says = str(stopped.evalue).strip().splitlines()
            cell, error = stopped.exec_count, f"{stopped.ename}: {says[0]}" if says else stopped.ename
        except DeadKernelError:
            cell, error = None, "its kernel was killed, perhaps for want of memory"
        else:
            inputs = digests_of_inputs(_listed(Path(folder) / INPUTS))
            facts |= {"trainings": noted_trainings(trainings, before)} if trainings else {}
    if error is None and (absent := notebook.unmade()):
        cell, error = None, f"it ran, but did not make what paper.yaml declares: {', '.join(absent)}"
    facts |= {"seconds": round(time.perf_counter() - clock, 3), "peak_memory_mb": round(memory.peak / 1e6, 1)}
    facts |= {"end_memory_mb": round(memory.last / 1e6, 1)}
    if error is None:
        put_in_place(partial, notebook.executed())
        in_cells = sum(c.metadata.papermill.get("duration") or 0 for c in made.cells if c.cell_type == "code")
        files = notebook.manifest()
        facts |= {"inputs": inputs, "products": products_digest(notebook, files), "files": files}
        facts |= {"seconds_in_cells": round(in_cells, 3)}
        _write(notebook.record("done"), facts | {"finished_at": _now()})
    else:
        os.replace(partial, notebook.executed("failed"))
        where = "" if cell is None else f", cell [{cell}]"
        sentence = f"{notebook}{where}: {error}"
        kept = os.path.relpath(notebook.executed("failed"), root())
        _write(notebook.record("failed"), facts | {"error": sentence, "executed": kept, "finished_at": _now()})
        print(f"{sentence}\nIts executed copy up to there: {kept}", file=sys.stderr)
    notebook.record("running").unlink(missing_ok=True)
    return 0 if error is None else 1


def _literal(path: Path) -> str:
    """The path as papermill takes it, which fills in parameters where a path has braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _listed(file: Path) -> set[str]:
    """The paths that a kernel has listed in `file`; of those in the project, from its folder."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.removeprefix(f"{root().resolve()}/") for line in lines}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _write(path: Path, content: dict) -> None:
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


class _Memory:
    """Inside `with`, follows the resident memory of the kernel and its children; `peak` and `last` are in bytes."""

    def __init__(self, manager: type[KernelManager]):
        self.manager, self.peak, self._ended = manager, 0, threading.Event()
        self._recent: deque[int] = deque([0], maxlen=_RECENT)

    @property
    def last(self) -> int:
        """What was held in the end, before the process gave it back."""
        return max(self._recent)

    def __enter__(self):
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        look, children = 0, 0
        while not self._ended.wait(_POLL):
            if self.manager.pid:
                with contextlib.suppress(psutil.Error):
                    kernel = psutil.Process(self.manager.pid)
                    if look % _CHILDREN == 0:
                        children = sum(child.memory_info().rss for child in kernel.children(recursive=True))
                    if not (now := kernel.memory_info().rss):
                        continue  # it has ended, and nobody has asked how
                    own, look = _highest(kernel.pid) or now, look + 1
                    self._recent.append(now + children)
                    self.peak = max(self.peak, own + children)


def _highest(pid: int) -> int:
    """The most a process has ever held, which Linux counts between two looks as well; 0 elsewhere."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)
    return 0
