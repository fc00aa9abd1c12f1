"""The auto-decoder: it draws its training images again and new ones of their law, refuses bad input."""

import numpy as np
import pytest
import torch

from lib import generators
from lib.training.gan import autodecoder, registry
from lib.training.gan.autodecoder import train_autodecoder
from lib.training.loop import store
from lib.training.loop.images import pixels

OPTIONS = {"steps": 60, "batch": 6, "latent": 4, "maps": (16, 256), "seed": 0}


@pytest.fixture(scope="module")
def images():
    """Twelve different discs of 16 px."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    centre, radius = rng.uniform(5, 10, (12, 2, 1, 1)), rng.uniform(2, 5, (12, 1, 1))
    return np.uint8(255 * (np.hypot(y - centre[:, 0], x - centre[:, 1]) < radius))


def test_draws_its_training_images_again(images, tmp_path):
    found = train_autodecoder(images, path=tmp_path / "whole", **OPTIONS | {"steps": 150})
    assert found.latents.shape == (12, 4)
    with torch.no_grad():
        drawn = found.generator.synthesis(found.latents).flatten(1)
    wanted = torch.from_numpy(images).flatten(1) / 127.5 - 1
    assert (torch.cdist(drawn, wanted).argmin(dim=1) == torch.arange(12)).float().mean() >= 0.9
    assert not any(p.requires_grad for p in found.generator.parameters())
    assert np.array_equal(found.sample(12, latents=found.latents), pixels(drawn.view(12, 1, 16, 16)))


def test_new_latents_follow_the_law_of_those_learnt(images, tmp_path):
    """Mean and covariance of what the synthesis is given, where it gives back its latents."""
    found = train_autodecoder(images, path=tmp_path, **OPTIONS | {"steps": 1})
    given = []
    found.generator.synthesis = lambda w: (given.append(w), torch.zeros(len(w), 1, 16, 16))[1]
    found.sample(20000, seed=1)
    w = torch.cat(given)
    torch.testing.assert_close(w.mean(dim=0), found.latents.mean(dim=0), rtol=0, atol=0.05)
    torch.testing.assert_close(w.T.cov(), found.latents.T.cov(), rtol=0, atol=0.1)


def test_what_is_stored_draws_new_images_and_those_it_remembers(images, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "STORE", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    options = OPTIONS | {"steps": 5}
    found = generators.train("autodecoder", images, path=tmp_path / "run", device=torch.device("cpu"), **options)
    loaded = generators.load(registry.keep(tmp_path / "run", "discs", about="twelve discs", gate={}))
    for given in ({"seed": 1}, {"latents": found.latents}):  # the store rounds to float16
        before, after = (of.sample(12, **given).astype(int) for of in (found, loaded))
        assert np.abs(before - after).mean() < 1


def test_many_are_drawn_a_few_at_a_time(images, tmp_path, monkeypatch):
    """A thousand latents of 256 px at once took 47 GB; at 32 px, the size of the demo, they still go at once."""
    found = train_autodecoder(images, path=tmp_path, **OPTIONS | {"steps": 1})
    whole, synthesis, given = found.sample(12, latents=found.latents), found.generator.synthesis, []
    found.generator.synthesis = lambda w: (given.append(len(w)), synthesis(w))[1]
    found.sample(1000, seed=1)
    monkeypatch.setattr(autodecoder, "_AT_ONCE", 5 * 16**2)
    blocks = found.sample(12, latents=found.latents)
    assert given == [1000, 5, 5, 2]
    assert np.abs(blocks.astype(int) - whole).max() <= 1  # a product of fewer rows may round otherwise


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 13}, "batch is 13 of 12 training images"),
        ({"latent": 13}, "latent is 13 for 12 images"),
    ],
)
def test_bad_input_is_refused(images, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_autodecoder(images, path=tmp_path, **OPTIONS | changes)


@pytest.mark.parametrize("spoil", [lambda x: x[:, :12], lambda x: x[:, :12, :12], lambda x: x / np.float32(255)])
def test_images_of_another_kind_are_refused(images, tmp_path, spoil):
    with pytest.raises(ValueError, match="give squares of one of|give uint8"):
        train_autodecoder(spoil(images), path=tmp_path, **OPTIONS)
