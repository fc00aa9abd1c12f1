"""A rehearsed training: a few of its steps or batches, from which follows how long all of them would take."""

import json
import os
import time
from collections.abc import Iterator

from lib.core.paths import rehearsal

_FEW = 4
_LONG = 60.0  # seconds: where a first step takes more, what it makes for later ones is a small part of it


def steps_of(name: str, start: int, steps: int) -> Iterator[int]:
    """The numbers of the steps of the training `name` from `start` on.

    In a rehearsal on two parts a few, evenly spread over all, as some cost more than others; all are taken to cost as
    much as these, without the first, which also makes what the later ones find. On one part the last alone, which no
    length follows from.
    """
    if not rehearsal():
        yield from range(start, steps)
        return
    few = _FEW if rehearsal() > 1 else 1
    numbers = sorted({steps - 1 - round(part * (steps - 1) / (_FEW - 1)) for part in range(few)})
    times = [time.monotonic()]
    for number in numbers:
        yield number
        times.append(time.monotonic())
        if times[1] - times[0] > _LONG:
            break
    measured = times[1:] if len(times) > 2 else times
    _note(name, times[-1] - times[0], steps * (measured[-1] - measured[0]) / (len(measured) - 1), by_image=False)


class Epochs:
    """The numbers of the epochs of the training `name` from `start` on; in a rehearsal the first alone.

    by_image: whether an epoch shows every image, so that it takes longer with more of them.
    """

    def __init__(self, name: str, start: int, epochs: int, *, by_image: bool = True):
        self._name, self._start, self._epochs, self._by_image = name, start, epochs, by_image
        self._left_out = 0.0  # seconds that the batches of the first epoch would take that a rehearsal leaves out

    def __iter__(self) -> Iterator[int]:
        if not rehearsal():
            yield from range(self._start, self._epochs)
            return
        began = time.monotonic()
        yield 0
        spent = time.monotonic() - began
        _note(self._name, spent, self._epochs * (spent + self._left_out), by_image=self._by_image)

    def batches(self, images: int, batch: int) -> Iterator[int]:
        """Where each batch of the `images` of an epoch starts; in a rehearsal those of the first minute."""
        began = time.monotonic()
        for start in range(0, images, batch):
            yield start
            seen, taken = start + batch, time.monotonic() - began
            if rehearsal() and taken > _LONG and seen < images:
                self._left_out = taken * (images - seen) / seen
                return


def _note(name: str, spent: float, whole: float, *, by_image: bool) -> None:
    if file := os.environ.get("SUITE_REHEARSED"):  # the runner names a file, which has a line of JSON for each
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"name": name, "spent": spent, "whole": whole, "by_image": by_image}) + "\n")
