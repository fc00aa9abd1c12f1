"""Distances to the nearest real image: exact, by walk, compared pair by pair."""

import numpy as np
import pytest
import torch

from lib.metrics.privacy.reidentification.nearest_real import compare_walks, mean_minimum, nearest_real


def test_distances_equal_the_brute_force_and_copies_are_at_zero():
    rng = np.random.default_rng(0)
    walks, real = rng.normal(size=(3, 5, 4)), rng.normal(size=(7, 4))
    walks[1, 2] = real[6]
    apart = np.linalg.norm(walks[:, :, None] - real, axis=3)
    found = nearest_real(walks=walks, real=real)
    np.testing.assert_allclose(found.distances, apart.min(axis=2), atol=1e-12)
    np.testing.assert_array_equal(found.rows, apart.argmin(axis=2))
    assert found.distances[1, 2] == 0
    assert found.rows[1, 2] == 6
    squared = nearest_real(walks=(torch.from_numpy(walk) for walk in walks), real=real, squared=True)
    np.testing.assert_allclose(squared.distances, apart.min(axis=2) ** 2, atol=1e-12)
    with pytest.raises(ValueError, match="different lengths"):
        nearest_real(walks=[walks[0], walks[1, :3]], real=real)
    with pytest.raises(ValueError, match="values a row"):
        nearest_real(walks=walks[:, :, :3], real=real)


def test_mean_minimum_draws_whole_walks():
    """Walks that differ and steps that do not: the interval is that of the walks, not of the images."""
    rng = np.random.default_rng(0)
    level = rng.normal(5, 1, size=30)
    distances = np.repeat(level[:, None], 50, axis=1)
    by_walk = mean_minimum(distances, rng=rng)
    alone = mean_minimum(distances.ravel(), rng=rng)
    assert by_walk.value == pytest.approx(level.mean())
    assert by_walk.units == 30
    assert alone.units == 1500
    assert (by_walk.high - by_walk.low) > 4 * (alone.high - alone.low)


def test_comparison_by_hand():
    baseline = np.array([[4.0, 1, 3], [2, 2, 2], [5, 4, 6]])
    walk = np.array([[4.0, 2, 3], [2, 1, 6], [5, 6, 6]])
    closest = compare_walks(walk=walk, baseline=baseline)
    np.testing.assert_allclose(closest.ratios, [2, 0.5, 1.25])
    assert closest.ratio == pytest.approx(8 / 7)
    assert (closest.higher, closest.pairs) == (2, 3)
    assert closest.pvalue == pytest.approx(0.5)  # (3 + 1) / 8
    mean = compare_walks(walk=walk, baseline=baseline, measure="mean")
    np.testing.assert_allclose(mean.ratios, [9 / 8, 9 / 6, 17 / 15])
    assert mean.pvalue == pytest.approx(1 / 8)
    same = compare_walks(walk=baseline, baseline=baseline)
    assert (same.ratio, same.higher, same.pvalue) == (1, 0, 1)


def test_a_copy_on_the_straight_walk_is_infinitely_nearer():
    found = compare_walks(walk=[[1.0, 2], [0, 1]], baseline=[[0.0, 2], [0, 1]])
    assert found.ratios.tolist() == [np.inf, 1]
    assert found.ratio == np.inf


@pytest.mark.parametrize(
    ("walk", "measure", "message"),
    [
        ([[1.0, 2]], "median", "unknown measure 'median'"),
        ([[1.0, 2, 3]], "mean", "same pairs"),
        ([[1.0, -2]], "mean", "same pairs"),
        ([[1.0, np.nan]], "mean", "NaN"),
    ],
)
def test_bad_comparisons_are_refused(walk, measure, message):
    with pytest.raises(ValueError, match=message):
        compare_walks(walk=walk, baseline=[[1.0, 1.0]], measure=measure)
