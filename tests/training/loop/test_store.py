"""The store: a stored training is found by its settings, copied byte for byte, and refused when anything is off."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from lib import generators
from lib.training.gan import registry
from lib.training.loop import store
from lib.training.loop.checkpoint import Checkpoint
from tests.training.runs import interrupt, never, silent, tensors

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)
LABELS = np.arange(12) % 2


def train(path, *, progress=never, seed=0, images=IMAGES, labels=LABELS, **options):
    options = {"width": 4, "norm": "batch", "ema": 0.9, "steps": 20, "batch": 4, "device": CPU} | options
    return generators.train("dcgan", images, labels, path=path, seed=seed, progress=progress, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "mcgan"
    train(path, progress=silent)
    return path


@pytest.fixture
def stored(trained, tmp_path, monkeypatch):
    """A store with one training in it."""
    monkeypatch.setattr(store, "STORE", tmp_path / "weights")
    monkeypatch.delenv("SUITE_TRAIN", raising=False)
    (tmp_path / "weights").mkdir()
    return registry.keep(trained, "masses", about="twelve squares of noise", gate={"coverage": 0.6})


def images(generator):
    return generator.sample(64, labels=np.arange(64) % 2, seed=3).astype(int)


def test_it_is_fetched_instead_of_trained_and_draws_the_same(trained, stored, tmp_path, capsys):
    fetched = train(tmp_path / "own")
    original = generators.load(trained, device=CPU)
    assert np.abs(images(fetched) - images(original)).max() <= 2  # float16
    assert (images(fetched) == images(generators.load("masses", device=CPU))).all()
    assert "loaded the finished training" in capsys.readouterr().out
    for name in ("final.safetensors", "probe.json", "curve.csv"):
        assert (tmp_path / "own" / name).read_bytes() == (stored / name).read_bytes(), name


def test_it_holds_what_draws_and_no_more(trained, stored):
    kept, whole = tensors(stored), tensors(trained)
    assert {key.split(".")[0] for key in kept} == {"average"}
    assert {key.split(".")[0] for key in whole} == {"average", "generator", "discriminator"}
    for key, value in kept.items():
        halved = value.dtype == torch.float16
        assert halved == (whole[key].ndim > 1), key
        assert torch.equal(value, whole[key].half() if halved else whole[key]), key


def test_its_card_says_what_it_is(stored, trained):
    card = store.read_card("masses")
    made = json.loads((trained / "checkpoint.json").read_text())["made"]
    assert (card["about"], card["gate"], card["name"]) == ("twelve squares of noise", {"coverage": 0.6}, "masses")
    assert {key: card[key] for key in ("revision", "date", "machine")} == {
        key: made[key] for key in ("revision", "date", "machine")
    }
    assert card["machine"]


def test_images_of_another_machine_s_rounding_are_the_same_and_others_are_not(stored, tmp_path):
    rounded = IMAGES.astype(int)
    rounded[5, 3, 4] += 1 if rounded[5, 3, 4] < 255 else -1
    train(tmp_path / "own", images=rounded.astype(np.uint8))
    assert (tmp_path / "own" / "probe.json").read_bytes() == (stored / "probe.json").read_bytes()
    noisy = np.clip(IMAGES + np.random.default_rng(1).integers(-2, 3, IMAGES.shape), 0, 255).astype(np.uint8)
    shifted, brighter = np.roll(IMAGES, 1, axis=0), np.where(IMAGES < 255, IMAGES + 1, IMAGES)
    for other in (noisy, shifted, brighter, IMAGES[:, ::-1], IMAGES[:-2]):
        with pytest.raises(AssertionError, match="trained again"):
            train(tmp_path / "other", images=other, labels=LABELS[: len(other)])
    with pytest.raises(AssertionError, match="trained again"):
        train(tmp_path / "other", labels=1 - LABELS)


@pytest.mark.parametrize("other", [{"seed": 1}, {"steps": 21}, {"learning_rate": 3e-4}])
def test_other_settings_are_trained(stored, tmp_path, other):
    with pytest.raises(AssertionError, match="trained again"):
        train(tmp_path / "own", **other)


def test_what_is_not_stored_is_refused_with_its_command_and_hours(stored, tmp_path):
    card = json.loads((stored / "card.json").read_text()) | {"hours": 1.25}
    (stored / "card.json").write_text(json.dumps(card))
    says = r"No DCGAN of these images and settings is stored in weights/: \./go --train trains it"
    with pytest.raises(FileNotFoundError, match=rf"{says}, in about 1\.2 hours on one core as fast as that of"):
        train(tmp_path / "own", seed=1, unless_stored="./go --train")
    with pytest.raises(FileNotFoundError, match=rf"{says}$"):
        train(tmp_path / "own", steps=7, unless_stored="./go --train")
    assert not list(tmp_path.glob("own/*.safetensors"))
    train(tmp_path / "own", unless_stored="./go --train")


def test_what_was_begun_here_goes_on(stored, tmp_path):
    def begin(progress):
        train(tmp_path / "own", progress=progress, seed=1, save_seconds=0)

    interrupt(begin, 5)
    train(tmp_path / "own", progress=silent, seed=1, unless_stored="./go --train")


def test_asked_to_train_it_trains_what_is_stored_and_what_was_fetched(stored, trained, tmp_path, monkeypatch):
    train(tmp_path / "own")
    monkeypatch.setenv("SUITE_TRAIN", "1")
    with pytest.raises(AssertionError, match="trained again"):
        train(tmp_path / "other")
    train(tmp_path / "own", progress=silent, unless_stored="./go --train")
    assert torch.equal(
        tensors(tmp_path / "own")["average.layers.0.weight"], tensors(trained)["average.layers.0.weight"]
    )
    train(tmp_path / "own")  # that is our own now


def test_a_changed_network_is_refused(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x.sigmoid())
    with pytest.raises(ValueError, match="draws other images than when it was made"):
        train(tmp_path / "own")
    with pytest.raises(ValueError, match="draws other images than when it was made"):
        generators.load("masses", device=CPU)


def spoil_card(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"sha256": "0" * 64}))


def truncate(folder):
    content = (folder / "final.safetensors").read_bytes()
    (folder / "final.safetensors").write_bytes(content[: len(content) // 2])


def replace_by_a_pickle(folder):
    torch.save({"a": torch.zeros(3)}, folder / "final.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_card, "tells of other weights than lie beside it"),
        (truncate, "missing, truncated or altered"),
        (replace_by_a_pickle, "missing, truncated or altered"),
        (lambda folder: (folder / "card.json").write_text("[]"), "card.json"),
        (lambda folder: (folder / "checkpoint.json").write_text("{"), "checkpoint.json is missing, truncated"),
    ],
)
def test_what_is_damaged_is_refused_in_a_sentence_and_nothing_is_copied(stored, tmp_path, spoil, says):
    spoil(stored)
    with pytest.raises(ValueError, match=says):
        train(tmp_path / "own")
    assert not list(tmp_path.glob("own/*.safetensors"))
    with pytest.raises(ValueError, match=says):
        generators.load("masses", device=CPU)


def test_a_damaged_summary_of_the_images_is_named(stored, tmp_path):
    for content in ("{}", "", '{"count": 12, "shape": [16, 16]}'):
        (stored / "images.json").write_text(content)
        with pytest.raises(ValueError, match=r"The summary .*images\.json is damaged"):
            train(tmp_path / "own")


def test_a_full_disk_leaves_the_store_as_it_was(stored, trained, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        registry.keep(trained, "more", about="the same")
    assert [path.name for path in store.STORE.iterdir()] == ["masses"]


@pytest.mark.parametrize("name", ["masses", "../out", "", "a b"])
def test_a_name_that_is_taken_or_none_is_refused(stored, trained, name):
    with pytest.raises(ValueError, match="give a new name"):
        registry.keep(trained, name, about="the same")


@pytest.mark.parametrize("run", ["study-public", "demo-public-seed3", "own-demo-12ab34cd"])
def test_what_was_trained_on_real_images_stays_with_them(stored, trained, tmp_path, run):
    folder = shutil.copytree(trained, tmp_path / "data/runs" / run / "05_paper/01_train/0/mcgan")
    with pytest.raises(ValueError, match="is of a run on real images, whose weights stay with them"):
        registry.keep(folder, "masses2", about="crops")
    assert [path.name for path in store.STORE.iterdir()] == ["masses"]


def test_other_images_in_the_same_folder_have_a_summary_of_their_own(tmp_path):
    def summary_of(images):
        train(tmp_path / "own", progress=silent, steps=1, images=images)
        return (tmp_path / "own" / "images.json").read_text()

    first = summary_of(IMAGES)
    assert summary_of(255 - IMAGES) != first
    assert summary_of(IMAGES) == first


def test_an_unfinished_training_is_not_stored(stored, trained, tmp_path):
    found = Checkpoint(trained, None)
    weights, _, step = found.load()
    Checkpoint(tmp_path / "half", found.settings).save(weights, {}, step - 1)
    with pytest.raises(ValueError, match="stopped at step 19"):
        registry.keep(tmp_path / "half", "half", about="half of it")
