"""Files that are written whole or not at all, and what killed writers leave of them."""

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from lib.core import distributed as ranks

_PARTIAL = re.compile(r"\..*?(?:\.(?P<machine>[0-9a-f]{8}))?\.\d+\.(?P<pid>\d+)\.partial(\..*)?", re.DOTALL)
_SCRATCH = re.compile(r"suite-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-.*", re.DOTALL)
_SKEW = 60  # seconds by which the clock of a file server may differ from ours
_AGE = 7 * 24 * 3600  # seconds without a change after which a writer on another machine is taken for dead
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure.

    A writer that fails or is killed leaves the old file, or none; so does a machine that loses its power, since file
    and folder are synced. Of several ranks (lib.core.distributed) only the writer leaves a file. Raises OSError that
    names `path` and what helps: space, or the right to write.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{machine()}.{ranks.rank()}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if ranks.is_writer():
            put_in_place(partial, path)
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written{_why(error, path)}") from error
    finally:
        if partial.exists():
            partial.unlink()


def put_in_place(written: Path, path: Path) -> None:
    """Rename the file `written` to `path`, on the same disk, so that not even a loss of power leaves half of it."""
    _sync(written)
    os.replace(written, path)
    _sync(path.parent)


def advice(error: OSError, folder: Path) -> str:
    """What helps when nothing could be written into `folder`; empty where we do not know."""
    if error.errno in _FULL:
        return "free some space and run again"
    if error.errno in _CLOSED:
        return f"allow writing to {folder} and run again"
    return ""


def is_partial(path: Path) -> bool:
    """Whether `path` is a temporary one of `atomic`, which a killed writer leaves behind."""
    return path.name.startswith(".") and ".partial" in path.suffixes


def sweep(folder: Path) -> list[Path]:
    """Delete the temporary files of `atomic` below `folder` that no living process writes; return their paths.

    A writer is dead if its machine is ours and no process has its number, or one that began after the file's last
    change. Of a writer on another machine, which may share the disk, we only know that it has not written for a week.
    """
    swept = []
    for at, _, names in os.walk(folder):
        for path in (Path(at, name) for name in names if name[0] == "."):
            if (made := _PARTIAL.fullmatch(path.name)) and _is_abandoned(path, made):
                with contextlib.suppress(OSError):  # another run sweeps as well, or the file is not ours to delete
                    path.unlink()
                    swept.append(path)
    return swept


def scratch_name() -> str:
    """How the name of a temporary folder of this process begins, so that `sweep_scratch` knows whose it was."""
    return f"suite-{machine()}-{os.getpid()}-"


def sweep_scratch(folder: Path) -> None:
    """Delete the temporary folders in `folder` (`scratch_name`) whose process has ended."""
    for path in folder.glob("suite-*-*-*"):
        if (made := _SCRATCH.fullmatch(path.name)) and _is_abandoned(path, made):
            shutil.rmtree(path, ignore_errors=True)


@functools.cache
def machine() -> str:
    """Eight hexadecimal digits for the processes that see each other: host name, and on Linux the PID namespace."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _is_abandoned(path: Path, made: re.Match) -> bool:
    try:
        changed = path.lstat().st_mtime
    except OSError:  # gone meanwhile
        return False
    if made["machine"] != machine():
        return time.time() - changed > _AGE
    began = _began(int(made["pid"]))
    return began is None or began > changed + _SKEW


def _began(pid: int) -> float | None:
    """When the process began, in seconds since 1970; None if there is none."""
    import psutil  # here, since lib.core is imported by everything

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # it lives, and is not ours to ask
        return 0.0


def _why(error: OSError, path: Path) -> str:
    helps = advice(error, path.parent)
    return f" ({error.strerror or error})" + (f"; {helps}" if helps else "")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such call
            raise
    finally:
        os.close(handle)
