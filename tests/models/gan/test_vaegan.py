"""The parts of the VAE-GANs: published sizes, shapes, the two ways to sample, fast forms equal torch's."""

import math

import pytest
import torch
from torch import nn

from lib.models.gan.vaegan import SIZES, Critic, Decoder, Encoder, sample


def count(module) -> int:
    """Parameters and moving statistics, as Keras counts them."""
    return sum(v.numel() for name, v in module.state_dict().items() if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("network", "expected"),
    [(Encoder, 7_611_328), (Decoder, 5_517_825), (Critic, 3_804_129)],
    ids=["encoder", "decoder", "critic"],
)
def test_published_sizes(network, expected):
    assert count(network()) == expected


@pytest.mark.parametrize("size", SIZES)
def test_images_keep_their_size(size):
    shape = {"image_size": size, "kernel": 4, "width": 16}
    images = torch.zeros(2, 1, size, size)
    mean, log_variance = Encoder(latent=5, **shape)(images, images)
    assert mean.shape == log_variance.shape == (2, 5)
    assert Decoder(latent=5, **shape)(mean).shape == images.shape
    assert Critic(**shape)(images).shape == (2, 1)


def test_parts_for_swapping_identities():
    shape = {"image_size": 16, "kernel": 4, "width": 8}
    images = torch.zeros(2, 1, 16, 16)
    assert Encoder(masked=False, latent=5, **shape)(images)[0].shape == (2, 5)
    assert Decoder(latent=5, identities=3, **shape)(torch.zeros(2, 8)).shape == images.shape
    assert Critic(outputs=6, **shape)(images).shape == (2, 6)


@pytest.mark.parametrize(("image_size", "kernel", "width"), [(48, 4, 16), (32, 5, 16), (32, 2, 16), (32, 4, 10)])
def test_unknown_shapes_are_refused(image_size, kernel, width):
    for part in (Encoder, Decoder, Critic):
        with pytest.raises(
            ValueError, match="not one of 16, 32, 64, 128|give an even kernel from 4 and a multiple of 4"
        ):
            part(image_size=image_size, kernel=kernel, width=width)


def test_published_log_variance_lies_between_zero_and_one():
    shape = {"image_size": 16, "kernel": 4, "width": 8, "latent": 3}
    images = 50 * torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    inside = Encoder(as_published=True, **shape)(images, images)[1]
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert Encoder(**shape)(images, images)[1].min() < 0


def test_two_ways_to_sample():
    mean, ones = torch.full((1, 2), 3.0), torch.ones(1, 2)
    deviations = {published: sample(mean, ones, ones, as_published=published) - 3 for published in (False, True)}
    torch.testing.assert_close(deviations[False], torch.full((1, 2), math.exp(0.5)))
    torch.testing.assert_close(sample(mean, 0.5 * ones, ones, as_published=True) - 3, ones * math.exp(0.125))
    for published in (False, True):
        torch.testing.assert_close(sample(mean, 0 * ones, ones, as_published=published) - 3, ones)


@pytest.mark.parametrize("kernel", [4, 6, 8])
@pytest.mark.parametrize("network", [Decoder, Critic])
def test_fast_layers_equal_torchs_own(network, kernel):
    ours = (
        network(image_size=16, kernel=kernel, width=8, **({"latent": 3} if network is Decoder else {})).double().eval()
    )
    given = torch.randn(2, *((3,) if network is Decoder else (1, 16, 16)), dtype=torch.float64, requires_grad=True)
    parameters = list(ours.parameters())

    def results():
        out = ours(given)
        return [out, *torch.autograd.grad(out.square().sum(), [given, *parameters])]

    fast = results()
    for module in ours.modules():
        for kind in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(module, kind):
                module.__class__ = kind
    for mine, torchs in zip(fast, results(), strict=True):
        torch.testing.assert_close(mine, torchs)


def test_gradients_of_the_critic_differentiate_again():
    critic = Critic(image_size=16, kernel=4, width=8, dropout=0).double()
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = [p for p in critic.parameters() if p.ndim > 1]

    def by_parameters():
        at = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), parameters)

    fast = by_parameters()
    for module in critic.modules():
        if isinstance(module, nn.Conv2d):
            module.__class__ = nn.Conv2d
    for mine, torchs in zip(fast, by_parameters(), strict=True):
        torch.testing.assert_close(mine, torchs)
