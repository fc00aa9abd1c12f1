"""The error inside a mask."""

import numpy as np
import pytest

from lib.metrics.fidelity.masked_error import masked_mse

RNG = np.random.default_rng(0)


def test_the_error_is_that_inside_the_mask():
    original, mask = RNG.random((3, 8, 8)), np.zeros((3, 8, 8), np.uint8)
    mask[:2, 2:5, 2:5] = 1
    anonymised = original + np.where(mask == 1, 0.5, 100.0)
    found = masked_mse(original=original, anonymised=anonymised, mask=mask)
    assert found[:2] == pytest.approx([0.25, 0.25])
    assert np.isnan(found[2])  # no disc was found there


def test_a_mask_to_255_is_refused():
    ones = np.ones((1, 2, 2))
    with pytest.raises(ValueError, match=r"divide 0\.\.255 by 255"):
        masked_mse(original=ones, anonymised=ones, mask=np.full((1, 2, 2), 255))
