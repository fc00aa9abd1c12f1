"""Stored anonymisers: found by settings and images, whatever rounding did to the classifiers that guided them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from lib.anonymise.__main__ import main
from lib.anonymise.vaegan import stored as anonymisers
from lib.anonymise.vaegan.pp_vaegan import anonymise, load_auxiliary, load_pp_vaegan
from lib.core import seeding
from lib.models.classifiers.identity import ConvClassifier
from lib.training.loop import store
from tests.anonymise.vaegan.toy import PEOPLE, TINY, toy
from tests.training.runs import never, silent, tensors

IMAGES, MASKS, WHO, _ = toy(3)


def network(classes, seed=0, nudged=0.0):
    with seeding.initialising(seed, "toy"):
        model = ConvClassifier(16, classes, width=4)
    with torch.no_grad():
        model.head.bias += nudged
    return model


def train(path, *, progress=never, nudged=0.0, classifiers=(("epochs", 3),), images=IMAGES, **options):
    given = {"finding": network(2, nudged=nudged), "identity": network(PEOPLE, nudged=nudged), "privacy": "posterior"}
    given |= {"classifiers": dict(classifiers), "progress": progress, "path": path}
    return anonymisers.train(images, MASKS, WHO, **(TINY | given | options))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "PP-MIR"
    train(path, progress=silent)
    return path


@pytest.fixture
def kept(trained, tmp_path, monkeypatch):
    """A store with one training in it."""
    monkeypatch.setattr(store, "STORE", tmp_path / "weights")
    monkeypatch.delenv("SUITE_TRAIN", raising=False)
    (tmp_path / "weights").mkdir()
    return anonymisers.keep(trained, "toy", about="stripes", gate={"error share": 0.2})


def test_it_is_fetched_although_another_machine_rounds_its_classifiers_otherwise(trained, kept, tmp_path):
    fetched = train(tmp_path / "own", nudged=1e-6)
    drawn, original = (anonymise(of, IMAGES, MASKS, seed=1).astype(int) for of in (fetched, load_pp_vaegan(trained)))
    assert np.abs(drawn - original).max() <= 2  # float16
    for name in ("final.safetensors", "probe.json", "curve.csv"):
        assert (tmp_path / "own" / name).read_bytes() == (kept / name).read_bytes(), name


def test_it_holds_what_anonymises_and_what_guided_it_and_no_critic(kept):
    held = tensors(kept)
    assert {key.split(".")[0] for key in held if key != "best.score"} == {"vae", "finding", "identity"}
    assert store.read_card("toy")["gate"] == {"error share": 0.2}


@pytest.mark.parametrize(
    "other", [{"seed": 9}, {"classifiers": (("epochs", 4),)}, {"images": 255 - IMAGES}, {"learning_rate": 2e-3}]
)
def test_other_settings_images_or_ways_to_train_the_classifiers_are_trained(kept, tmp_path, other):
    with pytest.raises(AssertionError, match="trained again"):
        train(tmp_path / "own", **other)


def test_what_is_not_stored_is_refused_with_its_command(kept, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"stored in weights/: \./go --train trains it"):
        train(tmp_path / "own", seed=9, unless_stored="./go --train")
    train(tmp_path / "own", unless_stored="./go --train")


def test_a_changed_network_is_refused(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x.sigmoid())
    with pytest.raises(ValueError, match="draws other images than when it was made"):
        train(tmp_path / "own")


def test_the_classifiers_that_guided_are_those_that_were_given(trained):
    for name, classes in (("finding", 2), ("identity", PEOPLE)):
        found, given = load_auxiliary(trained, name, network(classes, seed=5)), network(classes)
        assert not found.training
        for key, value in given.state_dict().items():
            assert torch.equal(found.state_dict()[key], value), key
    with pytest.raises(ValueError, match="had no ConvClassifier of this shape as its finding classifier"):
        load_auxiliary(trained, "finding", network(PEOPLE))


def test_it_is_stored_by_the_command_line(trained, kept, capsys):
    assert main(["store", str(trained), "second", "--about", "stripes", "--gate", "spread", "0.9"]) == 0
    assert json.loads((store.STORE / "second" / "card.json").read_text())["gate"] == {"spread": 0.9}
    assert main(["store", str(trained), "second", "--about", "stripes"]) == 1
    assert "give a new name" in capsys.readouterr().err
    assert main(["store", str(trained.parent / "nowhere"), "third", "--about", "stripes"]) == 1
