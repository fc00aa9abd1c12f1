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
