"""Distances to the nearest real image: exact, by walk."""

import numpy as np
import pytest
import torch

from lib.metrics.privacy.reidentification.nearest_real import nearest_real


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
