"""Conditional DCGAN: published sizes, and the fast layers against the plain ones."""

import pytest
import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule

from lib.core.seeding import initialising
from lib.models.gan.dcgan import SIZES, Discriminator, Generator


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("norm", "generator", "discriminator"), [("instance", 14_424_144, 25_944_676), ("batch", 14_428_112, 25_948_516)]
)
def test_parameter_counts_are_the_published_ones(norm, generator, discriminator):
    with torch.device("meta"):
        assert _count(Generator(norm=norm)) == generator
        net = Discriminator(norm=norm)
    assert _count(net) == discriminator
    assert _count(net.condition) == 835_684


def test_layers_are_the_published_ones():
    with torch.device("meta"):
        up = [m for m in Generator().layers if isinstance(m, torch.nn.ConvTranspose2d)]
        down = [m for m in Discriminator().layers if isinstance(m, torch.nn.Conv2d)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in up]
    assert shapes == [(200, 1024, 4, 1, 0)] + [(2 * c, c if c > 32 else 1, 4, 2, 1) for c in (512, 256, 128, 64, 32)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in down]
    assert shapes == [(2, 64, 6, 2, 2)] + [(c, 2 * c, 6, 2, 2) for c in (64, 128, 256, 512)] + [(1024, 1, 6, 1, 1)]
    assert all(m.bias is None for m in up + down)


@pytest.mark.parametrize("size", SIZES)
def test_shapes_of_the_family(size):
    with torch.device("meta"):
        labels = torch.zeros(2, dtype=torch.long)
        images = Generator(size, width=8)(torch.zeros(2, 100), labels)
        assert images.shape == (2, 1, size, size)
        assert Discriminator(size, width=8)(images, labels).shape == (2,)


def test_generated_range_and_class_matter():
    with initialising(0):
        generator, noise = Generator(32, width=4), torch.randn(3, 100)
    with torch.no_grad():
        first, second = (generator(20 * noise, torch.full((3,), c)) for c in (0, 1))
    assert first.abs().max() <= 1
    assert not torch.equal(first, second)


def test_fast_layers_equal_plain_convolutions():
    """Each rewritten layer gives the convolution that its class and arguments say, and its gradients."""
    with initialising(1):
        up, down = Generator(16, width=4).double().layers[0], Discriminator(16, width=4).double().layers
        inputs = [torch.randn(2, *s, dtype=torch.float64) for s in ((200, 1, 1), (2, 16, 16), (8, 4, 4))]
    plain = [
        lambda x, w: F.conv_transpose2d(x, w),
        lambda x, w: F.conv2d(x, w, stride=2, padding=2),
        lambda x, w: F.conv2d(x, w, padding=1),
    ]
    for layer, x, reference in zip((up, down[0], down[-1]), inputs, plain, strict=True):
        x.requires_grad_()
        for fast, slow in zip(*(_with_gradients(f, x, layer.weight) for f in (layer, reference)), strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


def _with_gradients(function, x, weight):
    y = function(x) if isinstance(function, torch.nn.Module) else function(x, weight)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return y, *torch.autograd.grad((y * weights).sum(), (x, weight))


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_unknown_size_and_norm_are_refused(network):
    with pytest.raises(ValueError, match="48 is not one of 16, 32, 64, 128, 256"):
        network(48)
    with pytest.raises(ValueError, match="'layer' is not one of instance, batch"):
        network(16, width=4, norm="layer")


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_discriminator_can_be_trained_privately():
    """Opacus' per-sample gradients equal a micro-batch loop for every parameter, rewritten layers included."""
    with initialising(2):
        network = Discriminator(16, width=4).double()
        images, labels = torch.rand(3, 1, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 1])
    expected = [
        torch.autograd.grad(network(images[i : i + 1], labels[i : i + 1]).sum(), list(network.parameters()))
        for i in range(3)
    ]
    GradSampleModule(network, loss_reduction="sum")(images, labels).sum().backward()
    for parameter, gradients in zip(network.parameters(), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(parameter.grad_sample, torch.stack(gradients), rtol=1e-9, atol=1e-12)
