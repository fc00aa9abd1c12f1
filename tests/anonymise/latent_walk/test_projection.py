"""Projection finds the latents of images that a generator draws, each by itself, and is refused what does not fit."""

import pytest
import torch

from lib.anonymise.latent_walk.projection import projected
from lib.core.seeding import initialising
from lib.models.gan.stylegan2 import Generator


@pytest.fixture(scope="module")
def generator():
    with initialising(0):
        return Generator(16, 1, 1, 8, (8, 64)).eval()


def test_an_image_that_the_generator_draws_is_found_again(generator):
    torch.manual_seed(0)
    true = torch.randn(3, 8)
    with torch.no_grad():
        images = generator.synthesis(true)
    start = torch.zeros(3, 8)
    found = projected(generator.synthesis, images, start=start, steps=150)
    with torch.no_grad():
        far, near = ((generator.synthesis(w) - images).square().mean(dim=(1, 2, 3)) for w in (start, found))
    assert (near < 0.2 * far).all()
    assert torch.equal(start, torch.zeros(3, 8))
    assert all(p.requires_grad for p in generator.parameters())  # as before


def test_no_image_depends_on_the_others(generator):
    torch.manual_seed(0)
    images, start = torch.rand(3, 1, 16, 16) * 2 - 1, torch.randn(3, 8)
    whole = projected(generator.synthesis, images, start=start, steps=10)
    apart = projected(generator.synthesis, images, start=start, steps=10, memory_images=1)
    torch.testing.assert_close(whole, apart, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused(generator):
    images = torch.zeros(2, 1, 16, 16)
    with pytest.raises(ValueError, match="1 latents to start from for 2 images"):
        projected(generator.synthesis, images, start=torch.zeros(1, 8))
    with pytest.raises(ValueError, match="steps is 0"):
        projected(generator.synthesis, images, start=torch.zeros(2, 8), steps=0)
    with pytest.raises(ValueError, match="diverged"):
        projected(generator.synthesis, images * torch.nan, start=torch.zeros(2, 8), steps=2)
