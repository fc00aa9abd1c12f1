"""StyleGAN2: fast forms against literal ones, published size, derivatives of both orders."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.core import seeding
from lib.models.gan.stylegan2 import Discriminator, Generator, _Block, _deviation, _Styled
from lib.models.layers.convolution import Doubling, Filter, conv2d, conv_transpose2d

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def _upfirdn(x, up, before, after, down):
    """Zeros between the pixels, zeros around, the filter, every `down`-th pixel: one axis after the other."""
    for axis in (-2, -1):
        x = np.moveaxis(x, axis, -1)
        spaced = np.zeros((*x.shape[:-1], x.shape[-1] * up))
        spaced[..., ::up] = x
        padded = np.pad(spaced, [(0, 0)] * (x.ndim - 1) + [(before, after)])
        filtered = np.apply_along_axis(lambda row: np.convolve(row, TAPS, "valid"), -1, padded)
        x = np.moveaxis(filtered[..., ::down], -1, axis)
    return x


def _images(*shape, seed=0):
    return torch.randn(*shape, generator=seeding.torch_generator(seed, "test"))


@pytest.mark.parametrize("last", [False, True])
def test_filter_is_the_literal_one(last):
    x = _images(2, 3, 8, 8)
    given = x.to(memory_format=torch.channels_last) if last else x
    f = Filter(3)
    for got, expected in (
        (f.same(given, 1), _upfirdn(x.numpy(), 1, 1, 1, 1)), (f.same(given, 2), _upfirdn(x.numpy(), 1, 2, 2, 1)),
        (f.halved(given), _upfirdn(x.numpy(), 1, 1, 1, 2)), (Doubling(8)(given), 4 * _upfirdn(x.numpy(), 2, 2, 1, 1)),
    ):  # fmt: skip
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def _literally_modulated(layer, x, w, noise):
    """One kernel for each image, modulated, demodulated, applied as a grouped convolution; zeros are inserted."""
    n, inputs = x.shape[:2]
    style = F.linear(w, layer.style.weight / w.shape[1] ** 0.5, layer.style.bias)
    weight = layer.weight.transpose(0, 1).flip(2, 3) if layer.up else layer.weight
    weight = weight / (9 * inputs) ** 0.5 * style[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    if layer.up:
        spaced = torch.zeros(n, inputs, 2 * x.shape[2] + 1, 2 * x.shape[3] + 1)
        spaced[:, :, 1::2, 1::2] = x  # one zero before: the kernel then ends on the first pixel
        x = F.pad(spaced, (1, 1, 1, 1))
    else:
        x = F.pad(x, (1, 1, 1, 1))
    x = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), groups=n)[0].unflatten(0, (n, -1))
    if layer.up:
        x = torch.from_numpy(4 * _upfirdn(x.detach().numpy(), 1, 1, 1, 1)).float()
    x = 2**0.5 * x + layer.strength * noise + layer.bias  # √2: the gain of the activation before
    return F.leaky_relu(x, 0.2)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_the_literal_one(up):
    with seeding.initialising(1):
        layer = _Styled(12, 20, 16, 16 if up else 8, up=up)
        torch.nn.init.normal_(layer.bias)
        layer.strength.data.fill_(0.7)
    x, w = _images(3, 12, 8, 8), _images(3, 16, seed=1)
    with torch.no_grad():
        got = layer(x.to(memory_format=torch.channels_last), w, None)
        torch.testing.assert_close(got, _literally_modulated(layer, x, w, layer.noise), rtol=1e-5, atol=1e-5)
        drawn = layer(x, w, torch.Generator().manual_seed(3))
        noise = torch.randn(3, *layer.noise.shape[1:], generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(drawn, _literally_modulated(layer, x, w, noise), rtol=1e-5, atol=1e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_block_of_the_discriminator_is_the_literal_one():
    with seeding.initialising(2):
        block = _Block(6, 10)
        torch.nn.init.normal_(block.first.bias)
        torch.nn.init.normal_(block.second.bias)
    x = _images(2, 6, 8, 8)
    with torch.no_grad():
        got = block(x)
        y = F.conv2d(x, block.first.weight / 54**0.5, block.first.bias.flatten(), padding=1)
        y = torch.from_numpy(_upfirdn((2**0.5 * F.leaky_relu(y, 0.2)).numpy(), 1, 2, 2, 1)).float()
        y = F.conv2d(y, block.second.weight / 54**0.5, block.second.bias.flatten(), stride=2)
        y = 2**0.5 * F.leaky_relu(y, 0.2)
        halved = torch.from_numpy(_upfirdn(x.numpy(), 1, 1, 1, 2)).float()
        skip = F.conv2d(halved, block.skip.weight[:, :, None, None] / 6**0.5)
    torch.testing.assert_close(got, (y + skip) / 2**0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("operation", "shape", "stride", "padding"), [
    (conv2d, (2, 3, 5, 5), 1, 1), (conv2d, (2, 3, 5, 5), 2, 0), (conv_transpose2d, (2, 4, 3, 3), 2, 0),
    (conv_transpose2d, (2, 4, 3, 3), 1, 1),
])  # fmt: skip
def test_derivatives_of_both_orders(operation, shape, stride, padding):
    """First order in everything; second order through the derivative with respect to x, as penalties take it."""
    x = _images(*shape).double().requires_grad_()
    weight = _images(4, 3, 3, 3, seed=1).double().requires_grad_()

    def apply(x, weight):
        return operation(x, weight, stride=stride, padding=padding)

    assert torch.autograd.gradcheck(apply, (x, weight))
    plain = {conv2d: F.conv2d, conv_transpose2d: F.conv_transpose2d}[operation]
    seconds = []
    for f in (apply, lambda x, weight: plain(x, weight, stride=stride, padding=padding)):
        (first,) = torch.autograd.grad(f(x, weight).pow(3).sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), (x, weight)))
    for got, expected in zip(*seconds, strict=True):
        torch.testing.assert_close(got, expected)


def test_size_and_places_of_w():
    small = Generator(32, classes=2, latent=64, maps=(32, 512))
    assert round(sum(p.numel() for p in small.parameters()), -3) == 87_000  # spec §7
    for size, layers in ((256, 14), (64, 10), (32, 8)):
        assert Generator(size, latent=8, maps=(4, 64)).layers == layers
    published = Generator(256, latent=512)
    assert [layer.weight.shape[0 if layer.up else 1] for layer in published.convolutions] == [
        512, 512, 512, 512, 512, 512, 512, 512, 256, 256, 128, 128, 64,
    ]  # fmt: skip


def test_one_w_for_all_layers_equals_the_same_for_each_and_upper_layers_change_less_of_the_image():
    with seeding.initialising(3):
        generator = Generator(32, classes=2, latent=16, maps=(16, 256))
    z, labels = _images(4, 16), torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        w = generator.mapping(z, labels)
        images = generator.synthesis(w)
        assert images.shape == (4, 1, 32, 32)
        torch.testing.assert_close(images, generator(z, labels))
        each = w[:, None].repeat(1, generator.layers, 1)
        torch.testing.assert_close(images, generator.synthesis(each))
        torch.testing.assert_close(generator.synthesis(w[:1]), images[:1], rtol=1e-4, atol=1e-5)
        top, bottom = each.clone(), each.clone()
        top[:, -1], bottom[:, 0] = -w, -w
        coarse = [F.avg_pool2d(generator.synthesis(v) - images, 8).square().mean() for v in (top, bottom)]
    assert not torch.equal(generator.mapping(z, labels), generator.mapping(z, 1 - labels))
    assert all(c > 0 for c in coarse)


def test_mapping_ignores_the_length_of_z():
    with seeding.initialising(4):
        generator = Generator(8, classes=1, latent=16, maps=(8, 64))
    z = _images(3, 16)
    torch.testing.assert_close(generator.mapping(z, None), generator.mapping(5 * z, None), rtol=1e-4, atol=1e-5)


def test_spread_of_a_group():
    x = _images(8, 3, 4, 4)
    expected = [x[i : i + 4].std(dim=0, correction=0).mean() for i in (0, 4)]
    got = _deviation(x)
    assert got.shape == (8, 1, 4, 4)
    torch.testing.assert_close(got[:, 0, 0, 0], torch.stack(expected).repeat_interleave(4), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        _deviation(x[:6])


def test_the_label_scores_by_projection():
    with seeding.initialising(5):
        critic = Discriminator(16, classes=3, maps=(8, 128))
    x, labels = _images(4, 1, 16, 16), torch.tensor([0, 1, 2, 0])
    seen = []
    critic.head.register_forward_hook(lambda module, args, output: seen.append(output))
    scores = critic(x, labels)
    m = critic.label_map(None, labels)
    torch.testing.assert_close(scores, torch.einsum("nd,nd->n", seen[0], m) / 8**0.5)


@torch.no_grad()
def test_what_costs_little_and_loses_much_stays_float32_under_autocast():
    """Mapping, styles, images as they are added up, the spread and the logits; the maps between them are bf16."""
    with seeding.initialising(0):
        generator = Generator(16, latent=16, maps=(16, 128))
        discriminator = Discriminator(16, maps=(16, 128))
    z, labels, kinds = _images(8, 16), torch.arange(8) % 2, {}
    for network in (generator, discriminator):
        for name, module in network.named_modules():
            module.register_forward_hook(lambda _, args, out, name=name: kinds.update({name: out.dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        w = generator.mapping(z, labels)
        images = generator.synthesis(w)
        logits = discriminator(images, labels)
    assert torch.equal(w, generator.mapping(z, labels))
    styles = {name for name in kinds if name.startswith("label_map") or name.endswith("style")}
    exact = styles | {name for name in kinds if name.startswith(("doublings.", "to_image."))} | {"head", "", "to_image"}
    assert {name for name, kind in kinds.items() if kind == torch.float32} == exact & kinds.keys()
    assert {kinds[name] for name in kinds.keys() - exact} == {torch.bfloat16}
    assert len(styles) > 8
    assert images.dtype == logits.dtype == torch.float32


def test_unknown_size():
    with pytest.raises(ValueError, match="image size 48 is not one of 8, 16"):
        Generator(48)
