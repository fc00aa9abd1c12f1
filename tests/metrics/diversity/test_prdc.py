"""Precision, recall, density and coverage: conventions, and the fast equals the literal."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lib.metrics.diversity.prdc import dispersion, inside, support


def literal(real, synthetic, k):
    def radii(rows):
        return np.sort(cdist(rows, rows), axis=1)[:, k]  # the 0-th is the row itself

    apart, reach_real, reach_synthetic = cdist(real, synthetic), radii(real), radii(synthetic)
    inside = apart <= reach_real[:, None]
    return (
        np.mean([inside[:, j].any() for j in range(len(synthetic))]),
        np.mean([(apart[i] <= reach_synthetic).any() for i in range(len(real))]),
        inside.sum() / (k * len(synthetic)),
        np.mean([inside[i].any() for i in range(len(real))]),
    )


@pytest.mark.parametrize("memory", [2**10, 2**28])
def test_equals_the_literal_definition(memory):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(60, 5)), rng.normal(0.5, 1.2, size=(45, 5))
    found = support(real=real, synthetic=synthetic, k=3, memory=memory)
    np.testing.assert_allclose(found[:4], literal(real, synthetic, 3), rtol=1e-12)


def test_a_collapsed_generator_is_precise_and_recalls_nothing():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(300, 4))
    synthetic = real[7] + 1e-3 * rng.normal(size=(300, 4))
    found = support(real=real, synthetic=synthetic)
    assert found.precision == 1
    assert found.recall < 0.02
    assert found.coverage < 0.1


def test_a_generator_of_noise_recalls_all_and_is_not_precise():
    rng = np.random.default_rng(2)
    found = support(real=rng.normal(size=(300, 4)), synthetic=20 * rng.normal(size=(300, 4)))
    assert found.precision < 0.1
    assert found.recall > 0.9
    assert found.density < 0.1


def test_the_same_distribution_has_density_one():
    rng = np.random.default_rng(3)
    found = support(real=rng.normal(size=(1500, 3)), synthetic=rng.normal(size=(1500, 3)))
    assert abs(found.density - 1) < 0.05
    assert found.coverage > 0.9


def test_the_set_itself_is_covered_whole():
    rows = np.random.default_rng(4).normal(size=(40, 3))
    assert support(real=rows, synthetic=rows, k=1)[:2] == (1, 1)


def test_k_needs_more_images():
    rows = np.zeros((5, 2))
    with pytest.raises(ValueError, match="k is 5 and real has 5 images"):
        support(real=rows, synthetic=rows, k=5)


def test_dispersion_is_the_ratio_of_scales():
    rows = np.random.default_rng(5).normal(size=(80, 6))
    assert dispersion(real=rows, synthetic=0.5 * rows + 3) == pytest.approx(0.5)
    assert dispersion(real=rows, synthetic=rows[np.zeros(80, int)]) == 0
    with pytest.raises(ValueError, match="all equal|are equal"):
        dispersion(real=rows[[0, 0, 0]], synthetic=rows)


def test_support_is_the_mean_of_inside():
    rng = np.random.default_rng(0)
    sets = {"real": rng.normal(size=(60, 4)), "synthetic": rng.normal(0.3, 1, size=(50, 4))}
    means = [each.mean() for each in inside(**sets)]
    assert np.allclose(support(**sets)[:4], means)
