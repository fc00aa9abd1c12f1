"""The compared walks share their ends and are kept; the perceptual network is trained, kept and found again."""

import numpy as np
import pytest
import torch

from lib.anonymise.latent_walk.conditions import drawn, load_conditions, walk_conditions
from lib.anonymise.latent_walk.plan import step_energy
from lib.core.seeding import initialising
from lib.models.classifiers.small_cnn import SmallCNN
from lib.models.gan.stylegan2 import Generator
from lib.training.classifier.perceptual import described, load_perceptual, require_weights, train_rotations


@pytest.fixture(scope="module")
def networks():
    with initialising(0):
        return {"generator": Generator(16, 1, 1, 8, (8, 64)), "identity": SmallCNN(5), "diagnosis": SmallCNN(2)}


def test_conditions_share_their_ends_and_are_computed_once(networks, tmp_path):
    generator, nets = networks["generator"], {key: networks[key] for key in ("identity", "diagnosis")}
    first, last = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8))).float()
    options = {"first": first, "last": last, "labels": [0, 1, 0], "path": tmp_path / "x", "seed": 0}
    found = walk_conditions(generator, **nets, **options, points=6, steps=4)
    for walk in (found.linear, found.plan, found.detour):
        assert torch.equal(walk[:, [0, -1]], torch.stack([first, last], dim=1))
    torch.testing.assert_close(step_energy(found.detour), step_energy(found.plan), rtol=1e-3, atol=1e-4)
    again = load_conditions(tmp_path / "x")
    assert torch.equal(again.plan, found.plan)
    np.testing.assert_array_equal(again.labels, [0, 1, 0])
    longer = walk_conditions(generator, **nets, **options, points=6, steps=5)  # other settings: walked anew
    assert not torch.equal(longer.plan, found.plan)
    other = walk_conditions(generator, **nets | {"identity": SmallCNN(5)}, **options, points=6, steps=5)
    assert not torch.equal(other.plan, longer.plan)
    images = list(drawn(generator, found.plan))
    assert [tuple(x.shape) for x in images] == 3 * [(6, 1, 16, 16)]
    assert max(float(x.abs().max()) for x in images) <= 1
    with pytest.raises(ValueError, match="SmallCNN has no mapping and no synthesis, so it has no latent space W"):
        walk_conditions(SmallCNN(), **nets, **options, points=6, steps=4)


def test_perceptual_network_learns_turns_and_is_found_again(tmp_path):
    rng = np.random.default_rng(0)
    images = np.uint8(255 * rng.random((40, 16, 16)))
    images[:, :8] //= 4  # what is up is dark
    found = train_rotations(images[:30], held_out=images[30:], path=tmp_path / "p", seed=0, epochs=3)
    again = load_perceptual("rotation", tmp_path / "p")
    inputs = torch.from_numpy(images[:4])[:, None] / 127.5 - 1
    torch.testing.assert_close(again.features(inputs), found.features(inputs))
    torch.testing.assert_close(described(again, images[:4], batch=3), found.features(inputs))
    assert described(again, images[:4], pooled=True).shape == (4, 64)
    assert (found(inputs).argmax(dim=1) == 0).all()
    with pytest.raises(ValueError, match="unknown perceptual network 'vgg': choose one of rotation, lpips_alex"):
        load_perceptual("vgg", tmp_path)
    with pytest.raises(FileNotFoundError, match="no trained perceptual network"):
        load_perceptual("rotation", tmp_path / "nothing")


def test_absent_weights_are_known_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    require_weights("rotation")
    with pytest.raises(FileNotFoundError, match="LPIPS needs alexnet"):
        require_weights("lpips_alex")
    with pytest.raises(ValueError, match="unknown perceptual network 'vgg'"):
        require_weights("vgg")
