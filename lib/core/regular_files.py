"""Files that are read to their end: what has none, as a pipe or a device, is refused before it is opened."""

import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(path: str | Path) -> None:
    """Raise ValueError, naming `path`, if it is a pipe, a device, a socket or a folder; what is absent passes."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:  # whoever opens it says so
        return
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path}: {kind_of_mode(mode)}, no regular file; give a file")


def kind_of_mode(mode: int) -> str:
    """What a file of `st_mode` is that is no regular one, as "a folder" or "a pipe"."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def refuse_unreadable(path: str | Path, error: Exception) -> None:
    """Raise ValueError, naming `path`, if `error` is one of the file system and not of what the file contains."""
    if isinstance(error, PermissionError):
        raise ValueError(f"{path}: no permission to read it; allow it or take it out") from error
    if isinstance(error, OSError) and error.errno is not None:  # decoders raise theirs without a number
        raise ValueError(f"{path}: cannot be read ({error.strerror}); repair the file system or take it out") from error
