"""The share of high frequencies is that of the full transform."""

import numpy as np
import pytest

from lib.metrics.fidelity import spectrum


def waves(fx, fy, size=64):
    y, x = np.mgrid[:size, :size]
    return np.cos(2 * np.pi * (fx * x + fy * y))


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [((0.125, 0), 0), ((0.25, 0), 0), ((0.265625, 0), 1), ((0, 0.5), 1), ((0.1875, 0.1875), 1), ((0.125, 0.1875), 0)],
)
def test_a_wave_lies_on_its_side_of_the_radial_cutoff(frequency, expected):
    assert spectrum.high_frequency_share(waves(*frequency)[None])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 31, 48), (3, 2, 30, 25)])
def test_high_frequency_share_equals_the_full_transform(shape):
    images = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    fy, fx = np.fft.fftfreq(shape[-2]), np.fft.fftfreq(shape[-1])
    above = np.hypot(fy[:, None], fx) > 0.25
    power = np.abs(np.fft.fft2(images - images.mean(axis=(-2, -1), keepdims=True))) ** 2
    power[..., 0, 0] = 0
    power = power.reshape(3, -1, *shape[-2:]).sum(axis=1)
    expected = (power * above).sum(axis=(1, 2)) / power.sum(axis=(1, 2))
    np.testing.assert_allclose(spectrum.high_frequency_share(images, block=2), expected, rtol=1e-10)


def test_high_frequency_share_is_of_amplitudes_and_ignores_gain_and_offset():
    image = 2 * waves(0.125, 0) + waves(0, 0.375)
    assert spectrum.high_frequency_share(np.stack([image, 9 * image + 40])) == pytest.approx([0.2, 0.2], abs=1e-12)
    assert spectrum.high_frequency_share(np.full((1, 8, 8), 3, np.uint8))[0] == 0
