"""One writer at a time in a folder: a lock that the system lets go of when its holder ends, however it ends."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

_NAME = ".lock"
_PATIENCE = 0.5  # seconds; so long may `assert_free` of others, which takes microseconds, stand in the way


class FolderInUse(OSError):
    """Another process writes in the folder; the message says which, by what command, and since when."""


@contextlib.contextmanager
def sole_writer(folder: Path, command: str) -> Iterator[None]:
    """Hold `folder`, which is made if it is absent, until the block ends. Raises FolderInUse if another holds it.

    `command`: what the others are told of us. flock, so kill -9 leaves no lock behind; the file .lock stays, and says
    who holds or held it. Raises OSError if the folder cannot be written to or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _NAME, "a+", encoding="utf-8") as file:
        waited = time.monotonic() + _PATIENCE
        while not _take(file, fcntl.LOCK_EX):
            if time.monotonic() > waited:
                raise FolderInUse(f"{folder} is in use by {_who(_read(file))}; wait, or stop it")
            time.sleep(0.05)
        file.truncate(0)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": now}
        file.write(json.dumps(holder))
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a full disk; who held it last does no harm
                file.truncate(0)


def assert_free(folder: Path) -> None:
    """Raise FolderInUse if another process holds `folder`; what holds it itself must not ask."""
    with contextlib.suppress(FileNotFoundError), open(folder / _NAME, encoding="utf-8") as file:
        if not _take(file, fcntl.LOCK_SH):
            raise FolderInUse(f"{folder} is in use by {_who(_read(file))}; wait, or stop it")


def _take(file, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file) -> dict:
    file.seek(0)
    try:
        holder = json.loads(file.read())
    except ValueError:  # it has just begun
        return {}
    return holder if isinstance(holder, dict) else {}


def _who(holder: dict) -> str:
    if not holder:
        return "another process"
    host = holder.get("host")
    where = "" if host == socket.gethostname() else f" on {host}"
    return f"process {holder.get('pid')}{where} ({holder.get('command')}) since {holder.get('since')}"
