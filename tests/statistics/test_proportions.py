"""Intervals of proportions are scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lib.statistics import proportions


def test_wilson_is_scipys():
    rejected = np.arange(50) < 7
    found, theirs = proportions.wilson(rejected), binomtest(7, 50).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.14, theirs.low, theirs.high))
    assert proportions.wilson(np.zeros(10, bool)).low == 0
    with pytest.raises(ValueError, match="repetition"):
        proportions.wilson(np.zeros(0, bool))


def test_an_excess_is_kept_and_lost_in_shares_that_add_up_where_there_is_one():
    before, after = np.array([0.9, 0.9, 0.5, 0.1, 0.0]), np.array([0.9, 0.1, 0.3, 0.1, 0.7])
    kept, lost = (of(before, after, floor=0.1) for of in (proportions.excess_kept, proportions.excess_lost))
    np.testing.assert_allclose(kept, [1, 0, 0.5, 0, 0])
    np.testing.assert_allclose(lost, [0, 1, 0.5, 0, 0])  # nothing is hidden of whom nobody knew
    assert proportions.excess_lost(0.8, 0.9, floor=np.array([0.2])) == pytest.approx(-1 / 6)
