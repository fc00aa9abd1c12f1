"""A manifest: files with the size, time and SHA-256 of each, and what has become of them since."""

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def describe(paths: Iterable[Path], folder: Path) -> dict[str, dict]:
    """Path from `folder` → size in bytes, mtime_ns and sha256 of each file, sorted by path."""
    entries = {}
    for path in sorted(paths):
        status = path.stat()
        entries[path.relative_to(folder).as_posix()] = {
            "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path),
        }  # fmt: skip
    return entries


def damaged(files: Mapping[str, Mapping], folder: Path) -> Iterator[tuple[str, str]]:
    """Name of each file of the manifest `files` that is no longer as described, and a phrase that says what it is.

    Cheap: a file of the same size and time is taken for the same, and only at another time is its content read. Raises
    TypeError, KeyError or AttributeError for what is no manifest, and ValueError for a file outside `folder`.
    """
    for name, told in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} is no file of {folder}")
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            yield name, f"{name} is absent"
            continue
        if not stat.S_ISREG(status.st_mode):
            yield name, f"{name} is no file: move it away"
        elif status.st_size != told["size"]:
            yield name, f"{name} is damaged ({status.st_size:,} bytes of {told['size']:,})"
        elif status.st_mtime_ns != told["mtime_ns"] and sha256(folder / name) != told["sha256"]:
            yield name, f"{name} is damaged (its content has changed)"


def damages(files: Mapping[str, Mapping], folder: Path) -> Iterator[str]:
    """The phrases of `damaged`."""
    return (phrase for _, phrase in damaged(files, folder))


def sha256(path: Path) -> str:
    """SHA-256 of the file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
