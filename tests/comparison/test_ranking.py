"""Ranks by hand."""

import numpy as np
import pytest

from lib.comparison.ranking import mean_rank, not_beaten, replicates, shortfall
from lib.statistics.bootstrap import Interval


def test_shortfall_knows_three_directions():
    values = [1.0, 2.0, 4.0]
    assert shortfall(values, ideal=2, better="lower").tolist() == [0, 0, 2]
    assert shortfall(values, ideal=2, better="higher").tolist() == [1, 0, 0]
    assert shortfall(values, ideal=2, better="nearer").tolist() == [1, 0, 2]
    drawn = shortfall([[1.0, 2, 3], [2, 2, 2]], ideal=[1.0, 2, 3], better="higher")  # an ideal of each draw
    assert drawn.tolist() == [[0, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="unknown better"):
        shortfall(values, ideal=2, better="more")


def test_mean_rank_of_two_measures_by_hand():
    first, second = [[0, 1, 2], [0, 1, 2], [0, 2, 1]], [[0, 0, 5], [0, 0, 5], [0, 0, 5]]
    found = mean_rank([first, second])
    assert found.value.tolist() == [1.25, 1.75, 3.0]
    assert (found.low <= found.value).all()
    assert found.high[1] > 1.75
    with pytest.raises(ValueError, match="finite"):
        mean_rank([[[0, np.nan], [0, 1]]])


def test_not_beaten_by_hand():
    first, second = [0.5, 0.6, 0.7, 0.6], [0.3, 0.8, 0.8, 0.7]
    assert not_beaten(first, second).tolist() == [0, 1, 3]  # equal in the first, rows 1 and 3 do not beat one another
    assert not_beaten([0.6, 0.5], [0.8, 0.8]).tolist() == [1]


def test_subsampled_draws_are_widened_to_the_interval():
    rng = np.random.default_rng(0)
    of = Interval(5.0, 5 - 1.96, 5 + 1.96, 0.95, 20, rng.normal(7, 0.1, 1000))
    found = replicates(of, subsampled=True)[3:]
    assert found.mean() == pytest.approx(5)
    assert found.std() == pytest.approx(1, rel=0.01)
    assert np.array_equal(replicates(of)[3:], of.draws)
