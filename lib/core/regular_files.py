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
        raise ValueError(f"{path}: {_KINDS.get(stat.S_IFMT(mode), 'something else')}, no regular file; give a file")
