"""pGAN: published sizes, the layers of the specification, and the fast layers against the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.gan.acgan import SIZES, Discriminator, Generator


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("width", "generator", "discriminator"),
    [(16, 385_280, 207_396), (32, 1_114_624, 824_388), (64, 3_605_504, 3_287_172), (128, 12_716_032, 13_127_940)],
)
def test_parameter_counts_are_the_published_ones(width, generator, discriminator):
    with torch.device("meta"):
        assert _count(Generator(width=width)) == generator
        assert _count(Discriminator(width=width)) == discriminator


def _convolutions(network, kind):
    layers = [m for m in network.layers if isinstance(m, kind)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in layers]
    return shapes, [m.bias is not None for m in layers]


def test_layers_are_the_published_ones():
    with torch.device("meta"):
        up, biased = _convolutions(Generator(), torch.nn.ConvTranspose2d)
        assert up == [(103, 1024, 4, 1, 0)] + [(c, c // 2 if c > 128 else 9, 4, 2, 1) for c in (1024, 512, 256, 128)]
        assert not any(biased)
        down, biased = _convolutions(Discriminator(), torch.nn.Conv2d)
    assert down == [(9, 128, 4, 2, 1)] + [(c, 2 * c, 4, 2, 1) for c in (128, 256, 512)] + [(1024, 128, 4, 1, 0)]
    assert biased == [False, True, True, True, False]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_norms_stand_where_the_specification_says(batch_norm):
    names = [type(m).__name__.removeprefix("_") for m in Generator(16, 4, batch_norm=batch_norm).layers]
    norm = ["BatchNorm2d"] * batch_norm
    assert names == ["FromPoint", *norm, "ReLU", "ConvTranspose2d", *norm, "ReLU", "ConvTranspose2d", "Tanh"]
    discriminator = Discriminator(16, 4, batch_norm=batch_norm)
    names = [type(m).__name__.removeprefix("_") for m in discriminator.layers]
    assert names == ["Conv2d", "LeakyReLU", "Conv2d", *norm, "LeakyReLU", "ToPoint"]
    assert all(m.negative_slope == 0.2 for m in discriminator.modules() if isinstance(m, torch.nn.LeakyReLU))


@pytest.mark.parametrize("size", SIZES)
def test_shapes_of_the_family(size):
    with torch.device("meta"):
        generator = Generator(size, width=8, slices=5, regions=4, noise=7)
        images = generator(torch.zeros(2, 4), torch.zeros(2, 7))
        assert images.shape == (2, 5, size, size)
        real, region = Discriminator(size, width=8, slices=5, regions=4)(images)
    assert (real.shape, region.shape) == ((2,), (2, 4))


def test_initial_weights_are_as_published():
    with initialising(0):
        networks = Generator(32, 32, batch_norm=True), Discriminator(32, 32, batch_norm=True)
    for network in networks:
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert not module.bias.any()


def test_regions_mix_linearly_before_the_first_nonlinearity():
    with initialising(0):
        generator, noise = Generator(16, width=4), torch.randn(1, 100)
    first, corners = generator.layers[0], torch.eye(3)
    mixed = first(torch.cat([torch.tensor([[0.25, 0.75, 0.0]]), noise], 1)[:, :, None, None])
    ends = [first(torch.cat([corners[i : i + 1], noise], 1)[:, :, None, None]) for i in range(3)]
    torch.testing.assert_close(mixed, 0.25 * ends[0] + 0.75 * ends[1])
    images = generator(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), noise.expand(2, -1))
    assert images.abs().max() <= 1
    assert not torch.equal(images[0], images[1])


def test_fast_layers_equal_plain_convolutions():
    """Both matrix products give the convolution that their class and arguments say, and its gradients."""
    with initialising(1):
        up, down = Generator(16, width=4).double().layers[0], Discriminator(16, width=4).double().layers[-1]
        inputs = [torch.randn(2, *shape, dtype=torch.float64) for shape in ((103, 1, 1), (8, 4, 4))]
    for layer, x, plain in zip((up, down), inputs, (F.conv_transpose2d, F.conv2d), strict=True):
        x.requires_grad_()
        for fast, slow in zip(*(_with_gradients(f, x, layer.weight) for f in (layer, plain)), strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


def _with_gradients(function, x, weight):
    y = function(x) if isinstance(function, torch.nn.Module) else function(x, weight)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return y, *torch.autograd.grad((y * weights).sum(), (x, weight))


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_unknown_size_is_refused(network):
    with pytest.raises(ValueError, match="48 is not one of 16, 32, 64, 128"):
        network(48)
