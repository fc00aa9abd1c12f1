"""How far a long computation is: one line that is rewritten where somebody looks on, plain lines elsewhere.

Not by tqdm: in a notebook it shows widgets, which leave a headless run waiting, and elsewhere it needs carriage returns
and a cursor that moves up, which a log file and the output of a cell do not have.
"""

import itertools
import json
import os
import sys
import time
from datetime import timedelta
from typing import TextIO

from lib.core import distributed as ranks
from lib.core.frontend import is_interactive, seconds_between_lines

_LIVE_SECONDS = 0.5
_MARK = "\x1e"  # begins what a forked process sends to be shown as one rewritten line
_numbers = itertools.count()
_channel: TextIO | None = None  # to the process that shows, in one that was forked


class Line:
    """A line of output; `show` rewrites it where somebody looks on, and elsewhere prints another one."""

    def __init__(self):
        self._handle = None
        self._key = f"{os.getpid()}.{next(_numbers)}"

    def show(self, text: str) -> None:
        """Show `text`, one line; from a forked process, in its parent (`relay_to`, `Relayed`)."""
        if _channel is not None:
            print(_MARK + json.dumps([self._key, text]), file=_channel, flush=True)
        elif not is_interactive():
            # Rank 0 alone speaks, but a rank that trains for itself is heard as well.
            own = ranks.rank() > 0 and ranks.is_writer()
            print(text, file=sys.__stdout__ if own else sys.stdout, flush=True)
        elif self._handle is None:
            from IPython.display import display

            self._handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": text}, raw=True)


def relay_to(channel: TextIO) -> None:
    """From now on the lines of this process are shown by the one that reads `channel`."""
    global _channel
    _channel = channel


def is_relayed() -> bool:
    """Whether another process shows the lines of this one."""
    return _channel is not None


class Relayed:
    """What forked processes write, shown here."""

    def __init__(self):
        self._lines: dict[str, Line] = {}

    def show(self, text: str, stream: TextIO) -> None:
        """Show `text`, one line without its end, as the forked process would have; what is no `Line` on `stream`."""
        text, mark, said = text.partition(_MARK)  # what was printed before may have had no end
        if text or not mark:
            print(text, file=stream, flush=True)
        if mark:
            key, line = json.loads(said)
            self._lines.setdefault(key, Line()).show(line)


class Progress:
    """`report = Progress("MCGAN", total)`, then `report(done, loss=x)` as often as you like; `report.end()`.

    unit: of what is counted. start: where work is resumed; it is not counted in the time left. A line is shown twice a
    second, or headless every `seconds_between_lines`, and at the end. Values may be tensors on a device: they are read
    only when a line is shown.
    """

    def __init__(self, name: str, total: int, *, start: int = 0, unit: str = "steps"):
        self.name, self.total, self.start, self.unit = name, total, start, unit
        self.began = time.monotonic()
        self._every = _LIVE_SECONDS if is_interactive() else seconds_between_lines()
        self._due = self.began + self._every
        self._line = Line()
        self._unshown: tuple[float, float | None, dict] | None = None

    def __call__(self, done: float, *, images: float | None = None, **values) -> None:
        """`done` of `total`, and `images` seen since the start where that is known."""
        self._unshown = done, images, values
        if done == self.total or time.monotonic() >= self._due:
            self.end()

    def end(self) -> None:
        """Show what was reported last, if it is not shown already."""
        if self._unshown is None:
            return
        done, images, values = self._unshown
        self._unshown = None
        now = time.monotonic()
        self._due = now + self._every
        spent = now - self.began
        left = spent / max(done - self.start, 1e-9) * (self.total - done)
        count = f"{done:,}" if isinstance(done, int) else f"{done:,.1f}"
        line = f"{self.name}  {count}/{self.total:,} {self.unit}  {_time(spent)}, {_time(left)} left"
        if images is not None:
            line += f"  {images / max(spent, 1e-9):,.3g} images/s"
        self._line.show(line + "".join(f"  {name} {float(value):.3g}" for name, value in values.items()))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))
