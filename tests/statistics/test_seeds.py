"""Intervals over seeds, against closed forms and by their coverage."""

import numpy as np
import pytest

from lib.statistics import seeds


def test_seed_interval_and_paired_difference_by_hand():
    interval = seeds.seed_interval([1.0, 2.0, 3.0])
    assert interval.value == 2
    assert interval.high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t quantile of 2 degrees of freedom
    paired = seeds.paired_difference(condition=[0.7, 0.8, 0.6], baseline=[0.6, 0.6, 0.65])
    assert paired.interval.value == pytest.approx(0.25 / 3)
    assert (paired.wins, paired.seeds) == (2, 3)


def test_coverage_of_seeds():
    rng = np.random.default_rng(11)
    found = [seeds.seed_interval(rng.normal(size=5)) for _ in range(1500)]
    assert 0.93 < np.mean([one.low <= 0 <= one.high for one in found]) < 0.97


def test_an_interval_over_seeds_ends_at_the_limits_of_a_share():
    free, cut = seeds.seed_interval([0.8, 1.0, 1.0]), seeds.seed_interval([0.8, 1.0, 1.0], limits=(0, 1))
    assert free.high > 1
    assert (cut.value, cut.low, cut.high) == (free.value, free.low, 1)
    with pytest.raises(ValueError, match="check their unit"):
        seeds.seed_interval([0.8, 80], limits=(0, 1))


def test_the_least_seed_is_the_value_and_lies_in_its_interval():
    found, mean = seeds.least([0.2, 0.9, 1.0]), seeds.seed_interval([0.2, 0.9, 1.0])
    assert (found.value, found.low, found.high) == (0.2, mean.low, mean.high)
    narrow = seeds.least([0.1] + [0.9] * 30)
    assert narrow.low == narrow.value == 0.1
