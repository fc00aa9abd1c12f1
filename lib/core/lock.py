"""One writer at a time in a folder: a lock that the system lets go of when its holder ends, however it ends."""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from lib.core.json_objects import parse_object

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"
_PATIENCE = 0.5  # seconds; so long may `assert_free` of others, which takes microseconds, stand in the way
_held: set[TextIO] = set()  # by this process


class FolderInUse(OSError):
    """Another process writes in the folder; the message says which, by what command, and since when."""


@contextlib.contextmanager
def sole_writer(folder: Path, command: str) -> Iterator[None]:
    """Hold `folder`, which is made if it is absent, until the block ends. Raises FolderInUse if it is held already.

    That is by another process, another thread or this one. `command`: what the others are told of us. flock, so kill -9
    leaves no lock behind; within the block the file .lock says who holds it. A file system without locks is warned of.
    Raises OSError if the folder cannot be written to. A folder that was made and left empty is removed.
    """
    was_there = folder.exists()
    file = _taken(folder)
    _held.add(file)
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": now}
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        yield
    finally:
        if file in _held:  # a child forked meanwhile holds nothing
            _held.discard(file)
            with contextlib.suppress(OSError):
                (folder / _NAME).unlink()  # still locked: who has opened it sees that the folder has another one
            if not was_there:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):  # a full disk
                file.close()


def assert_free(folder: Path) -> None:
    """Raise FolderInUse if another process holds `folder`; what holds it itself must not ask."""
    with contextlib.suppress(FileNotFoundError), open(folder / _NAME, encoding="utf-8") as file:
        if fcntl and _take(file, fcntl.LOCK_SH) is False:
            raise _in_use(folder, file)


def _taken(folder: Path) -> TextIO:
    """The lock file, held."""
    waited = time.monotonic() + _PATIENCE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open(folder / _NAME, "a+", encoding="utf-8")  # noqa: SIM115
        except FileNotFoundError:  # its holder has removed folder and file
            continue
        try:
            taken = fcntl and _take(file, fcntl.LOCK_EX)
            if taken is None:
                logging.getLogger(__name__).warning(
                    "%s lies on a file system without locks: see to it that one process alone writes there", folder
                )
                return file
            if taken and _is_there(file, folder / _NAME):
                return file
            if not taken and time.monotonic() > waited:
                raise _in_use(folder, file)
        except BaseException:
            file.close()
            raise
        file.close()
        if not taken:
            time.sleep(0.05)


def _take(file: TextIO, kind: int) -> bool | None:
    """Whether the lock was taken; None where the file system has none."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_there(file: TextIO, path: Path) -> bool:
    """Whether `file` is still the one at `path`: its last holder may have removed it after we opened it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _in_use(folder: Path, file: TextIO) -> FolderInUse:
    return FolderInUse(f"{folder} is in use by {_who(_read(file))}; wait, or stop it")


def _read(file: TextIO) -> dict:
    file.seek(0)
    try:
        return parse_object(file.read())
    except ValueError:  # it has just begun
        return {}


def _who(holder: dict) -> str:
    if not holder:
        return "another process"
    host = holder.get("host")
    where = "" if host == socket.gethostname() else f" on {host}"
    return f"process {holder.get('pid')}{where} ({holder.get('command')}) since {holder.get('since')}"


def _let_go() -> None:
    """In a forked child: the lock is its parent's, and must not outlive it."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
