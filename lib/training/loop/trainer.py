"""Training step by step: fetch what is finished, continue what was interrupted, save now and then."""

import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.progress import Progress


class Trainer(Protocol):
    """What is trained: networks and optimisers whose k-th update depends on them and (seed, k) alone."""

    def step(self, step: int) -> dict[str, Tensor]:
        """Do update `step`; the losses by name, of no dimension."""

    def tensors(self) -> dict[str, Tensor]:
        """Every weight and buffer."""

    def state(self) -> dict:
        """Whatever else continuing needs, as lib.training.loop.checkpoint stores it."""

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""


def run_training(
    begin: Callable[[], Trainer], *, name: str, path, settings: dict, steps: int, save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """The weights by name after `steps` updates of what `begin()` returns, kept in folder `path`.

    A finished checkpoint there with the same `settings` is returned without calling `begin`, an unfinished one is
    continued; other settings train anew. It is saved every `save_seconds`. progress: called as
    progress(steps done, **losses) after each update; None prints lines that start with `name`.
    ValueError for a damaged checkpoint, or when a loss is not finite at a save or at the end: nothing is saved then.
    """
    checkpoint = Checkpoint(path, settings)
    found = checkpoint.load()
    if found and checkpoint.finished:
        return found[0]
    training = begin()
    start = 0
    if found:
        tensors, state, start = found
        training.restore(tensors, state)
    report = progress or Progress(name, steps, start=start)
    saved = time.monotonic()
    for step in range(start, steps):
        losses = training.step(step)
        last = step + 1 == steps
        if last or time.monotonic() - saved >= save_seconds:
            if not all(torch.isfinite(loss) for loss in losses.values()):
                at = f"by step {step + 1} (a loss is not finite)"
                raise ValueError(f"The {name} diverged {at}: lower the learning rate.")
            if not last:
                checkpoint.save(training.tensors(), training.state(), step + 1)
                saved = time.monotonic()
        report(step + 1, **losses)
    tensors = training.tensors()
    checkpoint.save(tensors, None, steps, finished=True)
    return tensors


def finished_training(path, what: str) -> tuple[dict[str, Tensor], dict]:
    """Weights and settings of the finished training of `what` in folder `path`, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when it is unfinished or a file is damaged.
    """
    checkpoint = Checkpoint(path, None)
    found = checkpoint.load()
    if found is None:
        raise FileNotFoundError(f"There is no trained {what} in {path}: run the notebook that trains it first.")
    if not checkpoint.finished:
        raise ValueError(f"The training in {path} stopped at step {found[2]}: run it again to finish it.")
    return found[0], checkpoint.settings
