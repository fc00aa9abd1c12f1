"""Run the suite: every notebook that is out of date, after those it needs, and say how each ended."""

import os
import signal

# run_all.sh has kept Ctrl-C from Python's own start, which answers it by a traceback. As of now it ends us.
if os.environ.pop("SUITE_HEARS_INTERRUPTS", ""):
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import importlib.util
import json
import shlex
import subprocess
import sys
import textwrap
import time
from datetime import datetime

from lib.core.frontend import seconds_between_lines
from lib.core.lock import FolderInUse
from lib.core.paths import rehearsal, root
from lib.runner.cli import Arguments, parse
from lib.runner.machine import cores, environment, kills_for_memory
from lib.runner.own_data import give_files, given_files, own_key
from lib.runner.plan import CODE, THREADS, Notebook, plan
from lib.runner.rehearsal import rehearse
from lib.runner.remaining import end_after, seconds_left
from lib.runner.run_folder import hold, last_line, set_aside, sockets_folder
from lib.runner.settings import check_settings, keep_settings
from lib.runner.snakemake_command import command_for

_COST = 24  # letters of time and memory in a line
_LOOK = 1.0  # seconds between two looks at the records, each of which costs some milliseconds of a busy machine
_GRACE = 60  # seconds that Snakemake gets to cancel the jobs of a cluster
_REASONS = 160  # letters of a line that say why a notebook would run
_NODES = 50  # jobs at a time on a cluster


def main(argv: list[str]) -> int:
    """Exit code 0 when every notebook is finished, 1 when one is not, 2 for arguments that cannot be meant."""
    try:
        arguments = parse(argv)
        os.environ |= {"SUITE_TRAIN": "1"} if arguments.train else {}
        check_settings(arguments.settings, arguments.papers, arguments.scale)
        os.environ |= {"SUITE_SETTINGS": json.dumps(arguments.settings)} if arguments.settings else {}
        give_files(arguments.data, arguments.masks, arguments.papers, arguments.scale)
        notebooks = _planned(arguments)
        _require_cohort(arguments, notebooks)
        plugin = f"snakemake_executor_plugin_{arguments.executor.replace('-', '_')}"
        if arguments.executor != "local" and importlib.util.find_spec(plugin) is None:
            raise ValueError(
                f"executor {arguments.executor!r} is not installed; slurm and kubernetes: pip install '.[cluster]'"
            )
    except (ValueError, OSError) as problem:
        print(f"run_all.sh: {problem}", file=sys.stderr)
        return 2
    if arguments.dry_run:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when `head`, behind a pipe, does
        return _Run(arguments, notebooks, argv).dry_run()
    os.environ.setdefault("SUITE_PROGRESS_SECONDS", "60" if arguments.scale in ("study", "paper") else "10")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    command = shlex.join(["./run_all.sh", *argv])
    try:
        if arguments.rehearse:
            return rehearse(lambda: _run_all(arguments, argv))
        return _run_all(arguments, argv)[1]
    except KeyboardInterrupt:
        print(f"\nStopped. The same command goes on where it stopped: {command}", flush=True)
        return 130
    except BrokenPipeError:  # `head`, behind a pipe, has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"run_all.sh: stopped, for nothing reads its output; to go on: {command}", file=sys.stderr)
        return 128 + signal.SIGPIPE
    except OSError as problem:  # in use, full, closed to us
        print(f"run_all.sh: {problem}", file=sys.stderr)
        return 2 if isinstance(problem, FolderInUse) else 1


def _planned(arguments: Arguments) -> list[Notebook]:
    which = {"scale": arguments.scale, "cohort": arguments.cohort, "own": own_key(arguments.cohort, given_files())}
    return [n for seed in arguments.seeds for n in plan(arguments.papers, **which, seed=seed)]


def _run_all(arguments: Arguments, argv: list[str]) -> tuple[list[Notebook], int]:
    """Run what is out of date; all notebooks, and the exit code."""
    notebooks = _planned(arguments)
    with hold([notebook.run_folder for notebook in notebooks], shlex.join(["./run_all.sh", *argv])):
        for folder in {notebook.run_folder for notebook in notebooks if arguments.settings}:
            keep_settings(folder)
        return notebooks, _Run(arguments, notebooks, argv).execute()


def _interrupt(*_):
    raise KeyboardInterrupt


def _require_cohort(arguments: Arguments, notebooks: list[Notebook]) -> None:
    without = [paper for paper in arguments.papers if paper not in {notebook.paper for notebook in notebooks}]
    if without and (not arguments.all_papers or all(notebook.closing for notebook in notebooks)):
        raise ValueError(
            f"nothing runs at scale {arguments.scale} on the cohort {arguments.cohort} of {', '.join(without)}: "
            "scales: and cohorts: in its paper.yaml say what does"
        )


class _Run:
    def __init__(self, arguments: Arguments, notebooks: list[Notebook], argv: list[str]):
        self.arguments, self.notebooks = arguments, notebooks
        self.command = shlex.join(["./run_all.sh", *argv])
        self.tags = list(dict.fromkeys(notebook.run_folder.name for notebook in notebooks))
        self.folder = root() / "data" / "runs" / self.tags[0]
        self.log = self.folder / "log" / "snakemake.log"
        self.is_local = arguments.executor == "local"
        self.cores = cores()
        self.threads = min(THREADS[arguments.scale], self.cores) if rehearsal() else THREADS[arguments.scale]
        self.jobs = arguments.jobs or (max(1, min(4, self.cores // self.threads)) if self.is_local else _NODES)
        self.left = [notebook for notebook in notebooks if not notebook.is_current]
        self.closing = False  # whether the graph is that of the notebooks which read what all others left
        self.planned: dict[
            Notebook, float | None
        ] = {}  # what this run has to execute, and its seconds in an earlier run
        self.started: dict[Notebook, float] = {}  # and when, by time.monotonic
        self.ended: dict[Notebook, str] = {}  # and how
        self.due: dict[Notebook, float] = {}  # when there will be another line of what runs
        self.width = max(40, *(len(self._name(notebook)) for notebook in notebooks))  # of a name, in lines and table

    def announce(self) -> None:
        """Say what is about to run."""
        current = len(self.notebooks) - len(self.left)
        finished = f", {current} of them finished" if current else ""
        papers = ", ".join(sorted({notebook.paper for notebook in self.notebooks}))
        print(f"{', '.join(self.tags)}: {len(self.notebooks)} notebooks{finished} ({papers})")
        if self.arguments.dry_run:
            for notebook in self.notebooks:
                what, why = self._would(notebook)
                if notebook in self.left:
                    why += f": {textwrap.shorten('; '.join(notebook.changes()), _REASONS, placeholder=' …')}"
                print(f"  {what:9}  {self._name(notebook)}{why}")
        elif self.left:
            print(f"Up to {self.jobs} side by side, threads for each: {self.threads}; logs: {self.log.parent}")
        sys.stdout.flush()

    def _would(self, notebook: Notebook) -> tuple[str, str]:
        """Whether a notebook would run, and what that depends on."""
        if notebook in self.left:
            return "would run", ", last" if notebook.closing else ""
        stale = [need.name for need in notebook.needs if self._would(need)[0] != "finished"]
        return ("may run", f", if {' or '.join(stale)} leaves other files") if stale else ("finished", "")

    def dry_run(self) -> int:
        """Say what would run; on a cluster, have Snakemake plan all of it with the executor and its profile."""
        self.announce()
        codes = []
        for last in () if self.is_local else (False, True):
            self.closing = last
            if any(notebook.closing == self.closing for notebook in self.left):
                command = [sys.executable, "-m", "snakemake", *self._snakemake(), "--dry-run", "--forceall"]
                codes.append(subprocess.run(command, cwd=CODE, env=environment()).returncode)
        return 1 if any(codes) else 0

    def execute(self) -> int:
        """Run what is out of date, write the result pages and print the table; 0 where everything is done, else 1.

        What a notebook makes out of date by the files it left runs after it, closing notebooks after all others.
        """
        self.announce()
        self._plan(self.left)
        self.log.unlink(missing_ok=True)
        problem, kills = "", kills_for_memory()
        for self.closing in (False, True):
            of = [notebook for notebook in self.notebooks if notebook.closing == self.closing]
            while stale := [notebook for notebook in of if notebook not in self.ended and not notebook.is_current]:
                self.left = []
                self._plan(stale)
                for notebook in stale:
                    print(*(f"          {said}\n" for said in set_aside(notebook)), sep="", end="", flush=True)
                    for old in (*map(notebook.record, ("done", "failed", "running")), notebook.log):
                        old.unlink(missing_ok=True)
                    if any(self.ended.get(need, "done") != "done" for need in notebook.needs):
                        self._end(notebook, "skipped")
                    else:
                        self.left.append(notebook)
                problem = (self._run_graph() if self.left else "") or problem
        pages = [] if rehearsal() else [self._write_page(tag) for tag in self.tags]
        self._print_table()
        unfinished = [notebook for notebook in self.notebooks if not notebook.read("done")]
        if gone := [self._name(notebook) for notebook in unfinished if self.ended.get(notebook, "done") == "done"]:
            problem = f"Done, but another process has removed the record: {', '.join(gone)}. To go on: {self.command}"
        if killed := kills_for_memory() - kills:
            problem = f"The system has ended {killed} processes for want of memory: run fewer at a time, --jobs 1"
        problems = [problem, *(says for made, says in pages if not made)]
        print("\n".join(filter(None, [*problems, *(says for made, says in pages if made)])), flush=True)
        return 1 if any(problems) or unfinished else 0

    def _plan(self, notebooks: list[Notebook]) -> None:
        for notebook in notebooks:
            seconds = notebook.read("done").get("seconds")
            self.planned.setdefault(notebook, seconds if isinstance(seconds, float) else None)

    def _run_graph(self) -> str:
        """Have Snakemake execute what is left, with a fork server beside it; what stopped it, or nothing."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        variables = environment()
        fork_server = snakemake = None
        with sockets_folder() as folder, open(self.log, "ab") as log:
            if self.is_local:
                variables["TMPDIR"] = folder  # what Snakemake and killed notebooks leave goes with it

            def start(*command: str) -> subprocess.Popen:
                # A session of its own: Ctrl-C reaches us alone, and we end everything.
                return subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=CODE,
                    env=variables,
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

            try:
                if self.is_local and sys.platform == "linux" and "SUITE_FORK_SERVER" not in variables:
                    variables["SUITE_FORK_SERVER"] = os.path.join(folder, "fork_server")
                    fork_server = start(
                        "lib.runner.fork_server.server", variables["SUITE_FORK_SERVER"], str(os.getpid())
                    )
                snakemake = start("lib.runner.fork_server.lifetime", str(os.getpid()), "snakemake", *self._snakemake())
                while snakemake.poll() is None:
                    time.sleep(_LOOK)
                    self._progress()
            finally:
                if snakemake and snakemake.poll() is None and not self.is_local:
                    snakemake.send_signal(signal.SIGINT)  # it cancels what it has submitted
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        snakemake.wait(_GRACE)
                for process in filter(None, (snakemake, fork_server)):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self._progress()
        for notebook in self.left:
            if notebook not in self.ended:
                was_tried = notebook.log.exists() and snakemake.returncode >= 0
                self._end(notebook, "killed" if notebook in self.started else "failed" if was_tried else "skipped")
        if snakemake.returncode < 0:
            return f"Snakemake was killed (signal {-snakemake.returncode}). The same command goes on: {self.command}"
        if snakemake.returncode and not self.started.keys() & set(self.left):
            return f"Snakemake could not start a notebook: {last_line(self.log)} (log: {self.log})"
        return ""

    def _snakemake(self) -> list[str]:
        wanted = [notebook for notebook in self.left if notebook.closing == self.closing]
        return command_for(wanted, self.arguments, folder=self.folder, threads=self.threads, jobs=self.jobs)

    def _progress(self) -> None:
        """A line for each notebook that started or ended since the last look, or runs: what it said last."""
        for notebook in self.left:
            if notebook in self.ended:
                continue
            kind = next((kind for kind in ("done", "failed") if notebook.record(kind).exists()), None)
            if kind:
                self.started.setdefault(notebook, time.monotonic())
                self._end(notebook, kind)
            elif notebook not in self.started and notebook.record("running").exists():
                self.started[notebook] = time.monotonic()
                self._say("started", notebook)
                self.due[notebook] = time.monotonic() + seconds_between_lines()
            elif notebook in self.due and time.monotonic() >= self.due[notebook]:
                self._say("running", notebook, last_line(notebook.log))
                self.due[notebook] = time.monotonic() + seconds_between_lines()

    def _end(self, notebook: Notebook, how: str) -> None:
        self.ended[notebook] = how
        record = notebook.read(how) if how in ("done", "failed") else {}
        unmet = [need.name for need in notebook.needs if not need.read("done")]
        more = f"{_cost(record):{_COST}}  {self._so_far()}"
        if how == "skipped":
            more = f"needs {', '.join(unmet)}" if unmet else "not started"
        self._say(how, notebook, more)
        error = record.get("error") or (last_line(notebook.log) if how in ("failed", "killed") else "")
        if error:
            print(f"          {error}", flush=True)

    def _so_far(self) -> str:
        """How many notebooks of how many have ended, and when all will have, about."""
        now = time.monotonic()
        seconds = seconds_left(
            waiting=[self.planned[n] for n in self.planned if n not in self.started and n not in self.ended],
            running=[(self.planned[n], now - at) for n, at in self.started.items() if n not in self.ended],
            ended=[
                (self.planned[n], n.read("done")["seconds"])
                for n, how in self.ended.items()
                if how == "done" and "seconds" in n.read("done")
            ],
            side_by_side=self.jobs,
        )
        so_far = f"{len(self.ended)} of {len(self.planned)}"
        if seconds is None or len(self.ended) == len(self.planned):
            return so_far
        return f"{so_far}, the last about {end_after(seconds, datetime.now())}"

    def _name(self, notebook: Notebook) -> str:
        """How a line calls it: with its seed where there are several."""
        return f"{notebook} seed {notebook.seed}" if len(self.tags) > 1 else str(notebook)

    def _say(self, what: str, notebook: Notebook, more: str = "") -> None:
        print(f"{time.strftime('%H:%M:%S')}  {what:8} {self._name(notebook):{self.width}} {more}".rstrip(), flush=True)

    @staticmethod
    def _write_page(tag: str) -> tuple[bool, str]:
        """Whether the page of a run was written; and where it lies, or why it was not."""
        print(f"{time.strftime('%H:%M:%S')}  writing  {tag}: the page", flush=True)
        if importlib.util.find_spec("lib.report") is None:
            return True, ""
        command = [sys.executable, "-m", "lib.report", tag]
        made = subprocess.run(command, cwd=CODE, env=environment(), capture_output=True, text=True)
        if made.returncode == 0:
            return True, made.stdout.strip()
        why = (made.stderr.strip() or f"ended by signal {-made.returncode}").splitlines()[-1]
        return False, f"The page could not be written: {why}. To try again: python -m lib.report {tag}"

    def _print_table(self) -> None:
        print()
        for notebook in self.notebooks:
            how = self.ended.get(notebook, "finished before")
            record = notebook.read("done") or notebook.read("failed")
            print(f"{self._name(notebook):{self.width}} {_cost(record):{_COST}}  {how}")
        for notebook, how in self.ended.items():
            if how in ("failed", "killed"):
                kept = notebook.read(how).get("executed")
                executed = f"; executed up to the error: {kept}" if kept else ""
                print(f"{how}: {self._name(notebook)}; log: {notebook.log}{executed}")


def _cost(record: dict) -> str:
    """Time and memory of a notebook, empty if neither is known."""
    return f"{record['seconds']:9.1f} s {record['peak_memory_mb']:9,.0f} MB" if "seconds" in record else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
