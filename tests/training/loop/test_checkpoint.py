"""Checkpoints: whole files or a refusal that names the file, whenever the writer is killed."""

import json

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


MALFORMED = {
    "a list": "[]",
    "null": "null",
    "deep": "[" * 100_000,
    "a deep object": '{"settings":' * 100_000,
    "no digest": {"sha256": {".safetensors": None}},
    "a number as digest": {"sha256": {".safetensors": 3}},
    "no digest of the state": {"sha256": {".safetensors": "0", ".pt": None}},
    "no digests": {"sha256": {}},
    "a list of digests": {"sha256": [".safetensors"]},
    "a text of digests": {"sha256": ".safetensors"},
    "a digest of another file": {"sha256": {".safetensors": "0", "../../a": "0"}},
    "settings that are a list": {"settings": []},
    "a step that is a text": {"step": "../../a"},
    "finished by a number": {"finished": 1},
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_is_refused_in_one_sentence(tmp_path, content):
    """A digest of null was once no digest at all, so that other weights passed for these."""
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"w": torch.zeros(2)}, {"m": 1}, 1)
    file = tmp_path / "checkpoint.json"
    file.write_text(content if isinstance(content, str) else json.dumps(json.loads(file.read_text()) | content))
    for read in (checkpoint.load, checkpoint.stored):
        with pytest.raises(ValueError, match=r"checkpoint\.json is missing, truncated or altered") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"w": torch.ones(2), "v": torch.tensor([1, value])}, None, 1, finished=True)
    with pytest.raises(
        ValueError, match=r"final\.safetensors holds NaN or infinity in v, so its training has diverged"
    ):
        checkpoint.load()


def test_a_single_number_may_be_infinite_but_not_nan(tmp_path):
    """The best score so far is, before the first."""
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"best": torch.tensor(torch.inf)}, None, 1)
    assert checkpoint.load()[0]["best"] == torch.inf
    checkpoint.save({"best": torch.tensor(torch.nan)}, None, 2)
    with pytest.raises(ValueError, match=r"holds NaN or infinity in best"):
        checkpoint.load()


def test_settings_that_are_not_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a set, not JSON"):
        Checkpoint(tmp_path, {"a": {1, 2}})
