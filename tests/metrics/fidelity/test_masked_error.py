"""The error inside a mask."""

import numpy as np
import pytest

from lib.metrics.fidelity.masked_error import masked_mse, masked_rmse

RNG = np.random.default_rng(0)


def test_the_error_is_that_inside_the_mask():
    original, mask = RNG.random((3, 8, 8)), np.zeros((3, 8, 8), np.uint8)
    mask[:2, 2:5, 2:5] = 1
    anonymised = original + np.where(mask == 1, 0.5, 100.0)
    found = masked_rmse(original=original, anonymised=anonymised, mask=mask)
    assert found[:2] == pytest.approx([0.5, 0.5])
    assert np.isnan(found[2])  # no disc was found there
    np.testing.assert_allclose(masked_mse(original=original, anonymised=anonymised, mask=mask), found**2)
