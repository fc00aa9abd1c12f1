"""The course of a training: shown while it goes on, kept as a learning curve, summed up in its checkpoint."""

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import torch

from lib.core.paths import root
from lib.training.loop.curve import LearningCurve
from lib.training.loop.progress import Progress, is_relayed

_said: set[tuple[str, str]] = set()  # what this process said to be loaded
_BEGUN = int(time.time())


class Course:
    """Of a training called `name`, of `total` units (steps, epochs, rounds), kept in folder `path`, or None.

    start, made: where it is continued, and its checkpoint's facts. progress: called as progress(done, **losses) after
    each unit instead of showing lines. ImportError where TensorBoard is asked for and absent.
    """

    def __init__(
        self, name: str, *, total: int, unit: str = "steps", path=None, start: int = 0, made: dict | None = None,
        progress: Callable | None = None,
    ):  # fmt: skip
        made = made or {} if start else {}
        self._unit, self._progress = unit, progress
        self._seconds, self._images = (_number(made.get(key)) for key in ("seconds", "images"))  # trained so far
        self._curve = LearningCurve(path, total, start=start, kept=made.get("curve"))
        self._lines = None if progress else Progress(called(name, path), total, start=start, unit=unit)
        self._start, self._before = self._images, (self._seconds, self._images)  # the latter at the last row
        self._began = time.monotonic() - self._seconds
        self._shown: dict = {}

    def show_within(self, done: float, *, images: float) -> None:
        """Show that a unit is partly done: `done` of them, the last one by a fraction, and `images` of it seen.

        The losses shown are those of the unit before.
        """
        if self._lines:
            self._lines(done, images=self._images + images - self._start, **self._shown)

    def add(self, done: int, *, images: float, losses: dict) -> None:
        """Unit number `done`, counted from 1, is done, in which `images` were seen: its row of the curve."""
        self._images += images
        if self._curve.has_row(done):
            self._seconds = time.monotonic() - self._began
            spent, seen = self._seconds - self._before[0], self._images - self._before[1]
            self._curve.add(done, self._seconds, seen / max(spent, 1e-9), losses)
            self._before = self._seconds, self._images

    def show(self, done: int, losses: dict) -> None:
        """Show that unit number `done` is done."""
        self._shown = losses
        if self._lines:
            self._lines(done, images=self._images - self._start, **losses)
        elif self._progress:
            self._progress(done, **losses)

    def kept(self) -> dict:
        """Put the curve on disk; the facts for the checkpoint: seconds, images/s, peak memory, and what resumes them.

        The memory is the GPU's, or the most that this process has held so far.
        """
        self._seconds = time.monotonic() - self._began
        return {
            "unit": self._unit, "seconds": round(self._seconds, 3), "images": self._images,
            "images_per_second": round(self._images / max(self._seconds, 1e-9), 2), "peak_memory_mb": _peak_memory(),
            "curve": self._curve.flush(),
        }  # fmt: skip

    def end(self) -> None:
        """Show the last line, if it is not shown already."""
        if self._lines:
            self._lines.end()


def called(name: str, path) -> str:
    """A training's name in lines: that of its method, after its folder's and the one around it."""
    return name if path is None else f"{'/'.join(Path(path).parts[-2:])}: {name}"


def say_loaded(path, made: dict, origin: str) -> None:
    """Say, once, that a finished training was loaded and what `origin` says of it, unless it was made a moment ago.

    That is, trained since this process began: as by `run_ahead`, in whose processes nothing is said, since all is
    loaded again in the one that forked them. The folder is shown from the project's on, as executed notebooks are
    published.
    """
    try:
        made_at = datetime.fromisoformat(str(made.get("date"))).timestamp()
        is_new = made_at >= _BEGUN and "stored" not in made
    except ValueError:
        is_new = False
    if not is_new and not is_relayed() and (key := (str(path), origin)) not in _said:
        _said.add(key)
        folder = str(Path(path).resolve()).removeprefix(f"{root().resolve()}{os.sep}")
        print(f"loaded the finished training {folder}, {origin}", flush=True)


def _number(value) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _peak_memory() -> float | None:
    """In MB; None where the system does not tell."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(highest * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
