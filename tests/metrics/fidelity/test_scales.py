"""Features of unlike scales are refused, and taken when they are standardised."""

import numpy as np
import pytest

from lib.metrics.fidelity.frechet import frechet_distance
from lib.metrics.fidelity.kernel import kernel_distance
from lib.metrics.fidelity.scales import standardised


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance])
def test_features_of_unlike_scales_are_refused_and_taken_when_standardised(metric):
    """Ten features of unit SD and one of 1e7, as raw radiomics have: the last would be all of the distance."""
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(50, 11)), rng.normal(1, 1, size=(60, 11))
    wild = np.array([1.0] * 10 + [1e7])
    for first, second, name in ((wild, wild, "real"), (1, wild, "synthetic")):
        with pytest.raises(ValueError, match=f"{name} has features of unlike scales .*largest .*e.0[67], median"):
            metric(real=real * first, synthetic=synthetic * second)
    value = metric(**standardised(real=real, synthetic=synthetic))
    assert metric(**standardised(real=5 + real * wild, synthetic=5 + synthetic * wild)) == pytest.approx(value)


def test_standardised_features_have_mean_0_and_sd_1_in_the_real_set():
    rng = np.random.default_rng(0)
    real = np.hstack([rng.normal(3, 5, size=(40, 2)), np.full((40, 1), 1e5)])
    both = standardised(real=real, synthetic=real + [5, 0, 2])
    found, shifted = both["real"].numpy(), both["synthetic"].numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=0, ddof=1), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(shifted - found, np.tile([5 / real[:, 0].std(ddof=1), 0, 2], (40, 1)), atol=1e-9)
