"""The kernel distance is the literal U-statistic, and that of shifted points has a closed form."""

import numpy as np
import pytest

from lib.metrics.fidelity.kernel import kernel_distance, kernel_of_subsets


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
    keeps = [rng.random((30, n)) < 0.4 for n in (70, 50)]
    found = kernel_of_subsets(real=real, synthetic=synthetic, real_keep=keeps[0], synthetic_keep=keeps[1])
    expected = [kernel_distance(real=real[one], synthetic=synthetic[two]) for one, two in zip(*keeps, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_kernel_distance_of_shifted_points_has_a_closed_form():
    """Two copies of one point in each set: k(0, 0) + k(c, c) − 2 k(0, c) = (c² / d + 1)³ − 1 for d = 1."""
    value = kernel_distance(real=np.zeros((2, 1)), synthetic=np.full((3, 1), 0.5))
    assert value == pytest.approx(1.25**3 - 1)
