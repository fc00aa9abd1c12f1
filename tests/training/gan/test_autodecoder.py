"""The generator that remembers: it draws its training images again, resumes bit for bit, refuses bad input."""

import numpy as np
import pytest
import torch

from lib.training.gan.autodecoder import load_autodecoder, train_autodecoder
from lib.training.loop.resume import cached

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
    again = load_autodecoder(tmp_path / "whole")
    assert torch.equal(again.latents, found.latents)
    assert torch.equal(again.generator.synthesis(again.latents), found.generator.synthesis(found.latents))


def test_resumes_bit_for_bit(images, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, **losses):
        if step == 40:
            raise Killed

    whole = train_autodecoder(images, path=tmp_path / "whole", **OPTIONS)
    with pytest.raises(Killed):
        train_autodecoder(images, path=tmp_path / "cut", save_seconds=0, progress=kill, **OPTIONS)
    resumed = train_autodecoder(images, path=tmp_path / "cut", **OPTIONS)
    assert torch.equal(resumed.latents, whole.latents)
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(value, resumed.generator.state_dict()[name]), name


def test_kept_results_are_computed_once(tmp_path):
    def compute():
        seen.append(1)
        return {"x": torch.arange(len(seen))}

    seen = []
    for settings, length in (({"k": 1}, 1), ({"k": 1}, 1), ({"k": 2}, 2)):
        assert len(cached(tmp_path / "x", settings, compute)["x"]) == length


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 13}, "batch is 13 for 12 images"),
        ({"latent": 13}, "latent is 13 for 12 images"),
    ],
)
def test_bad_input_is_refused(images, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_autodecoder(images, path=tmp_path, **OPTIONS | changes)


@pytest.mark.parametrize("spoil", [lambda x: x[:, :12], lambda x: x[:, :12, :12], lambda x: x / np.float32(255)])
def test_images_of_another_kind_are_refused(images, tmp_path, spoil):
    with pytest.raises(ValueError, match="give uint8 squares of"):
        train_autodecoder(spoil(images), path=tmp_path, **OPTIONS)
