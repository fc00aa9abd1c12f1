"""Checkpoints of a training: safetensors weights, weights-only optimiser state, JSON settings.

A checkpoint is a folder::

    checkpoint.json        settings, step, finished, SHA-256 of the two files below, how it was made; written last
    step-40.safetensors    the weights (final.safetensors once finished)
    step-40.pt             whatever else resuming needs, as torch.load(weights_only=True) reads it
    previous.json          of an unfinished training, the same of the checkpoint before, with its two files
    .lock                  while somebody trains: who

The JSON file is the commit: it is replaced only after the files it vouches for are whole on disk, so that a
killed run leaves the previous checkpoint or the new one, never a mixture. Everything read is untrusted:
nothing is unpickled and no file name is taken from the JSON.

    with Checkpoint(folder, settings) as saved:  # one writer a folder
        if found := saved.load():
            tensors, state, step = found         # saved.finished says whether anything is left to do
        saved.save(tensors, state, step)         # as often as is worth it
        saved.save(tensors, None, step, finished=True)
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from lib.core import distributed as ranks
from lib.core import seeding
from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.core.lock import assert_free, sole_writer
from lib.core.machine import machine
from lib.core.regular_files import require_regular
from lib.core.revision import revision
from lib.models.pretrained.weights import first_not_finite, load_stored

_JSON, _PREVIOUS = "checkpoint.json", "previous.json"
_LETTERS = 120  # of the command that a second writer is told


class Checkpoint:
    """One training's place on disk.

    `path`: folder, made when first saved. `settings`: everything that decides the result (resolved settings,
    seed, data digest), JSON-able; None accepts, and after `load` holds, whatever settings are stored there.
    `finished`: whether the checkpoint last loaded or saved is of a completed training. `made`: how it was made (see
    `save`), which decides nothing; empty where nothing is known.

    As a context manager it holds the folder for this process, unless what is stored there is the finished training of
    these settings, which is only read. OSError where another process holds it. Reading needs no lock.
    """

    def __init__(self, path, settings: dict | None):
        self.path = Path(path)
        self.settings = None if settings is None else _jsonable(settings)
        self.finished = False
        self.made: dict = {}
        self._record_before: dict | None = None  # of the checkpoint last loaded or saved
        self._lock = contextlib.ExitStack()
        self._is_held = False

    def __enter__(self):
        problem = self._hold() if ranks.is_writer() else None
        if problem := ranks.broadcast(problem):
            self._release()
            raise OSError(problem)
        return self

    def __exit__(self, *_):
        self._release()

    def _hold(self) -> str | None:
        """Take the lock where there is something to write; what prevents it."""
        with contextlib.suppress(ValueError, OSError):
            record = self._record(self.path / _JSON)
            if record["finished"] and record["settings"] == self.settings:
                return None
        try:
            self._lock.enter_context(self._sole_writer())
        except OSError as problem:
            return str(problem)
        self._is_held = True
        return None

    def _sole_writer(self) -> contextlib.AbstractContextManager[None]:
        command = shlex.join([os.path.basename(sys.executable or "python"), *sys.argv])
        return sole_writer(self.path, f"{command[:_LETTERS]} in {os.getcwd()}")

    def _release(self) -> None:
        self._is_held = False
        self._lock.close()

    def load(self) -> tuple[dict[str, torch.Tensor], dict | None, int] | None:
        """(weights by name on the CPU, state or None, step); None when there is nothing to go on from.

        Stored settings that differ from those asked for also give None, with a logged line that names them:
        the caller trains again, and the old checkpoint stays until the first new `save`. All ranks meet here, and
        go on from what the writer finds under the writer's settings. Where a file is missing, truncated or altered, the
        checkpoint before is loaded, with a logged line. ValueError: there is none. OSError where ranks find different
        ones, or another process is writing.
        """
        self.settings = ranks.broadcast(self.settings)
        found = self._load()
        ranks.assert_equal_across_ranks(found and [found[2], self.finished], f"the checkpoint {self.path}")
        return found

    def stored(self) -> dict | None:
        """The settings of what is stored, whether finished or not, None where nothing is; ValueError if damaged."""
        return self._record(self.path / _JSON)["settings"] if (self.path / _JSON).exists() else None

    def weights_digest(self) -> str:
        """The SHA-256 of the stored weights; ValueError where there are none, or the record is damaged."""
        return self._record(self.path / _JSON)["sha256"][".safetensors"]

    def _load(self) -> tuple[dict[str, torch.Tensor], dict | None, int] | None:
        self.finished, self.made, self._record_before = False, {}, None
        newest, previous = self.path / _JSON, self.path / _PREVIOUS
        while True:
            seen = _content(newest)
            try:
                if seen or not previous.exists():
                    return self._read(newest) if seen else None
                raise self._damaged(newest)
            except ValueError as damage:
                if _content(newest) != seen:  # another process has saved meanwhile
                    continue
                problem = damage
            break
        if not previous.exists():
            if ranks.is_writer() and not self._is_held:
                assert_free(self.path)
            raise problem
        try:
            found = self._read(previous)
        except ValueError:
            raise problem from None
        if found:
            about = str(problem).partition(":")[0]
            logging.getLogger(__name__).warning("%s: going on from the one before, of step %d", about, found[2])
        return found

    def _read(self, file: Path) -> tuple[dict[str, torch.Tensor], dict | None, int] | None:
        """What the JSON `file` vouches for; None under other settings. ValueError where anything is damaged."""
        record = self._record(file)
        if self.settings is not None and (changed := _differences(record["settings"], self.settings)):
            logging.getLogger(__name__).warning("%s: training again, because %s", self.path, changed)
            return None
        weights, state = self._names(record["step"], record["finished"])
        for file in (weights, state):
            expected = record["sha256"].get(file.suffix)
            if expected is not None and _sha256(file) != expected:
                raise self._damaged(file)
        try:
            tensors = load_file(weights)
            rest = load_stored(state) if ".pt" in record["sha256"] else None
            # A single number may be infinite, such as the best score of a training that has not yet found one.
            diverged = first_not_finite({name: v for name, v in tensors.items() if v.ndim or not v.isinf()})
        except Exception as error:  # whatever a hostile file makes the readers raise
            raise self._damaged(weights) from error
        if not (rest is None or isinstance(rest, dict)):
            raise self._damaged(state)
        if diverged:
            raise ValueError(
                f"The checkpoint file {weights} holds NaN or infinity in {diverged}, so its training has diverged: "
                f"delete the folder {self.path} and train with other settings."
            )
        if self.settings is None:
            self.settings = record["settings"]
        self.finished, self.made, self._record_before = record["finished"], _made(record), record
        return tensors, rest, record["step"]

    def save(
        self, tensors: dict[str, torch.Tensor], state: dict | None, step: int, *, finished: bool = False,
        made: dict | None = None,
    ) -> None:  # fmt: skip
        """Replace the checkpoint, if this rank is the writer; the one before is kept until the training is finished.

        state: None, or nested dicts and lists of tensors, numbers and strings. made: facts for `made`, JSON-able, to
        which revision, date, torch and the arithmetic of this host are added. OSError naming the file when the disk is
        full; the previous checkpoint is then still whole; OSError where another process holds the folder.
        """
        if self.settings is None:
            raise ValueError(f"The checkpoint {self.path} was opened without settings, only to be read.")
        if not ranks.is_writer():
            return
        self._save(to_bytes({k: _plain(v) for k, v in tensors.items()}), state, step, finished, made or {})

    def adopt(self, source: "Checkpoint", stored: str) -> None:
        """Replace the checkpoint by the finished one of `source`, whose weights are copied byte for byte.

        stored: its name, which `made` keeps as "stored". ValueError where the source is damaged or unfinished, and
        OSError as `save`; the checkpoint is then as before.
        """
        found = source.load()
        if found is None or not source.finished:
            raise source._damaged(source.path / _JSON)
        if ranks.is_writer():
            content = source._names(found[2], True)[0].read_bytes()
            self._save(content, None, found[2], True, source.made | {"stored": stored})
        ranks.barrier()

    def _save(self, content: bytes, state: dict | None, step: int, finished: bool, made: dict) -> None:
        with contextlib.nullcontext() if self._is_held else self._sole_writer():
            self._replace(content, state, step, finished, made)

    def _replace(self, content: bytes, state: dict | None, step: int, finished: bool, made: dict) -> None:
        weights, rest = self._names(step, finished)
        digests = {".safetensors": _write(weights, content)}
        if state is not None:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            digests[".pt"] = _write(rest, buffer.getbuffer())
        made = _provenance(self.settings or {}) | made
        record = {"step": step, "finished": finished, "settings": self.settings, "sha256": digests, "made": made}
        current, before = {weights, rest} if state is not None else {weights}, self._record_before
        if before and not finished and not before["finished"] and before["step"] != step:
            _write(self.path / _PREVIOUS, json.dumps(before, indent=1).encode())
            current |= set(self._names(before["step"], False))
            current.add(self.path / _PREVIOUS)
        _write(self.path / _JSON, json.dumps(record, indent=1).encode())
        self.finished, self.made, self._record_before = finished, made, record
        for old in self.path.iterdir():
            is_ours = old.name == _PREVIOUS or re.fullmatch(r"(step-\d+|final)\.(safetensors|pt)", old.name)
            if is_ours and old not in current:
                old.unlink()

    def origin(self, step: int | None) -> str:
        """How the checkpoint last loaded, of `step` where that is worth saying, was made: a part of a sentence."""
        revision, date, unit = (_printable(self.made.get(key)) for key in ("revision", "date", "unit"))
        stored = _printable(self.made.get("stored"))
        said = f"from weights/{stored}, " if stored else ""
        said += f"made by revision {revision or 'unknown'}" + (f" on {date[:16]}" if date else "")
        return said if step is None else f"{said}, {step:,} {unit or 'steps'}"

    def _names(self, step: int, finished: bool) -> tuple[Path, Path]:
        # A finished checkpoint has a name of its own, so that it never overwrites the partial one of its step.
        stem = "final" if finished else f"step-{step}"
        return self.path / f"{stem}.safetensors", self.path / f"{stem}.pt"

    def _record(self, file: Path) -> dict:
        try:
            record = read_object(file)
            digests = record["sha256"]
            sound = (
                type(record["step"]) is int
                and type(record["finished"]) is bool
                and isinstance(record["settings"], dict)
                and isinstance(digests, dict)
                and ".safetensors" in digests
                and digests.keys() <= {".safetensors", ".pt"}
                and all(isinstance(digest, str) for digest in digests.values())
            )
        except (ValueError, KeyError) as error:
            raise self._damaged(file) from error
        if not sound:
            raise self._damaged(file)
        return record

    def _damaged(self, file: Path) -> ValueError:
        return ValueError(
            f"The checkpoint file {file} is missing, truncated or altered: "
            f"delete the folder {self.path} and run again to train from the start."
        )


def _made(record: dict) -> dict:
    made = record.get("made")
    return made if isinstance(made, dict) else {}


def _printable(value) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 80 else ""


def _provenance(settings: dict) -> dict:
    """By which code and arithmetic a training of these settings comes about in this process, and when."""
    return {
        "revision": revision(),
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "torch": torch.__version__,
        "machine": machine(),
        "arithmetic": seeding.arithmetic_here(settings.get("precision", "float32")),
    }


def _content(file: Path) -> bytes:
    try:
        require_regular(file)
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _differences(stored: dict, asked: dict) -> str:
    return ", ".join(
        f"{key} was {stored.get(key, 'absent')!r} and is {asked.get(key, 'absent')!r}"
        for key in sorted(stored.keys() | asked.keys())
        if key not in stored or key not in asked or stored[key] != asked[key]
    )


def _jsonable(settings: dict) -> dict:
    """The settings as JSON gives them back (tuples become lists), so that equality survives the disk."""

    def scalar(value):
        if isinstance(value, np.generic):
            return value.item()
        raise ValueError(f"The setting {value!r} of a checkpoint is a {type(value).__name__}, not JSON.")

    return json.loads(json.dumps(settings, default=scalar, allow_nan=False))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    # safetensors stores neither strides (channels_last) nor shared storage.
    return tensor.detach().cpu().contiguous().clone()


def _write(file: Path, content) -> str:
    # Through Python's own write: a full disk is then an OSError, which `atomic` names the file of.
    with atomic(file) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _sha256(file: Path) -> str:
    """Of its content; empty where there is none, which another process may have removed since its record was read."""
    require_regular(file)
    try:
        with open(file, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
