"""Checkpoints of a training: safetensors weights, weights-only optimiser state, JSON settings.

A checkpoint is a folder::

    checkpoint.json        settings, step, finished, SHA-256 of the two files below; written last
    step-40.safetensors    the weights (final.safetensors once finished)
    step-40.pt             whatever else resuming needs, as torch.load(weights_only=True) reads it

The JSON file is the commit: it is replaced only after the files it vouches for are whole on disk, so that a
killed run leaves the previous checkpoint or the new one, never a mixture. Everything read is untrusted:
nothing is unpickled and no file name is taken from the JSON.

    saved = Checkpoint(folder, settings)
    if found := saved.load():
        tensors, state, step = found        # saved.finished says whether anything is left to do
    saved.save(tensors, state, step)        # as often as is worth it
    saved.save(tensors, None, step, finished=True)
"""

import hashlib
import io
import json
import logging
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from lib.core import distributed as ranks
from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.models.pretrained.weights import first_not_finite

_JSON = "checkpoint.json"


class Checkpoint:
    """One training's place on disk.

    `path`: folder, made when first saved. `settings`: everything that decides the result (resolved settings,
    seed, data digest), JSON-able; None accepts, and after `load` holds, whatever settings are stored there.
    `finished`: whether the checkpoint last loaded or saved is of a completed training.
    """

    def __init__(self, path, settings: dict | None):
        self.path = Path(path)
        self.settings = None if settings is None else _jsonable(settings)
        self.finished = False

    def load(self) -> tuple[dict[str, torch.Tensor], dict | None, int] | None:
        """(weights by name on the CPU, state or None, step); None when there is nothing to go on from.

        Stored settings that differ from those asked for also give None, with a logged line that names them:
        the caller trains again, and the old checkpoint stays until the first new `save`. All ranks meet here, and
        go on from what the writer finds under the writer's settings.
        ValueError: a file of the checkpoint is missing, truncated or altered. OSError where ranks find different ones.
        """
        self.settings = ranks.broadcast(self.settings)
        found = self._load()
        ranks.assert_equal_across_ranks(found and [found[2], self.finished], f"the checkpoint {self.path}")
        return found

    def stored(self) -> dict | None:
        """The settings of what is stored, whether finished or not, None where nothing is; ValueError if damaged."""
        return self._record()["settings"] if (self.path / _JSON).exists() else None

    def _load(self) -> tuple[dict[str, torch.Tensor], dict | None, int] | None:
        self.finished = False
        if not (self.path / _JSON).exists():
            return None
        record = self._record()
        if self.settings is None:
            self.settings = record["settings"]
        if changed := _differences(record["settings"], self.settings):
            logging.getLogger(__name__).warning("%s: training again, because %s", self.path, changed)
            return None
        weights, state = self._names(record["step"], record["finished"])
        for file in (weights, state):
            expected = record["sha256"].get(file.suffix)
            if expected is not None and (not file.exists() or _sha256(file) != expected):
                raise self._damaged(file)
        try:
            tensors = load_file(weights)
            rest = torch.load(state, weights_only=True, map_location="cpu") if ".pt" in record["sha256"] else None
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
        self.finished = record["finished"]
        return tensors, rest, record["step"]

    def save(
        self, tensors: dict[str, torch.Tensor], state: dict | None, step: int, *, finished: bool = False
    ) -> None:  # fmt: skip
        """Replace the checkpoint, if this rank is the writer.

        state: None, or nested dicts and lists of tensors, numbers and strings. OSError naming the file when the disk is
        full; the previous checkpoint is then still whole.
        """
        if self.settings is None:
            raise ValueError(f"The checkpoint {self.path} was opened without settings, only to be read.")
        if not ranks.is_writer():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        weights, rest = self._names(step, finished)
        digests = {".safetensors": _write(weights, to_bytes({k: _plain(v) for k, v in tensors.items()}))}
        if state is not None:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            digests[".pt"] = _write(rest, buffer.getbuffer())
        record = {
            "step": step, "finished": finished, "settings": self.settings,
            "sha256": digests, "torch": torch.__version__,
        }  # fmt: skip
        _write(self.path / _JSON, json.dumps(record, indent=1).encode())
        self.finished = finished
        current = {weights, rest} if state is not None else {weights}
        for old in self.path.iterdir():
            if re.fullmatch(r"(step-\d+|final)\.(safetensors|pt)", old.name) and old not in current:
                old.unlink()

    def _names(self, step: int, finished: bool) -> tuple[Path, Path]:
        # A finished checkpoint has a name of its own, so that it never overwrites the partial one of its step.
        stem = "final" if finished else f"step-{step}"
        return self.path / f"{stem}.safetensors", self.path / f"{stem}.pt"

    def _record(self) -> dict:
        try:
            record = read_object(self.path / _JSON)
            sound = (
                type(record["step"]) is int
                and type(record["finished"]) is bool
                and isinstance(record["settings"], dict)
                and record["sha256"].keys() <= {".safetensors", ".pt"}
                and all(
                    isinstance(digest, str) for digest in (record["sha256"][".safetensors"], *record["sha256"].values())
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(self.path / _JSON) from error
        if not sound:
            raise self._damaged(self.path / _JSON)
        return record

    def _damaged(self, file: Path) -> ValueError:
        return ValueError(
            f"The checkpoint file {file} is missing, truncated or altered: "
            f"delete the folder {self.path} and run again to train from the start."
        )


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
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
