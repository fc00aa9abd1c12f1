"""The direction of a criterion decides shortfalls and ranks, the kind of its interval what its draws stand for."""

import numpy as np
import pytest

from lib.comparison.criteria import Criterion
from lib.comparison.ranking import mean_rank
from lib.statistics.bootstrap import Interval

VALUES = np.array([1.0, 2.0, 4.0])  # of three sets; the ideal is 2


def criterion(better="lower", **options):
    return Criterion(name="c", group="fidelity", better=better, **options)


def test_unknown_directions_and_intervals_are_refused():
    with pytest.raises(ValueError, match="c: unknown better 'more': choose one of lower, higher, nearer"):
        criterion("more")
    with pytest.raises(ValueError, match="c: unknown interval 'jackknife': choose one of bootstrap, subsets"):
        criterion(interval="jackknife")


@pytest.mark.parametrize(
    ("better", "short", "ranks"),
    [("lower", [0, 0, 2], [1.5, 1.5, 3]), ("higher", [1, 0, 0], [3, 1.5, 1.5]), ("nearer", [1, 0, 2], [2, 1, 3])],
)
def test_ranks_follow_the_direction(better, short, ranks):
    draws = np.repeat(VALUES[:, None], 5, axis=1)  # (sets, 1 + draws), without any spread
    found = criterion(better).shortfall(draws, ideal=np.full(5, 2.0))
    assert found[:, 0].tolist() == short
    assert mean_rank([found.T]).value.tolist() == ranks


@pytest.mark.parametrize(("better", "worse"), [("lower", [0, 0, 1]), ("higher", [1, 0, 0]), ("nearer", [1, 0, 1])])
def test_worse_is_what_lies_surely_on_the_wrong_side(better, worse):
    noise = np.linspace(-0.5, 0.5, 101)
    draws = VALUES[:, None] + np.append(0, noise)
    sure = criterion(better).is_worse(draws, ideal=np.full(102, 2.0))
    assert sure.tolist() == [bool(of) for of in worse]
    wide = VALUES[:, None] + np.append(0, 10 * noise)
    assert not criterion(better).is_worse(wide, ideal=np.full(102, 2.0)).any()
    together = criterion(better).is_worse(wide, ideal=2 + np.append(0, 10 * noise))  # the same draws of both
    assert together.tolist() == sure.tolist()


def test_only_subsets_are_widened_to_resamples():
    rng = np.random.default_rng(0)
    of = Interval(5.0, 5 - 1.96, 5 + 1.96, 0.95, 20, rng.normal(7, 0.1, 1000))
    assert np.array_equal(criterion().replicates(of)[3:], of.draws)
    widened = criterion(interval="subsets").replicates(of)
    assert widened[:3].tolist() == [5.0, 5 - 1.96, 5 + 1.96]
    assert widened[3:].mean() == pytest.approx(5)
    assert widened[3:].std() == pytest.approx(1, rel=0.01)
