"""CycleGAN's networks and histogram matching: published sizes, receptive field, exact histograms."""

import numpy as np
import pytest
import torch

from lib.cohorts.harmonisation import match_histogram
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


RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 40, (12, 8, 8), dtype=np.uint8)  # many ties
REFERENCE = RNG.normal(140, 30, (6, 8, 8)).clip(0, 255).astype(np.uint8)


def _histogram(images):
    return np.bincount(np.ravel(images), minlength=256)


@pytest.mark.parametrize("times", [1, 2, 6])
def test_histogram_becomes_that_of_the_reference_exactly(times):
    reference = REFERENCE.ravel()[: IMAGES.size // times].reshape(-1, 8)
    if times == 1:
        reference = RNG.integers(0, 256, IMAGES.size, dtype=np.uint8)
    np.testing.assert_array_equal(_histogram(match_histogram(IMAGES, reference)), times * _histogram(reference))


@pytest.mark.parametrize("size", [1, 7, 100, 999, 5000])
def test_cumulative_counts_of_any_reference_are_within_a_half(size):
    reference = RNG.integers(0, 256, size, dtype=np.uint8)
    matched = _histogram(match_histogram(IMAGES, reference)).cumsum()
    assert np.abs(matched - _histogram(reference).cumsum() * IMAGES.size / size).max() <= 0.5


def test_rank_by_rank_equals_the_quantile_definition():
    matched, levels = match_histogram(IMAGES, REFERENCE), np.sort(REFERENCE.ravel())
    n, m = IMAGES.size, REFERENCE.size
    expected = levels[[int((r + 0.5) * m / n) for r in range(n)]]
    np.testing.assert_array_equal(np.sort(matched.ravel()), expected)
    order = np.lexsort([matched.ravel(), IMAGES.ravel()])
    assert (np.diff(matched.ravel()[order].astype(int)) >= 0).all()  # a brighter pixel is never darker after


def test_its_own_reference_changes_nothing_and_ties_follow_the_neighbourhood():
    np.testing.assert_array_equal(match_histogram(IMAGES[:, None], IMAGES[::-1]), IMAGES[:, None])
    image = np.zeros((1, 5, 5), np.uint8)
    image[0, 0, 0] = 9  # the zeros beside it have the brighter neighbourhood
    matched = match_histogram(image, np.arange(25, dtype=np.uint8))[0]
    assert matched[0, 0] == 24
    assert {matched[0, 1], matched[1, 0], matched[1, 1]} == {21, 22, 23}


@pytest.mark.parametrize(
    ("images", "reference", "sentence"),
    [
        (IMAGES / 255, REFERENCE, "uint8 images"),
        (IMAGES, REFERENCE.astype(int), "uint8 images"),
        (IMAGES[0], REFERENCE, "uint8 images"),
        (IMAGES[:0], REFERENCE, "at least one pixel"),
        (IMAGES, REFERENCE[:0], "at least one pixel"),
    ],
)
def test_bad_input_of_matching_is_one_sentence(images, reference, sentence):
    with pytest.raises(ValueError, match=sentence):
        match_histogram(images, reference)
