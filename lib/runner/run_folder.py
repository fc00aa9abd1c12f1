"""The folder of a run, data/runs/TAG: held by one process at a time, free of what killed ones left in it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.core.files import advice, scratch_name, sweep, sweep_scratch
from lib.core.lock import FolderInUse, sole_writer
from lib.core.paths import root
from lib.runner.plan import Notebook

_LONGEST = 60  # letters of a temporary folder's name: with ours behind it, a Unix socket's path may have 107


@contextlib.contextmanager
def hold(folders: Iterable[Path], command: str) -> Iterator[None]:
    """Hold these run folders until the block ends, and sweep them, their figures, data and the temporary folder.

    `command`: what others are told of us. Raises FolderInUse if another process holds one of them, and OSError that
    names the folder and what helps if nothing can be written there or to its figures.
    """
    with contextlib.ExitStack() as locks:
        for folder in dict.fromkeys(folders):
            figures = root() / "figures" / folder.name
            for tried in (folder, figures):
                try:
                    tried.mkdir(parents=True, exist_ok=True)
                    with tempfile.TemporaryFile(dir=tried) as file:
                        file.write(bytes(4096))  # a full disk still makes files, and they stay empty
                    if tried == folder:
                        locks.enter_context(sole_writer(folder, command))
                except FolderInUse:
                    raise
                except OSError as error:
                    helps = advice(error, tried) or "look at its disk and run again"
                    raise OSError(f"{tried}: cannot be written ({error.strerror or error}); {helps}") from error
            sweep(folder)
            sweep(figures)
            # Snakemake's own books, which nothing reads: of a killed run now, of this one when it has ended.
            locks.callback(shutil.rmtree, folder / ".snakemake", ignore_errors=True)
        for place in ("raw", "cohorts", "weights"):
            sweep(root() / "data" / place)
        for place in {tempfile.gettempdir(), _short_folder()}:
            sweep_scratch(Path(place))
        yield


def set_aside(notebook: Notebook) -> list[str]:
    """Move trainings away that were damaged since they were finished, for a notebook stops at them; what was moved."""
    said = []
    for folder in notebook.damaged_trainings():
        kept = notebook.run_folder / "damaged" / folder.relative_to(notebook.run_folder)
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(kept)
        places = (place.relative_to(root()).as_posix() for place in (folder, kept))
        said.append("{} was damaged: it is trained again, and kept in {}".format(*places))
    return said


def sockets_folder() -> tempfile.TemporaryDirectory:
    """A temporary folder whose path is short enough for Unix sockets, also where TMPDIR is not.

    Raises OSError, naming TMPDIR, if there is no such place.
    """
    return tempfile.TemporaryDirectory(prefix=scratch_name(), dir=_short_folder(), ignore_cleanup_errors=True)


def _short_folder() -> str:
    own = tempfile.gettempdir()
    for folder in (own, os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"):
        if folder and len(os.fsencode(folder)) <= _LONGEST and os.access(folder, os.W_OK):
            return folder
    raise OSError(
        f"TMPDIR {own} is too long for sockets ({len(own)} letters): export TMPDIR=/tmp, or another short one"
    )


def last_line(log: Path) -> str:
    """The last line of a log, but for lines of code below a warning; empty where there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line for line in reversed(lines) if line[:1].strip()), "")
