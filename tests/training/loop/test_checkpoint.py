"""Checkpoints: whole files or a refusal that names the file, whenever the writer is killed."""

import json
import random
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lib.core import lock, seeding
from lib.training.loop import checkpoint as checkpoints
from lib.training.loop.checkpoint import Checkpoint
from tests.paths import ROOT


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
    checkpoint = Checkpoint(tmp_path / "other", {})
    checkpoint.save({"best": torch.tensor(torch.nan)}, None, 2)
    with pytest.raises(ValueError, match=r"holds NaN or infinity in best"):
        checkpoint.load()


def test_settings_that_are_not_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a set, not JSON"):
        Checkpoint(tmp_path, {"a": {1, 2}})


def grown(folder, *, steps, before=0):
    """A checkpoint after each of `steps` steps, w = step."""
    with Checkpoint(folder, {"a": 1}) as kept:
        if before:
            assert kept.load()[2] == before
        for step in range(before + 1, before + steps + 1):
            kept.save({"w": torch.tensor(float(step))}, {"m": step}, step, made={"seconds": float(step)})


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_checkpoints_are_kept_and_of_a_finished_training_the_final_one(tmp_path):
    grown(tmp_path, steps=3)
    both = [f"step-{step}.{suffix}" for step in (2, 3) for suffix in ("pt", "safetensors")]
    assert names(tmp_path) == ["checkpoint.json", "previous.json", *both]
    grown(tmp_path, steps=1, before=3)
    assert names(tmp_path)[2:] == [name.replace("3", "4").replace("2", "3") for name in both]
    with Checkpoint(tmp_path, {"a": 1}) as kept:
        kept.load()
        kept.save({}, None, 5, finished=True)
    assert names(tmp_path) == ["checkpoint.json", "final.safetensors"]


def test_the_checkpoint_of_other_settings_is_not_the_one_before(tmp_path):
    grown(tmp_path, steps=2)
    with Checkpoint(tmp_path, {"a": 2}) as kept:
        assert kept.load() is None
        kept.save({}, {}, 7)
    assert names(tmp_path) == ["checkpoint.json", "step-7.pt", "step-7.safetensors"]


@pytest.mark.parametrize("file", ["checkpoint.json", "step-3.safetensors", "step-3.pt"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_newest_falls_back_and_is_said(tmp_path, caplog, file, damage):
    grown(tmp_path, steps=3)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    if damage == "truncated":
        (tmp_path / file).write_bytes(content[:-3])
    for settings in ({"a": 1}, None):
        tensors, state, step = Checkpoint(tmp_path, settings).load()
        assert (float(tensors["w"]), state, step) == (2.0, {"m": 2}, 2)
    assert f"{file} is missing, truncated or altered: going on from the one before, of step 2" in caplog.text
    grown(tmp_path, steps=1, before=2)
    assert Checkpoint(tmp_path, {"a": 1}).load()[2] == 3
    assert names(tmp_path)[:2] == ["checkpoint.json", "previous.json"]


def test_both_damaged_are_refused(tmp_path):
    grown(tmp_path, steps=3)
    for step in (2, 3):
        (tmp_path / f"step-{step}.pt").unlink()
    with pytest.raises(ValueError, match="step-3.pt is missing, truncated or altered: delete the folder"):
        Checkpoint(tmp_path, {"a": 1}).load()


def test_whoever_reads_while_another_saves_is_not_told_to_delete(tmp_path, monkeypatch):
    """The file that the record vouched for is gone when it is opened: the next record is read; or it is said who is
    writing."""
    grown(tmp_path, steps=3)
    digest = checkpoints._sha256

    def saved_meanwhile(file):
        monkeypatch.setattr(checkpoints, "_sha256", digest)
        grown(tmp_path, steps=2, before=3)
        return digest(file)

    monkeypatch.setattr(checkpoints, "_sha256", saved_meanwhile)
    assert Checkpoint(tmp_path, {"a": 1}).load()[2] == 5
    (tmp_path / "previous.json").unlink()
    (tmp_path / "step-5.pt").unlink()
    with Checkpoint(tmp_path, {"a": 1}), pytest.raises(OSError, match="is in use by process") as told:
        Checkpoint(tmp_path, {"a": 1}).load()
    assert "delete" not in str(told.value)


def test_a_save_beside_a_writer_is_refused_and_a_finished_training_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    with Checkpoint(tmp_path, {"a": 1}) as kept:
        with pytest.raises(OSError, match="is in use by process"):
            Checkpoint(tmp_path, {"a": 2}).save({}, {}, 1)
        kept.save({"w": torch.ones(1)}, None, 1, finished=True)
    with Checkpoint(tmp_path, {"a": 1}) as first, Checkpoint(tmp_path, {"a": 1}) as second:
        assert first.load()[2] == second.load()[2] == 1


def test_how_it_was_made_is_kept_and_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "revision", lambda: "abc1234")
    kept = Checkpoint(tmp_path, {"a": 1})
    kept.save({}, None, 3000, finished=True, made={"unit": "steps", "seconds": 2.5})
    made = json.loads((tmp_path / "checkpoint.json").read_text())["made"]
    assert made.keys() == {"revision", "date", "torch", "machine", "arithmetic", "unit", "seconds"}
    assert kept.load()[2] == 3000
    assert re.fullmatch(r"made by revision abc1234 on 20\d\d-\d\d-\d\d \d\d:\d\d, 3,000 steps", kept.origin(3000))


@pytest.mark.parametrize("precision", [None, *seeding.PRECISIONS])
def test_the_arithmetic_that_was_used_is_kept_and_not_that_asked_for(tmp_path, monkeypatch, precision):
    monkeypatch.setattr(seeding, "has_bf16", lambda device: False)
    kept = Checkpoint(tmp_path, {} if precision is None else {"precision": precision})
    kept.save({}, None, 1, finished=True)
    assert json.loads((tmp_path / "checkpoint.json").read_text())["made"]["arithmetic"].startswith("float32, ")
    if precision == "bf16":
        monkeypatch.setattr(seeding, "has_bf16", lambda device: True)
        kept.save({}, None, 2, finished=True)
        assert json.loads((tmp_path / "checkpoint.json").read_text())["made"]["arithmetic"].startswith("bf16, ")


@pytest.mark.parametrize("made", [None, [], {"revision": None, "date": 3, "unit": "\x1b[31m"}, {"curve": 3}])
def test_a_checkpoint_without_these_facts_or_with_foreign_ones_loads(tmp_path, made):
    Checkpoint(tmp_path, {"a": 1}).save({}, None, 12, finished=True)
    record = json.loads((tmp_path / "checkpoint.json").read_text()) | {"made": made}
    if made is None:
        del record["made"]
    (tmp_path / "checkpoint.json").write_text(json.dumps(record))
    kept = Checkpoint(tmp_path, {"a": 1})
    assert kept.load()[2] == 12
    assert kept.origin(12) == "made by revision unknown, 12 steps"


TRAIN = """
import sys, time
import torch
from lib.training.loop.checkpoint import Checkpoint
with Checkpoint(sys.argv[1], {"a": 1}) as kept:
    found = kept.load()
    start = found[2] if found else 0
    for step in range(start + 1, 100_000):
        kept.save({"w": torch.tensor(float(step))}, {"m": step}, step)
        if step == start + 3:
            print("goes on", flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_checkpoint_that_loads_and_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    reached = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", TRAIN, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            with pytest.raises(OSError, match=f"is in use by process {process.pid} "):
                Checkpoint(tmp_path, {"a": 1}).__enter__()
            time.sleep(0.1 * random.random())
            process.kill()
        tensors, state, step = Checkpoint(tmp_path, {"a": 1}).load()
        assert float(tensors["w"]) == state["m"] == step > reached
        reached = step
