import numpy as np
import pytest
import scipy.ndimage
import torch
from scipy.stats import wasserstein_distance

from lib.metrics.fidelity.sliced_wasserstein import laplacian_pyramid, sliced_distance, sliced_wasserstein


@pytest.mark.parametrize("size", [(32, 32), (33, 50)])
def test_the_pyramid_is_the_literal_one_and_gives_the_image_back(size):
    images = np.random.default_rng(0).normal(size=(3, *size))
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None] / 256
    bands = laplacian_pyramid(torch.from_numpy(images), 3)
    expected = images
    for band in bands[:-1]:
        reduced = scipy.ndimage.convolve(expected, kernel, mode="mirror")[:, ::2, ::2]
        spread = np.zeros_like(expected)
        spread[:, ::2, ::2] = reduced
        up = scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
        np.testing.assert_allclose(band.numpy() + up, expected, atol=1e-12)
        expected = reduced
    np.testing.assert_allclose(bands[-1].numpy(), expected, atol=1e-12)


def test_a_constant_image_has_no_bands():
    bands = laplacian_pyramid(torch.full((1, 64, 64), 3.0), 3)
    assert [float(band.abs().max()) for band in bands] == pytest.approx([0, 0, 3], abs=1e-5)


def test_sliced_distance_is_the_literal_one():
    rng = np.random.default_rng(1)
    first, second, directions = rng.normal(size=(90, 5)), 1 + rng.normal(size=(90, 5)), rng.normal(size=(7, 5))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = np.mean([wasserstein_distance(first @ way, second @ way) for way in directions])
    assert sliced_distance(*map(torch.from_numpy, (first, second, directions))) == pytest.approx(expected, rel=1e-12)


def test_closed_forms_of_a_shift_and_of_a_gain():
    rng = np.random.default_rng(2)
    points, shift = torch.from_numpy(rng.normal(size=(4000, 6))), torch.from_numpy(rng.normal(size=6))
    ways = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(50, 6))), dim=1)
    assert sliced_distance(points, points + shift, ways) == pytest.approx(float((ways @ shift).abs().mean()), rel=1e-10)
    # Sorted values of a·x are a times those of x: the distance is (a − 1) E|x|, of a Gaussian √(2 / π).
    assert sliced_distance(points, 1.5 * points, ways) == pytest.approx(0.5 * (2 / np.pi) ** 0.5, rel=0.03)
    assert sliced_distance(points, points.flip(0), ways) == 0


def radiographs(rng, n, blur):
    noise = rng.normal(size=(n, 64, 48))
    return scipy.ndimage.gaussian_filter(noise, (0, blur, blur)) * 300 + 128


def test_it_sees_texture_at_its_scale_but_no_gain():
    rng = np.random.default_rng(3)
    real, other, blurred = radiographs(rng, 60, 1), radiographs(rng, 60, 1), radiographs(rng, 60, 3)
    floor = sliced_wasserstein(real=real, synthetic=other, rng=rng, directions=64)
    assert floor.shape == (2,)  # 64 × 48 and 32 × 24: the next would be below 16
    gain = sliced_wasserstein(real=real, synthetic=(3 * other + 7).astype(np.float32), rng=rng, directions=64)
    found = sliced_wasserstein(real=real, synthetic=blurred, rng=rng, directions=64)
    assert (floor < 45).all()
    assert (abs(gain - floor) < 25).all()
    assert (found > 3 * floor).all()
    again = [
        sliced_wasserstein(real=real, synthetic=other, rng=np.random.default_rng(4), directions=8) for _ in range(2)
    ]
    np.testing.assert_array_equal(*again)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (np.zeros((3, 32, 32)), np.zeros((4, 32, 32)), "give as many"),
        (np.zeros((3, 12, 32)), np.zeros((3, 12, 32)), "the pyramid needs 16"),
        (np.ones((3, 32, 32)), np.eye(32)[None] * np.ones((3, 1, 1)), "real has no contrast"),
        (np.zeros((3, 1, 32, 32)), np.zeros((3, 1, 32, 32)), "give grey images"),
        (np.full((3, 32, 32), np.nan), np.zeros((3, 32, 32)), "real holds NaN"),
    ],
)
def test_bad_images_are_named(real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein(real=real, synthetic=synthetic, rng=np.random.default_rng(0))
