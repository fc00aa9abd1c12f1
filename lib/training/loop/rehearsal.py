"""What a rehearsal leaves out of trainings and of networks in use, and how long that would take.

A training runs a few of its steps or batches, from which follows how long all of them would take; where trainings of a
kind took long, the next ones are taken to go at their pace, and see a few images of one batch. A network that would be
long over many rows is given some of them.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.core.paths import rehearsal

_FEW = 4
_LONG = 60.0  # seconds: where a first step takes more, what it makes for later ones is a small part of it
_SHOWN = 4  # images of a batch, of a training whose pace is known
_PASS = 3.0  # seconds that a network in use is given for the rows of one pass
_skipped = 0.0  # seconds that the rows which this process left out would have taken
_seen_whole: set[tuple[str, int]] = set()  # kinds of passes, and the batch of which a whole one was run


def some_rows(function: Callable[[slice], Tensor], rows: int, batch: int, kind: str) -> Tensor | None:
    """`function` of some of the `rows`, (rows, ...), where all would take long; None elsewhere.

    Those are spread evenly, the first and the last among them, and the other rows have their answers in turn, so that
    answers vary. Of each `kind` that is long the first time a whole batch runs instead, so that its memory is seen. The
    seconds that are left out count as if they had passed.
    """
    began, known = time.monotonic(), (kind, batch) in _seen_whole
    for _ in range(1 if known else 2):  # the first makes what later ones find
        probed = time.monotonic()
        function(slice(0, 1))
    pace = max(time.monotonic() - probed, 1e-9)
    size = min(batch, rows, max(1, int(_PASS / 4 / pace)))
    pieces = max(2, int(_PASS / (pace * size)))
    if size < batch and not known:
        _seen_whole.add((kind, batch))
        size, pieces = min(batch, rows), 1
    if size * pieces >= rows:
        return None
    starts = torch.linspace(0, rows - size, pieces).round().int().tolist()
    probed, began = time.monotonic() - began, time.monotonic()
    found = torch.cat([function(slice(start, start + size)) for start in starts])
    seen = torch.cat([torch.arange(start, start + size) for start in starts])
    _skip((time.monotonic() - began) * (rows - len(seen)) / len(seen) - probed)
    answered = torch.arange(rows) % len(seen)
    answered[seen] = torch.arange(len(seen))
    return found[answered.to(found.device)]


def alike(parts: Sequence[int]) -> Iterator[int]:
    """Each of the numbered `parts` of one step, which take equally long; in a rehearsal those of the first minute.

    The seconds of the others count as if they had passed, so that parts may have parts.
    """
    began = _now()
    for done, part in enumerate(parts, start=1):
        yield part
        taken = _now() - began
        if rehearsal() and taken > _LONG and done < len(parts):
            _skip(taken * (len(parts) - done) / done)
            return


def _skip(seconds: float) -> None:
    global _skipped
    _skipped += seconds
    _note("networks in use", -seconds, 0.0, by_image=True)  # as the notebook's other seconds


def _now() -> float:
    return time.monotonic() + _skipped


class _Batched:
    most: int | None = None  # images of a batch that are shown; None: all
    _left_out = 0.0  # seconds that the batches of the last step or epoch would take that a rehearsal left out

    def batches(self, rows: int, batch: int) -> Iterator[slice]:
        """Each batch of the `rows` of a step or epoch; in a rehearsal those of the first minute, or a few rows."""
        began, self._left_out = _now(), 0.0
        for start in range(0, rows, batch):
            yield slice(start, seen := min(start + (self.most or batch), start + batch, rows))
            taken = _now() - began
            if self.most is not None or (rehearsal() and taken > _LONG and seen < rows):
                self._left_out = taken * (rows - seen) / seen
                return


class Steps(_Batched):
    """The numbers of the steps of the training `name` from `start` on.

    In a rehearsal on two parts a few, evenly spread over all, as some cost more than others; all are taken to cost as
    much as these, without the first, which also makes what the later ones find. On one part the last alone, which no
    length follows from. by_image: whether a step shows every image, so that it takes longer with more of them.
    """

    def __init__(self, name: str, start: int, steps: int, *, by_image: bool = False):
        self._name, self._start, self._steps, self._by_image = name, start, steps, by_image

    def __iter__(self) -> Iterator[int]:
        if not rehearsal():
            yield from range(self._start, self._steps)
            return
        few = _FEW if rehearsal() > 1 else 1
        numbers = sorted({self._steps - 1 - round(part * (self._steps - 1) / (_FEW - 1)) for part in range(few)})
        times = [_now()]
        for number in numbers:
            yield number
            times.append(_now())
            if times[1] - times[0] > _LONG:
                break
        measured = times[1:] if len(times) > 2 else times
        each = (measured[-1] - measured[0]) / (len(measured) - 1) + self._left_out
        _note(self._name, times[-1] - times[0], self._steps * each, by_image=self._by_image)


class Epochs(_Batched):
    """The numbers of the epochs of the training `name` of `network` from `start` on; in a rehearsal the first alone.

    images: of an epoch. by_image: whether an epoch shows every image, so that it takes longer with more of them.
    `most`: how many images of a batch are shown, None for all: a few in a rehearsal where a training of the same name,
    of as many weights, took long before (on two parts two of them), whose pace then tells the length of this one.
    """

    def __init__(self, name: str, start: int, epochs: int, *, network: nn.Module, images: int, by_image: bool = True):
        weights = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self._name, self._start, self._epochs, self._by_image = f"{name}, {weights:,} weights", start, epochs, by_image
        self._images = images
        self._pace = _pace(self._name) if rehearsal() else None
        self.most = None if self._pace is None else _SHOWN

    def __iter__(self) -> Iterator[int]:
        if not rehearsal():
            yield from range(self._start, self._epochs)
            return
        began = _now()
        yield 0
        spent = _now() - began
        pace = (spent + self._left_out) / self._images if self._pace is None else self._pace
        whole = self._epochs * pace * self._images
        _note(self._name, spent, whole, by_image=self._by_image, pace=pace if self._pace is None else None)


def _notes() -> Path | None:
    """The file that the runner names, which has a line of JSON for each rehearsed training of the notebook."""
    file = os.environ.get("SUITE_REHEARSED")
    return Path(file) if file else None


def _pace(name: str) -> float | None:
    """Seconds an image of an epoch of trainings `name`, where as many as it takes went on for long; else None."""
    file = _notes()
    if file is None or not file.exists():
        return None
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    paces = [of["pace"] for of in found if of["name"] == name and of["spent"] > _LONG / 3 and of.get("pace")]
    return sum(paces) / len(paces) if len(paces) >= rehearsal() else None


def _note(name: str, spent: float, whole: float, *, by_image: bool, pace: float | None = None) -> None:
    if file := _notes():
        of = {"name": name, "spent": spent, "whole": whole, "by_image": by_image}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(of | ({} if pace is None else {"pace": pace})) + "\n")
