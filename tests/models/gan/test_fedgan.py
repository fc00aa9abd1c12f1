"""Networks of the federated GAN: published sizes and layers, and what a gradient penalty and a small client need."""

import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.gan.fedgan import NORMS, SIZES, Discriminator, Generator


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        assert _count(Generator()) == 13_243_264
        assert _count(Discriminator()) == 11_163_521


@pytest.mark.parametrize("size", SIZES)
def test_shapes_of_the_family(size):
    with torch.device("meta"):
        images = Generator(size, latent=32, labels=3, width=8)(torch.zeros(2, 32), torch.zeros(2, 3))
        score, findings = Discriminator(size, labels=3, width=8)(images)
    assert images.shape == (2, 1, size, size)
    assert score.shape == (2,)
    assert findings.shape == (2, 3)


def test_matrix_products_are_the_published_convolutions():
    """The first and the last layer of G and the score of D, as transposed and plain convolutions of kernel 4."""
    with initialising(0):
        layers, score = Generator(16, width=4).layers, Discriminator(16, width=4).score
        noise, features, last = torch.randn(3, 128), torch.randn(3, 8, 4, 4), torch.randn(3, 4, 8, 8)
    first, to_grey = layers[:2], layers[-2]
    plain = F.conv_transpose2d(last, to_grey.weight, stride=2, padding=1)
    torch.testing.assert_close(to_grey(last), plain)
    kernel = first[0].weight.view(8, 4, 4, 128).permute(3, 0, 1, 2)
    plain = F.conv_transpose2d(noise[:, :, None, None], kernel)
    torch.testing.assert_close(first(noise), plain)
    plain = F.conv2d(features, score.weight.view(1, 8, 4, 4))
    torch.testing.assert_close(score(features.flatten(1)), plain.flatten(1))


def test_findings_replace_the_first_numbers_of_the_noise():
    with initialising(1):
        generator, noise = Generator(16, labels=2, width=4).eval(), torch.randn(4, 128)
    absent, present = torch.zeros(4, 2), torch.tensor([[0.0, 1.0]] * 4)
    images = generator(noise, absent)
    assert images.abs().max() <= 1
    assert not torch.equal(images, generator(noise, present))
    noise[:, :2] = 9
    assert torch.equal(images, generator(noise, absent))


@pytest.mark.parametrize("norm", NORMS)
def test_the_critic_scores_each_image_alone(norm):
    with initialising(2):
        critic, images = Discriminator(16, labels=2, width=4, norm=norm), torch.rand(5, 1, 16, 16)
    together = critic(images)
    alone = [critic(image[None]) for image in images]
    for joined, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(joined, torch.cat(parts), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_built_is_refused():
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match="48 is not one of 16, 32, 64, 128, 256"):
            network(48)
    with pytest.raises(ValueError, match="128 labels in a latent of 128"):
        Generator(16, labels=128)
    with pytest.raises(ValueError, match="'batch' is not one of instance, none"):
        Discriminator(16, width=4, norm="batch")
