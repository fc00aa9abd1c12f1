"""One process at a time: a folder that somebody writes to says who, and is free again however that process ends."""

import contextlib
import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"  # its name in the folder
_COMMAND = 120  # letters of a command that are shown
_held: set[int] = set()  # descriptors of this process


@contextlib.contextmanager
def exclusive(folder: str | Path) -> Iterator[None]:
    """Hold `folder` (made where it is absent) for this process; within it no other process or thread gets in.

    The kernel lets go when this process ends, also by kill -9: a lock file that is left behind holds nobody up.
    BlockingIOError, one sentence with process, host, command and time, where somebody else is inside. A file system
    without locks is warned of, and not locked. OSError where the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(folder)
    _held.add(descriptor)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            (folder / LOCK).unlink()  # still locked: who opened it meanwhile sees that it is another file now
        _held.discard(descriptor)
        os.close(descriptor)


def owner(folder: str | Path) -> str | None:
    """Who holds `folder` now, as a part of a sentence; None where nobody does, or nobody can tell."""
    file = Path(folder) / LOCK
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return None
    try:
        return _described(file) if _flock(descriptor) is False else None
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int:
    """The descriptor of the folder's lock file, locked."""
    file = folder / LOCK
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            taken = _flock(descriptor)
            if taken is False:
                raise BlockingIOError(f"{folder} is being written by {_described(file)}: wait for its end, or stop it.")
            if taken is None:
                logging.getLogger(__name__).warning(
                    "%s lies on a file system without locks: see to it that one process alone writes there", folder
                )
            elif not _is_file(descriptor, file):  # its last owner has removed it since we opened it
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_facts()).encode(), 0)
            return descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _flock(descriptor: int) -> bool | None:
    """Whether the lock was taken; None where the file system has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _facts() -> dict:
    command = shlex.join([os.path.basename(sys.executable or "python"), *sys.argv])
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": f"{command[:_COMMAND]} (in {os.getcwd()})",
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }


def _described(file: Path) -> str:
    try:
        facts = json.loads(file.read_text())
        return "process {pid} on {host}, {command}, since {since}".format_map(facts)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _let_go() -> None:
    """In a forked child: the lock is its parent's, and must not outlive it."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
