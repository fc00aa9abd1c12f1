"""Checkpoints: whole files or a refusal that names the file, whenever the writer is killed."""

import numpy as np
import pytest
import torch

from lib.training.loop import checkpoint as checkpoints
from lib.training.loop.checkpoint import Checkpoint


@pytest.mark.parametrize("file", ["checkpoint.json", "step-2.safetensors", "step-2.pt"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_checkpoint_names_the_file_and_the_remedy(tmp_path, file, damage):
    checkpoint = Checkpoint(tmp_path, {"a": (1, 2), "b": np.int64(3)})
    checkpoint.save({"w": torch.arange(6.0).view(2, 3).T}, {"m": [torch.ones(2)], "k": 0.5}, 2)
    tensors, state, step = Checkpoint(tmp_path, {"a": [1, 2], "b": 3}).load()
    assert torch.equal(tensors["w"], torch.arange(6.0).view(2, 3).T)
    assert (state["k"], step) == (0.5, 2)
    content = (tmp_path / file).read_bytes()
    if damage == "missing":
        (tmp_path / file).unlink()
        if file == "checkpoint.json":
            assert checkpoint.load() is None
            return
    elif damage == "truncated":
        (tmp_path / file).write_bytes(content[: len(content) // 2])
    else:
        (tmp_path / file).write_bytes(content.replace(b"2", b"3").replace(b"\x00\x80\x3f", b"\x00\x00\x40") + b" x")
    with pytest.raises(ValueError, match=f"{file} is missing, truncated or altered: delete the folder"):
        checkpoint.load()


def test_checkpoint_survives_a_kill_while_saving(tmp_path, monkeypatch):
    """The JSON file is written last: before it, the previous checkpoint still stands."""
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"w": torch.zeros(2)}, {"m": 1}, 1)

    def fail_on_json(file, content, write=checkpoints._write):
        if file.name == "checkpoint.json":
            raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(checkpoints, "_write", fail_on_json)
    for finished in (False, True):
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save({"w": torch.ones(2)}, {"m": 2}, 2, finished=finished)
        tensors, state, step = checkpoint.load()
        assert (tensors["w"].sum(), state, step) == (0, {"m": 1}, 1)


def test_settings_that_are_not_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a set, not JSON"):
        Checkpoint(tmp_path, {"a": {1, 2}})
