"""What machine this is, in words, for records of what was computed on it."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """The processor and how many cores this process may use: "AMD EPYC, 2 cores"; "unknown processor" where unsaid."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(filter(None, names), "") or platform.processor() or "unknown processor"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} cores"
