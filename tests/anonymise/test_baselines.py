"""Blur and noise: constants and closed forms."""

import numpy as np
import pytest

from lib.anonymise.baselines import blurred, noisy


def test_blur_keeps_a_constant_and_spreads_a_point_as_a_bell():
    assert (blurred(np.full((2, 9, 9), 77, np.uint8), sigma=2) == 77).all()
    point = np.zeros((1, 21, 21), np.uint8)
    point[0, 10, 10] = 255
    expected = 255 * np.exp(-(np.arange(-2, 3) ** 2) / 2) / (2 * np.pi)
    np.testing.assert_allclose(blurred(point, sigma=1)[0, 10, 8:13], expected, atol=0.6)


def test_images_are_not_blurred_into_each_other():
    both = np.stack([np.zeros((8, 8)), np.full((8, 8), 200)]).astype(np.uint8)
    np.testing.assert_array_equal(blurred(both, sigma=3), both)


def test_noise_has_the_deviation_asked_for():
    grey = noisy(np.full((4, 64, 64), 128, np.uint8), sigma=0.2, rng=np.random.default_rng(0))
    assert grey.std() / 127.5 == pytest.approx(0.2, rel=0.03)
    assert noisy(np.full((1, 8, 8), 255, np.uint8), sigma=3, rng=np.random.default_rng(0)).max() == 255


def test_colour_and_floats_are_refused():
    with pytest.raises(ValueError, match="give grey ones"):
        blurred(np.zeros((2, 8, 8), np.float32), sigma=1)
    with pytest.raises(ValueError, match="give grey ones"):
        noisy(np.zeros((2, 3, 8, 8), np.uint8), sigma=1, rng=np.random.default_rng(0))
