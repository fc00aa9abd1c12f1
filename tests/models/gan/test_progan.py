"""Progressive GAN: published parameter counts, the layers as spec §4.1 reads, growth and fading, bad arguments."""

import pytest
import torch
import torch.nn.functional as F

from lib.models.gan import progan
from lib.models.gan.progan import SIZES, Discriminator, Generator, channels, doubled, halved

SMALL = {"image_size": 16, "labels": 3, "maps": (6, 16)}


def _small(normalise="joint"):
    torch.manual_seed(0)
    return Generator(latent=8, normalise=normalise, **SMALL), Discriminator(**SMALL)


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def _inputs(n=8, seed=1):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(n, 8, generator=source), (torch.rand(n, 3, generator=source) < 0.5).float()


def _unit(x):
    return x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def _kernel(layer):
    return layer.weight * layer.scale


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"),
    [(256, 23_153_991, 23_054_543), (512, 23_227_912, 23_128_527), (1024, 23_255_657, 23_156_335)],
)
def test_published_parameter_counts(size, generator, discriminator):
    with torch.device("meta"):
        assert _count(Generator(size)) == generator
        assert _count(Discriminator(size)) == discriminator


def test_published_parameters_by_level():
    with torch.device("meta"):
        generator = Generator(256)
    first = _count(generator.first) + generator.bias.numel() + _count(generator.levels[0])
    assert first == 6_669_312
    assert [_count(level) for level in generator.levels[1:]] == [4_719_616] * 3 + [1_769_984, 442_624, 110_720]


def test_channel_rule():
    assert channels(1024, (512, 8192)) == [512, 512, 512, 512, 512, 256, 128, 64, 64, 32]
    assert channels(32, (48, 256)) == [48, 48, 48, 32, 16]


@pytest.mark.parametrize("size", SIZES[:7])
def test_every_size_gives_one_grey_image_and_its_score(size):
    generator, discriminator = Generator(size, 2, 4, (4, 256)), Discriminator(size, 2, (4, 256))
    images = generator(torch.randn(4, 4), torch.ones(4, 2))
    score, labels = discriminator(images)
    assert (images.shape, score.shape, labels.shape) == ((4, 1, size, size), (4,), (4, 2))


def test_weights_are_standard_normal_and_every_layer_keeps_the_scale():
    torch.manual_seed(0)
    generator = Generator(16, 4, 64, (64, 1024))
    for module in generator.modules():
        if hasattr(module, "scale") and module.weight.numel() > 1000:
            assert float(module.weight.detach().mean()) == pytest.approx(0, abs=0.05)
            assert float(module.weight.detach().std()) == pytest.approx(1, abs=0.05)
    assert generator.levels[1][1].scale == pytest.approx((2 / (9 * 64)) ** 0.5)
    assert generator.first.scale == pytest.approx((2 / 16 / 68) ** 0.5)
    assert generator.to_grey[0].scale == pytest.approx(64**-0.5)
    x = torch.randn(16, 64, 16, 16)
    layer = generator.levels[1][1]
    assert float(F.leaky_relu(layer(x), 0.2).detach().square().mean()) == pytest.approx(1, abs=0.2)


def test_up_convolution_is_nearest_up_sampling_then_convolution():
    layer, x = progan._UpConv(5, 7), torch.randn(2, 5, 8, 8)
    layer.bias.data.normal_()
    kernel = _kernel(layer).transpose(0, 1).flip(2, 3)
    torch.testing.assert_close(layer(x), F.conv2d(doubled(x), kernel, layer.bias, padding=1), rtol=1e-5, atol=1e-5)


def test_down_convolution_is_convolution_then_averaging():
    layer, x = progan._DownConv(5, 7), torch.randn(2, 5, 8, 8)
    layer.bias.data.normal_()
    expected = halved(F.conv2d(x, _kernel(layer), layer.bias, padding=1))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_pixel_norm_and_its_gradient():
    x = torch.randn(3, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(progan._Normalised.apply(x), _unit(x))
    assert torch.autograd.gradcheck(progan._Normalised.apply, x)


def test_first_and_second_derivatives_are_torchs_own(monkeypatch):
    """Of the critic's gradient norm with respect to weights: what the penalty needs."""
    discriminator = _small()[1].double()
    for parameter in discriminator.parameters():
        parameter.data += 0.1

    def derivatives():
        images = torch.randn(4, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        score, labels = discriminator(images.requires_grad_(), alpha=0.3)
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
        loss = gradient.square().sum().sqrt() + labels.square().sum()
        return torch.autograd.grad(loss, list(discriminator.parameters()), allow_unused=True)

    ours = derivatives()

    class Plain:
        apply = staticmethod(lambda x, weight, bias, stride: F.conv2d(x, weight, bias, stride, padding=1))

    monkeypatch.setattr(progan, "_Convolved", Plain)
    for got, expected in zip(ours, derivatives(), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("normalise", ["joint", "latent"])
def test_generator_as_the_specification_reads(normalise):
    generator, _ = _small(normalise)
    noise, labels = _inputs()
    joined = torch.cat([noise, labels], 1)
    x = _unit(joined) if normalise == "joint" else torch.cat([_unit(noise), labels], 1)
    x = (x @ _kernel(generator.first).T).view(8, 4, 4, 6).permute(0, 3, 1, 2)
    x = _unit(F.leaky_relu(x + generator.bias, 0.2))
    for number, level in enumerate(generator.levels):
        if number:
            kernel = _kernel(level[0]).transpose(0, 1).flip(2, 3)
            x = _unit(F.leaky_relu(F.conv2d(doubled(x), kernel, level[0].bias, padding=1), 0.2))
        x = _unit(F.leaky_relu(F.conv2d(x, _kernel(level[-1]), level[-1].bias, padding=1), 0.2))
    grey = generator.to_grey[-1]
    expected = F.conv2d(x, _kernel(grey)[:, :, None, None], grey.bias)
    torch.testing.assert_close(generator(noise, labels), expected, rtol=1e-3, atol=1e-4)


def test_joint_normalisation_shakes_the_labels_and_the_other_does_not():
    noise, labels = torch.tensor([[0.1] * 8, [3.0] * 8]), torch.ones(2, 3)
    seen = {}
    for normalise in ("joint", "latent"):
        generator, _ = _small(normalise)
        generator.first.register_forward_pre_hook(lambda module, args, key=normalise: seen.update({key: args[0]}))
        generator(noise, labels)
    assert seen["latent"][:, 8:].tolist() == [[1, 1, 1], [1, 1, 1]]
    torch.testing.assert_close(seen["joint"].square().mean(dim=1), torch.ones(2))
    assert seen["joint"][0, 8] > 4 * seen["joint"][1, 8]


def test_discriminator_as_the_specification_reads():
    _, discriminator = _small()
    images = torch.randn(8, 1, 16, 16)
    grey = discriminator.from_grey[-1]
    x = F.leaky_relu(F.conv2d(images, _kernel(grey)[:, :, None, None], grey.bias), 0.2)
    for same, down in list(discriminator.levels)[:0:-1]:
        x = F.leaky_relu(F.conv2d(x, _kernel(same), same.bias, padding=1), 0.2)
        x = F.leaky_relu(halved(F.conv2d(x, _kernel(down), down.bias, padding=1)), 0.2)
    spread = torch.stack([torch.sqrt(x[i : i + 4].var(0, correction=0) + 1e-8).mean() for i in (0, 4)])
    x = torch.cat([x, spread.repeat_interleave(4)[:, None, None, None].expand(8, 1, 4, 4)], 1)
    last = discriminator.levels[0][0]
    x = F.leaky_relu(F.conv2d(x, _kernel(last), last.bias, padding=1), 0.2).flatten(1)
    x = F.leaky_relu(x @ _kernel(discriminator.dense).T + discriminator.dense.bias, 0.2)
    heads = x @ _kernel(discriminator.heads).T + discriminator.heads.bias
    score, labels = discriminator(images)
    torch.testing.assert_close(score, heads[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(labels, heads[:, 1:], rtol=1e-4, atol=1e-5)


def test_a_level_is_faded_in():
    """At alpha 0 the level below alone speaks, at 1 the new one alone, and in between the image is their mean."""
    generator, discriminator = _small()
    z = _inputs()
    below, above = doubled(generator(*z, size=8)), generator(*z)
    torch.testing.assert_close(generator(*z, alpha=0.0), below)
    torch.testing.assert_close(generator(*z, alpha=0.25), 0.75 * below + 0.25 * above)
    for got, expected in zip(discriminator(above, alpha=0.0), discriminator(halved(above)), strict=True):
        torch.testing.assert_close(got, expected)
    score, _ = discriminator(above)
    torch.testing.assert_close(discriminator(above, alpha=0.999999)[0], score, rtol=1e-4, atol=1e-4)


def test_groups_are_evaluated_alone():
    _, discriminator = _small()
    a, b = torch.randn(4, 1, 16, 16), torch.randn(4, 1, 16, 16)
    joined = discriminator(torch.cat([a, b]))
    for part, expected in zip(zip(*(head.chunk(2) for head in joined), strict=True), (a, b), strict=True):
        torch.testing.assert_close(part, discriminator(expected), rtol=1e-4, atol=1e-6)
    assert float(progan._spread(a[:1].repeat(4, 1, 1, 1)).max()) == pytest.approx(1e-4)  # no spread but √1e-8
    with pytest.raises(ValueError, match="6 images: give a multiple of 4"):
        discriminator(torch.randn(6, 1, 16, 16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Generator(48), "48 is not one of 4, 8"),
        (lambda: Generator(16, normalise="both"), "'both' is not one of joint, latent"),
        (lambda: Discriminator(32, maps=(48, 8)), "leave no channel at 32 px"),
        (lambda: _small()[0](*_inputs(), size=32), "32 is not a power of two from 4 to 16"),
        (lambda: _small()[1](torch.zeros(4, 1, 12, 12)), "12 is not a power of two from 4 to 16"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
