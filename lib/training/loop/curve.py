"""The learning curve of a training: curve.csv in its folder, and TensorBoard's event files on request.

A row holds the step, counted from 1, the seconds trained so far, the images seen a second since the row before, and
each loss of that very step. Of a long training every k-th step has a row, so that there are some thousand at most, and
the last step. SUITE_TENSORBOARD=1 adds the folder tensorboard, which `tensorboard --logdir` shows; it needs the package
tensorboard.
"""

import csv
import hashlib
import io
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core import distributed as ranks
from lib.core.files import atomic
from lib.core.paths import rehearsal
from lib.core.regular_files import require_regular

CURVE = "curve.csv"
_ROWS = 4000  # and the last one
_KNOWN = ("step", "seconds", "images/s")


class Curve(NamedTuple):
    """The rows of a learning curve."""

    names: tuple[str, ...]  # of the losses
    steps: np.ndarray  # (rows,) int64, counted from 1
    values: np.ndarray  # (rows, names) float32


def read_curve(folder) -> Curve:
    """The learning curve of the training in `folder`; FileNotFoundError where none was kept, ValueError if damaged."""
    file = Path(folder) / CURVE
    if not file.exists():
        raise FileNotFoundError(f"There is no learning curve {file}: run the notebook that trains it first.")
    require_regular(file)
    try:
        header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
        table = np.array([[float(value) for value in row] for row in rows]).reshape(len(rows), len(header))
    except ValueError as error:
        raise ValueError(f"The learning curve {file} is truncated or altered: delete it.") from error
    return Curve(tuple(header[len(_KNOWN) :]), table[:, 0].astype(np.int64), table[:, len(_KNOWN) :].astype(np.float32))


class LearningCurve:
    """Writes the curve of a training of `total` steps in `folder`; None keeps nothing.

    start, kept: the step at which the training is continued, and what `flush` returned when that step was saved.
    ImportError where event files are asked for and cannot be written.
    """

    def __init__(self, folder, total: int, *, start: int = 0, kept=None):
        self._folder = None if folder is None else Path(folder)
        self._total, self._every = total, -(-total // _ROWS)
        self._names: list[str] = []
        self._written = b""  # what the file holds, or will
        self._pending: list[tuple[int, float, float, Tensor]] = []  # rows whose losses are still on the device
        self._board = None
        if self._folder is None:
            return
        if os.environ.get("SUITE_TENSORBOARD") and ranks.is_writer():
            self._board = _event_files(self._folder / "tensorboard", start)
        if start:
            self._written = self._rows_until(self._folder / CURVE, start, kept)
        if self._written:
            self._names = next(csv.reader([self._written.decode().splitlines()[0]]))[len(_KNOWN) :]

    @staticmethod
    def _rows_until(file: Path, start: int, kept) -> bytes:
        """The file as it was when step `start` was saved; nothing, with a logged line, where that is not known."""
        if isinstance(kept, dict) and isinstance(size := kept.get("bytes"), int):
            content = (file.read_bytes() if file.exists() else b"")[: max(size, 0)]
            if hashlib.sha256(content).hexdigest() == kept.get("sha256"):
                return content
        logging.getLogger(__name__).warning("%s: the rows up to step %d are not known, it begins after it", file, start)
        return b""

    def has_row(self, step: int) -> bool:
        """Whether step number `step`, counted from 1, has a row; in a rehearsal each that runs."""
        return self._folder is not None and (rehearsal() > 0 or step % self._every == 0 or step == self._total)

    def add(self, step: int, seconds: float, rate: float, losses: dict) -> None:
        """The row of `step`; losses: numbers, or tensors of no dimension, the same names in every step."""
        if not self._names:
            self._names = list(losses)
        missing = dict.fromkeys(self._names, float("nan"))
        if unknown := losses.keys() - missing.keys():
            raise ValueError(f"The losses {sorted(unknown)} of step {step} are not those of the steps before.")
        values = [torch.as_tensor(value, dtype=torch.float32).detach() for value in (missing | losses).values()]
        device = next((value.device for value in values if value.device.type != "cpu"), torch.device("cpu"))
        self._pending.append((step, seconds, rate, torch.stack([value.to(device) for value in values])))

    def flush(self) -> dict | None:
        """Put all rows on disk, if this rank is the writer; what `resume` needs, or None where nothing is kept."""
        if self._folder is None:
            return None
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if not self._written:
            table.writerow([*_KNOWN, *self._names])
        for step, seconds, rate, values in self._pending:
            losses = values.tolist()
            table.writerow([step, f"{seconds:.3f}", f"{rate:.4g}", *(f"{loss:.9g}" for loss in losses)])
            if self._board:
                for name, loss in zip(self._names, losses, strict=True):
                    self._board.add_scalar(name, loss, step)
        self._pending = []
        if added := text.getvalue().encode():
            self._written += added
            with atomic(self._folder / CURVE) as partial:
                partial.write_bytes(self._written)
        if self._board:
            self._board.flush()
        return {"bytes": len(self._written), "sha256": hashlib.sha256(self._written).hexdigest()}


def _event_files(folder: Path, start: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "SUITE_TENSORBOARD asks for event files, and the package tensorboard is not installed: "
            "pip install tensorboard, or unset SUITE_TENSORBOARD."
        ) from error
    return SummaryWriter(str(folder), purge_step=start + 1)
