"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lib.core import distributed as ranks


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure.

    A writer that fails or is killed leaves the old file, or none. Of several ranks (lib.core.distributed) only the
    writer leaves a file. Raises OSError that names `path` when the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.{ranks.rank()}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if ranks.is_writer():
            os.replace(partial, path)
    except OSError as error:
        message = f"{path}: could not be written ({error.strerror or error}); free some space and run again"
        raise OSError(error.errno, message) from error
    finally:
        if partial.exists():
            partial.unlink()


def is_partial(path: Path) -> bool:
    """Whether `path` is a temporary one of `atomic`, which a killed writer leaves behind."""
    return path.name.startswith(".") and ".partial" in path.suffixes
