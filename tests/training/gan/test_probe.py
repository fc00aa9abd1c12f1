"""The probe of a trained generator: a network that changed since is refused, and rounding is not."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from lib import generators
from lib.training.gan.probe import FILE, check_probe
from tests.training.runs import never, silent

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)
LABELS = np.arange(12) % 2
OPTIONS = {"dcgan": {"width": 4, "norm": "batch"}, "acgan": {"width": 4, "classes": 2}}


def train(name, path, *, progress=silent, seed=0):
    options = {"steps": 20, "batch": 4, "seed": seed, "device": CPU} | OPTIONS[name]
    return generators.train(name, IMAGES, LABELS, path=path, progress=progress, **options)


@pytest.fixture(scope="module", params=OPTIONS)
def trained(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    train(request.param, path)
    return request.param, path


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained[1], tmp_path / "copy")


def test_a_relu_that_became_a_sigmoid_is_refused(trained, monkeypatch):
    name, path = trained
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x.sigmoid())
    for again in (lambda: generators.load(path, device=CPU), lambda: train(name, path, progress=never)):
        with pytest.raises(ValueError, match="draws other images than when it was made .* its network has changed"):
            again()


def test_what_is_as_it_was_passes_and_so_does_rounding(copy, monkeypatch):
    assert check_probe(copy, generators.load(copy, device=CPU))
    kept = json.loads((copy / FILE).read_text())
    assert kept["labels"] == [0, 1]
    assert len(kept["pixels"]) == 16
    assert min(kept["sd"]) > 0
    (copy / FILE).write_text(json.dumps(kept | {"pixels": [value + 1 for value in kept["pixels"]]}))
    generators.load(copy, device=CPU)


def test_other_weights_have_a_probe_of_their_own(trained, copy):
    name, path = trained
    train(name, copy, seed=1)
    first, second = (json.loads((folder / FILE).read_text()) for folder in (path, copy))
    assert first["weights"] != second["weights"]
    assert first["pixels"] != second["pixels"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"weights": 3}', "mean", "labels"])
def test_a_damaged_probe_is_one_sentence(copy, damage):
    kept = json.loads((copy / FILE).read_text())
    broken = {"mean": kept | {"mean": "x"}, "labels": kept | {"labels": [[[7]]]}}.get(damage)
    (copy / FILE).write_text(damage if broken is None else json.dumps(broken))
    if damage == '{"weights": 3}':  # of other weights, as far as it says: it vouches for nothing
        generators.load(copy, device=CPU)
        return
    with pytest.raises(ValueError, match="The probe .* is damaged: delete it"):
        generators.load(copy, device=CPU)


def test_a_training_without_a_probe_is_loaded(copy):
    (copy / FILE).unlink()
    assert not check_probe(copy, generators.load(copy, device=CPU))
