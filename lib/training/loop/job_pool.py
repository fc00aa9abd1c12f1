"""Several trainings at once on a CPU: small networks do not fill two cores, two trainings do."""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context

import torch

from lib.core import distributed as ranks

_PR_SET_PDEATHSIG = 1


def run_ahead(tasks: Sequence[Callable[[], object]], *, workers: int | None = None) -> None:
    """Run the tasks in forked processes, for the checkpoints they leave; returns when all have ended.

    Nothing else comes back: call each task afterwards, and it finds its checkpoint. A task that fails ahead is
    reported on standard error and fails again, with its own message, when called. Each process computes with one
    thread; `workers` is by default the number of cores this process may use. Does nothing where that is one, where
    processes cannot be forked, or where there is a GPU: there trainings go one by one. Under torchrun nothing is
    forked: rank r of n runs every n-th task from the r-th, and all wait for the slowest.
    """
    if ranks.is_one_of_many():
        return _spread(tasks[ranks.rank() :: ranks.world()] if ranks.world() > 1 else ())
    workers = min(workers or len(_cores()), len(tasks))
    if workers < 2 or not hasattr(os, "fork") or torch.cuda.is_available():
        return
    following = get_context("fork").Value("i", 0)
    started = [_fork(tasks, following) for _ in range(workers)]
    try:
        for child in started:
            os.waitpid(child, 0)
    except BaseException:
        for child in started:
            os.kill(child, signal.SIGKILL)
        raise


def _spread(mine) -> None:
    with ranks.no_sync():
        for task in mine:
            try:
                task()
            except Exception:  # it fails again, in every rank, when called
                traceback.print_exc()
    ranks.barrier()


def _cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _fork(tasks, following) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:  # never to return into the caller's code: a forked notebook kernel must not answer its messages
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        torch.set_num_threads(1)
        while os.getppid() == parent:
            with following.get_lock():
                mine, following.value = following.value, following.value + 1
            if mine >= len(tasks):
                break
            tasks[mine]()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(0)
