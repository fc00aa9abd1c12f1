"""Received weights: nothing in them is executed, and no number that is none gets in."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from lib.cohorts.cohort import Cohort
from lib.models.pretrained.inception import load_inception
from lib.models.pretrained.mcgan import load_mcgan
from lib.models.pretrained.weights import first_not_finite, read_weights
from lib.training.loop.checkpoint import Checkpoint, _sha256


class Hostile:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def pickled(mark) -> dict[str, bytes]:
    """The same hostile object in every wrapping that may be unpickled."""
    zipped, legacy, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"w": Hostile(mark)}, zipped)
    torch.save({"w": Hostile(mark)}, legacy, _use_new_zipfile_serialization=False)
    np.save(arrays, np.array([Hostile(mark)], dtype=object), allow_pickle=True)
    wrapped = {"pickle": pickle.dumps(Hostile(mark)), "old pickle": pickle.dumps(Hostile(mark), protocol=0)}
    return wrapped | {"torch": zipped.getvalue(), "old torch": legacy.getvalue(), "npy": arrays.getvalue()}


@pytest.mark.parametrize("wrapping", ["pickle", "old pickle", "torch", "old torch", "npy"])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors", "a.bin", "a", "checkpoint.json", "a.h5"])
def test_a_pickle_is_executed_under_no_name(tmp_path, name, wrapping):
    mark, path = tmp_path / "executed", tmp_path / name
    path.write_bytes(pickled(mark)[wrapping])
    for read in (read_weights, load_inception, load_mcgan, Cohort.open):
        with pytest.raises(ValueError, match="damaged"):
            read(path)
    if name == "checkpoint.json":
        with pytest.raises(ValueError, match="missing, truncated or altered"):
            Checkpoint(tmp_path, {}).load()
    assert not mark.exists()
    pickle.loads(pickled(mark)["pickle"])  # it would have been seen
    assert mark.exists()


@pytest.mark.parametrize("wrapping", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize("file", ["step-2.safetensors", "step-2.pt"])
def test_a_pickle_in_a_checkpoint_that_vouches_for_it_is_not_executed(tmp_path, file, wrapping):
    checkpoint, mark = Checkpoint(tmp_path / "c", {}), tmp_path / "executed"
    checkpoint.save({"w": torch.ones(2)}, {"m": 1}, 2)
    path, record = tmp_path / "c" / file, tmp_path / "c/checkpoint.json"
    path.write_bytes(pickled(mark)[wrapping])
    written = json.loads(record.read_text())
    written["sha256"][path.suffix] = _sha256(path)
    record.write_text(json.dumps(written))
    with pytest.raises(ValueError, match="missing, truncated or altered"):
        checkpoint.load()
    assert not mark.exists()


def test_an_array_of_objects_is_not_unpickled_by_default(tmp_path):
    """Notebooks read what others left by np.load, and none allows pickles."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", pickled(tmp_path / "executed")["npy"])
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(tmp_path / "a.npz")["w"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_weights_that_are_no_numbers_are_refused_in_one_sentence(tmp_path, name, value):
    state = {"a.weight": torch.ones(2), "b.weight": torch.tensor([1.0, value])}
    save = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(state, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} holds NaN or infinity in b\.weight: download it again") as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_every_kind_of_number_is_looked_at(kind):
    assert first_not_finite({"w": torch.ones(3).to(kind), "none": torch.ones(0)}) is None
    if kind.is_floating_point:
        assert first_not_finite({"w": torch.full((3,), torch.nan).to(kind)}) == "w"


@pytest.mark.filterwarnings("ignore")  # torch says that some kinds are about to go
def test_what_is_not_a_plain_tensor_is_not_taken_for_finite():
    assert first_not_finite({"w": torch.ones(2).to_sparse()}) == "w"


def archive(path, content: bytes, *, compression=zipfile.ZIP_STORED, twice=False):
    """The state dict {"w": 3 floats} as torch archives it, with `content` in the place of its floats."""
    whole = io.BytesIO()
    torch.save({"w": torch.ones(3)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data/0") else old.read(name))
        if twice:  # the directory names the same bytes again and again
            new.filelist += [new.getinfo(next(name for name in new.namelist() if name.endswith("data/0")))] * 20
    return path


BOMBS = {
    "deflated": {"content": bytes(1 << 24), "compression": zipfile.ZIP_DEFLATED},
    "bzip2": {"content": bytes(1 << 20), "compression": zipfile.ZIP_BZIP2},
    "named twice": {"content": bytes(1 << 16), "twice": True},
}


@pytest.mark.parametrize("how", BOMBS.values(), ids=BOMBS)
def test_an_archive_that_would_grow_is_refused_before_torch_has_it(tmp_path, monkeypatch, how):
    def load(*args, **options):
        pytest.fail("torch was given the file")

    path = archive(tmp_path / "a.pth", **how)
    checkpoint = Checkpoint(tmp_path / "c", {})
    checkpoint.save({"w": torch.ones(2)}, {"m": 1}, 2)
    state, record = tmp_path / "c/step-2.pt", tmp_path / "c/checkpoint.json"
    state.write_bytes(path.read_bytes())
    written = json.loads(record.read_text())
    written["sha256"][".pt"] = _sha256(state)
    record.write_text(json.dumps(written))
    monkeypatch.setattr(torch, "load", load)
    for read in (read_weights, load_inception, load_mcgan):
        with pytest.raises(ValueError, match=r"a\.pth is damaged or not plain tensors: download it again"):
            read(path)
    with pytest.raises(ValueError, match="missing, truncated or altered"):
        checkpoint.load()


def test_an_archive_as_torch_writes_it_is_read(tmp_path):
    path = archive(tmp_path / "a.pth", np.array([1, 2, 3], np.float32).tobytes())
    assert read_weights(path)["w"].tolist() == [1, 2, 3]


def test_one_number_that_is_told_as_a_billion_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(10**10)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth holds NaN or infinity in w"):
        read_weights(tmp_path / "a.pth")
