"""CycleGAN's networks: published sizes, receptive field."""

import pytest
import torch

from lib.core.seeding import initialising
from lib.models.gan.cyclegan import PatchCritic, Translator


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def _convolution(inputs, outputs, kernel):
    return inputs * outputs * kernel**2 + outputs


def test_parameter_counts_are_the_published_ones():
    """Of three channels and width 64, and by arithmetic: instance normalisation has no parameters, every layer bias."""
    residual = 2 * _convolution(256, 256, 3)
    down = _convolution(3, 64, 7) + _convolution(64, 128, 3) + _convolution(128, 256, 3)
    up = _convolution(256, 128, 3) + _convolution(128, 64, 3) + _convolution(64, 3, 7)
    critic = sum(_convolution(a, b, 4) for a, b in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1)))
    with torch.device("meta"):
        assert _count(Translator(3)) == down + 9 * residual + up == 11_378_179
        assert _count(Translator(3, blocks=6)) == down + 6 * residual + up
        assert _count(PatchCritic(3)) == critic == 2_764_737


def test_shapes():
    with torch.device("meta"):
        assert Translator(3)(torch.empty(2, 3, 256, 256)).shape == (2, 3, 256, 256)
        assert Translator(1, 8, 2)(torch.empty(2, 1, 16, 24)).shape == (2, 1, 16, 24)
        assert PatchCritic(3)(torch.empty(2, 3, 256, 256)).shape == (2, 1, 30, 30)
        assert PatchCritic(1, 8, 1)(torch.empty(2, 1, 16, 16)).shape == (2, 1, 6, 6)
    with pytest.raises(ValueError, match="multiples of 4, at least 8"):
        Translator(1, 4, 1)(torch.zeros(1, 1, 18, 18))


@pytest.mark.parametrize(("depth", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_its_receptive_field_and_no_more(depth, side):
    with initialising(0):
        critic = PatchCritic(1, 2, depth).double()
    critic.layers = torch.nn.Sequential(  # instance normalisation would look at the whole image
        *(layer for layer in critic.layers if not isinstance(layer, torch.nn.InstanceNorm2d))
    )
    image = torch.rand(1, 1, 2 * side + 16, 2 * side + 16, dtype=torch.float64, requires_grad=True)
    scores = critic(image)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    seen = image.grad[0, 0].abs().amax(dim=0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == side


def test_no_image_changes_another():
    with initialising(0):
        translator, images = Translator(1, 4, 1), torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(translator(images)[1:2], translator(images[1:2]), rtol=1e-4, atol=1e-6)
