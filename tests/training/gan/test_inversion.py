"""Inversion finds the w that drew an image; its distances in closed form; bad input."""

import numpy as np
import pytest
import torch
from lib.training.gan.inversion import invert, laplacian_distance, unit_distance

from lib.core import seeding
from lib.models.gan.stylegan2 import Generator
from lib.training.gan.stylegan2 import class_means
from lib.training.loop.images import pixels


@pytest.fixture(scope="module")
def generator():
    with seeding.initialising(0):
        return Generator(16, classes=2, latent=16, maps=(16, 256)).eval()


def _drawn(generator, n=6):
    labels = torch.arange(n) % 2
    with torch.no_grad():
        w = generator.mapping(torch.randn(n, 16, generator=torch.Generator().manual_seed(1)), labels)
        return w, labels.numpy(), generator.synthesis(w)


def _features(images):
    return [torch.nn.functional.avg_pool2d(images, 2), images.pow(2)]


@pytest.mark.parametrize("features", ["laplacian", "none", _features])
def test_finds_the_w_that_drew_the_image(generator, features):
    w, labels, images = _drawn(generator)
    found = invert(generator, images, labels, steps=200, features=features)
    start, spread = class_means(generator)
    before = (start[labels] - w).square().mean().sqrt()
    after = (found - w).square().mean(dim=1).sqrt()
    with torch.no_grad():
        error = (generator.synthesis(found) - images).square().mean(dim=(1, 2, 3)) / images.var()
    # Local minima exist: with the pyramid every image is found, without it all but one at least.
    assert sorted(after)[-1 if features == "laplacian" else -2] < 0.1 * before
    assert sorted(error)[-1 if features == "laplacian" else -2] < 1e-3
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())
    assert 0.3 < before / spread < 3


def test_images_do_not_disturb_each_other(generator):
    _, labels, images = _drawn(generator)
    together = invert(generator, pixels(images), labels, steps=10)
    apart = invert(generator, pixels(images), labels, steps=10, batch=1)
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3)


def test_distances_by_hand():
    a = torch.zeros(2, 1, 8, 8)
    b = a.clone()
    b[0] += 0.5  # a constant: only what remains at 4 px differs
    b[1, :, ::2] = 1
    b[1, :, 1::2] = -1  # stripes of one pixel: only the finest level
    torch.testing.assert_close(laplacian_distance(a, b), torch.tensor([0.5, 1.0]))
    x, y = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    x[:, 0], y[0, 0], y[1, 1] = 2.0, 5.0, 1.0  # the same direction; a right angle
    torch.testing.assert_close(unit_distance([x], [y]), torch.tensor([0.0, 2.0]))


def test_bad_input(generator):
    images = np.zeros((2, 16, 16), np.uint8)
    with pytest.raises(ValueError, match="unknown features 'lpips': choose one of laplacian, none"):
        invert(generator, images, [0, 1], features="lpips")
    with pytest.raises(ValueError, match="the generator draws"):
        invert(generator, images[:, :8], [0, 1])
    with pytest.raises(ValueError, match="give one label an image"):
        invert(generator, images, [0])
    with pytest.raises(ValueError, match=r"integers in 0\.\.1"):
        invert(generator, images, [0, 2])
