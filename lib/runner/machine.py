"""What this machine gives a run: cores, memory, folders for caches, and what makes computing fast."""

import contextlib
import os
from pathlib import Path

from lib.core.paths import root
from lib.runner.plan import import_path

# Of every notebook's process, unless set already. Waiting threads must not spin: on shared cores that made a training
# step of two threads eight times slower. glibc must not give the memory of each large tensor back at once: to take it
# again, page by page, cost a tenth of DP-SGD's time.
_COMPUTING = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
}


def cores() -> int:
    """The cores that this process may use, by its affinity and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no quota is written as "max"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def kills_for_memory() -> int:
    """How many processes of this container the system has ended for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError):
        words = Path("/sys/fs/cgroup/memory.events").read_text().split()
        return int(dict(zip(words[::2], words[1::2], strict=True)).get("oom_kill", 0))
    return 0


def environment() -> dict[str, str]:
    """The variables of every process of a run: ours, but what is set already stays.

    Where HOME cannot be written to, or there is none, caches lie in data/runs/.cache.
    """
    caches = {}
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not _can_be_written(Path(home)):
        place = root() / "data" / "runs" / ".cache"
        os.makedirs(place, exist_ok=True)
        caches = {"XDG_CACHE_HOME": str(place), "MPLCONFIGDIR": str(place / "matplotlib")}
    return _COMPUTING | os.environ | caches | {"PYTHONPATH": import_path()}


def _can_be_written(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)
    return False
