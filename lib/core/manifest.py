"""A manifest: files with the size, time and SHA-256 of each, and what has become of them since."""

import hashlib
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


def damages(files: Mapping[str, Mapping], folder: Path) -> Iterator[str]:
    """A phrase for each file of the manifest `files` that is no longer as described.

    Cheap: a file of the same size and time is taken for the same, and only at another time is its content read. Raises
    TypeError, KeyError or AttributeError for what is no manifest.
    """
    for name, told in files.items():
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            yield f"{name} is absent"
            continue
        if status.st_size != told["size"]:
            yield f"{name} is damaged ({status.st_size:,} bytes of {told['size']:,})"
        elif status.st_mtime_ns != told["mtime_ns"] and sha256(folder / name) != told["sha256"]:
            yield f"{name} is damaged (its content has changed)"


def sha256(path: Path) -> str:
    """SHA-256 of the file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
