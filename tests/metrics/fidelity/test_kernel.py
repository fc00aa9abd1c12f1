"""The kernel distance is the literal U-statistic, and that of shifted points has a closed form."""

import numpy as np
import pytest

from lib.metrics.fidelity.kernel import kernel_distance, kernel_distance_of_subsets


def test_kernel_distance_equals_the_literal_u_statistic_and_is_unbiased():
    rng = np.random.default_rng(6)
    real, synthetic = rng.normal(size=(70, 8)), rng.normal(size=(50, 8)) + 0.4

    def kernel(x, y):
        return (x @ y / 8 + 1) ** 3

    def mean(xs, ys, same):
        return np.mean([kernel(x, y) for i, x in enumerate(xs) for j, y in enumerate(ys) if not (same and i == j)])

    expected = mean(real, real, True) + mean(synthetic, synthetic, True) - 2 * mean(real, synthetic, False)
    assert kernel_distance(real=real, synthetic=synthetic, block=16) == pytest.approx(expected, rel=1e-10)
    null = [kernel_distance(real=rng.normal(size=(20, 5)), synthetic=rng.normal(size=(20, 5))) for _ in range(300)]
    assert abs(np.mean(null)) < 3 * np.std(null) / 300**0.5


def test_subsets_of_the_kernel_distance_are_taken_from_one_pass():
    rng = np.random.default_rng(11)
    real, synthetic = rng.normal(size=(70, 8)), rng.normal(size=(50, 8)) + 0.4
    found = kernel_distance_of_subsets(
        real=real, synthetic=synthetic, size=20, subsets=30, rng=np.random.default_rng(12), block=16
    )
    draws = np.random.default_rng(12)
    rows = [draws.random((30, n)).argsort(axis=1)[:, :20] for n in (70, 50)]
    expected = [kernel_distance(real=real[one], synthetic=synthetic[two]) for one, two in zip(*rows, strict=True)]
    assert (found.value, found.sd) == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-10)
    assert (found.size, found.subsets) == (20, 30)
    whole = kernel_distance_of_subsets(real=real[:50], synthetic=synthetic, size=50, subsets=3, rng=rng)
    assert whole.value == pytest.approx(kernel_distance(real=real[:50], synthetic=synthetic), rel=1e-10)
    assert whole.sd < 1e-12
    with pytest.raises(ValueError, match="of 2 to 50 images"):
        kernel_distance_of_subsets(real=real, synthetic=synthetic, size=60, rng=rng)


def test_the_kernel_distance_of_shifted_points_has_a_closed_form():
    """Two copies of one point in each set: k(0, 0) + k(c, c) − 2 k(0, c) = (c² / d + 1)³ − 1 for d = 1."""
    value = kernel_distance(real=np.zeros((2, 1)), synthetic=np.full((3, 1), 0.5))
    assert value == pytest.approx(1.25**3 - 1)
