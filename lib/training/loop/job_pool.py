"""Several trainings at once on a CPU: small networks do not fill two cores, two trainings do."""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context

import torch

from lib.core import distributed as ranks
from lib.core.frontend import seconds_between_lines
from lib.core.paths import rehearsal
from lib.training.loop import progress

_PR_SET_PDEATHSIG = 1


def run_ahead(tasks: Sequence[Callable[[], object]], *, workers: int | None = None) -> None:
    """Run the tasks in forked processes, for the checkpoints they leave; returns when all have ended.

    What they print is printed here, line by line, and their progress is shown here. Nothing else comes back: call each
    task afterwards, and it finds its checkpoint. A task that fails ahead is reported on standard error and fails again,
    with its own message, when called. Each process computes with one thread; `workers` is by default the number of
    cores this process may use. Does nothing where that is one, where processes cannot be forked, where there is a GPU,
    and in a rehearsal, which measures each alone: there trainings go one by one. Under torchrun nothing is forked:
    rank r of n runs every n-th task from the r-th, and all wait for the slowest.
    """
    if ranks.is_one_of_many():
        return _spread(tasks[ranks.rank() :: ranks.world()] if ranks.world() > 1 else ())
    workers = min(workers or len(_cores()), len(tasks))
    if workers < 2 or not hasattr(os, "fork") or torch.cuda.is_available() or rehearsal():
        return
    following = get_context("fork").Value("i", 0)
    sys.stdout.flush()
    sys.stderr.flush()
    started = [_fork(tasks, following) for _ in range(workers)]
    try:
        _relay([worker.pipes for worker in started])
        for worker in started:
            _, status = os.waitpid(worker.pid, 0)
            if os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
                print(f"A training was killed (signal {number}): it is run again when called.", file=sys.stderr)
    except BaseException:
        for worker in started:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
        raise


def _spread(mine) -> None:
    with ranks.no_sync():
        for task in mine:
            try:
                task()
            except Exception as problem:  # it fails again, in every rank, when called
                _say_failed(problem)
    ranks.barrier()


def _say_failed(problem: Exception) -> None:
    """One line: the traceback is shown when the task is called and fails again."""
    says = " ".join(str(problem).split())
    print(f"A training failed ahead ({type(problem).__name__}: {says}): it is run again when called.", file=sys.stderr)


def _cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


class _Worker:
    """A forked process: `pid`, and the ends of the pipes of its standard output and standard error."""

    def __init__(self, pid: int, pipes: tuple[int, int]):
        self.pid, self.pipes = pid, pipes


def _fork(tasks, following) -> _Worker:
    parent = os.getpid()
    (output, to_output), (errors, to_errors) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(to_output)
        os.close(to_errors)
        return _Worker(child, (output, errors))
    try:  # never to return into the caller's code: a forked notebook kernel must not answer its messages
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(to_output, 1)
        os.dup2(to_errors, 2)
        sys.stdout, sys.stderr = (os.fdopen(end, "w", buffering=1, encoding="utf-8") for end in (to_output, to_errors))
        progress.relay_to(sys.stdout)
        torch.set_num_threads(1)
        while os.getppid() == parent:
            with following.get_lock():
                mine, following.value = following.value, following.value + 1
            if mine >= len(tasks):
                break
            try:
                tasks[mine]()
            except Exception as problem:  # the worker goes on with what is left
                _say_failed(problem)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _relay(pipes: Sequence[tuple[int, int]]) -> None:
    """Show what is written to the pipes, line by line, until all writers have ended; also that nothing was written."""
    shown, silent, every = progress.Relayed(), progress.Line(), seconds_between_lines()
    began = last = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for output, errors in pipes:
            selector.register(output, selectors.EVENT_READ, _lines(output, shown, sys.stdout))
            selector.register(errors, selectors.EVENT_READ, _lines(errors, shown, sys.stderr))
        while selector.get_map():
            ready = selector.select(timeout=max(last + every - time.monotonic(), 0.01))
            for key, _ in ready:
                if not next(key.data):
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
            now = time.monotonic()
            if ready:
                last = now
            elif now - last >= every:
                silent.show(f"{len(pipes)} processes go on side by side, {now - began:.0f} s")
                last = now


def _lines(pipe: int, shown: progress.Relayed, stream) -> Iterator[bool]:
    """Each next shows the lines that a ready pipe holds: whether it may hold more."""
    left = b""
    while content := os.read(pipe, 1 << 16):
        *whole, left = (left + content).split(b"\n")
        for line in whole:
            shown.show(line.decode(errors="replace"), stream)
        yield True
    if left:
        shown.show(left.decode(errors="replace"), stream)
    yield False
