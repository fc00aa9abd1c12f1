"""One size for every shape: the aspect is kept by padding, and the averages are those of the pixels."""

import numpy as np
import pytest

from lib.cohorts.io.resampling import TooSmallError, fitted, side

RAMP = np.arange(24 * 16, dtype=np.float32).reshape(24, 16) + 5


def test_padding_keeps_the_aspect_and_is_the_darkest_pixel():
    found = fitted(RAMP, 12, "a")
    assert (found[:, :2] == 5).all()
    assert (found[:, 10:] == 5).all()
    np.testing.assert_allclose(found[:, 2:10], RAMP.reshape(12, 2, 8, 2).mean(axis=(1, 3)))
    np.testing.assert_array_equal(fitted(RAMP.T, 12, "a"), found.T)


def test_squeezed_and_cut():
    np.testing.assert_allclose(fitted(RAMP, 8, "a", fit="squeeze"), RAMP.reshape(8, 3, 8, 2).mean(axis=(1, 3)))
    middle = RAMP[4:20]
    np.testing.assert_allclose(fitted(RAMP, 8, "a", fit="crop"), middle.reshape(8, 2, 8, 2).mean(axis=(1, 3)))


def test_a_centre_crop_of_an_oblong_image_has_the_scale_of_the_padded_one():
    """Squeezed, it would not, and a copy that was cropped to a square would hide."""
    image = np.random.default_rng(0).uniform(0, 255, (96, 64)).astype(np.float32)
    cropped = fitted(image[16:80], 32, "a")
    padded = fitted(image, 48, "a")
    np.testing.assert_allclose(padded[8:40, 8:40], cropped, atol=1e-3)


@pytest.mark.parametrize(("fit", "least"), [("pad", 24), ("squeeze", 16), ("crop", 16)])
def test_what_is_too_small(fit, least):
    assert side(RAMP.shape, fit) == least
    assert fitted(RAMP, least, "a", fit=fit).shape == (least, least)
    with pytest.raises(TooSmallError, match=rf"^a: 16×24 pixels; give {least + 1}×{least + 1} at least"):
        fitted(RAMP, least + 1, "a", fit=fit)
    with pytest.raises(ValueError, match="unknown fit 'stretch': choose pad, squeeze, crop"):
        fitted(RAMP, 8, "a", fit="stretch")
