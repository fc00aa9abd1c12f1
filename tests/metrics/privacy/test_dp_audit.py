"""The one-run audit: closed forms, and randomised response whose ε is known."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from lib.metrics.privacy.dp_audit import audit_pvalue, epsilon_bound, one_run_audit


def test_pvalue_without_delta_is_that_of_randomised_response():
    odds = math.exp(1.5) / (1 + math.exp(1.5))
    slow = sum(binom.pmf(k, 40, odds) for k in range(36, 41))
    found = audit_pvalue(canaries=100, guesses=40, right=36, epsilon=1.5, delta=0)
    assert found == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize(("guesses", "right", "delta"), [(40, 36, 1e-4), (7, 7, 1e-3), (100, 60, 1e-5)])
def test_the_term_of_delta_is_the_literal_maximum(guesses, right, delta):
    m, odds = 120, math.exp(0.8) / (1 + math.exp(0.8))
    reach = [sum(binom.pmf(k, guesses, odds) for k in range(max(right - i, 0), right)) / i for i in range(1, m + 1)]
    literal = sum(binom.pmf(k, guesses, odds) for k in range(right, guesses + 1)) + 2 * m * delta * max(reach)
    found = audit_pvalue(canaries=m, guesses=guesses, right=right, epsilon=0.8, delta=delta)
    assert found == pytest.approx(min(literal, 1), rel=1e-9)


def test_all_right_gives_the_closed_form():
    for m in (20, 400):
        right = 0.05 ** (1 / m)  # the odds at which m right guesses have a chance of 5 %
        found = epsilon_bound(canaries=m, guesses=m, right=m, delta=0)
        assert found == pytest.approx(math.log(right / (1 - right)), abs=1e-4)


def test_a_delta_weakens_and_a_coin_proves_nothing():
    counts = {"canaries": 300, "guesses": 100, "right": 95}
    assert epsilon_bound(**counts, delta=1e-3) < epsilon_bound(**counts, delta=0)
    assert epsilon_bound(canaries=300, guesses=100, right=50, delta=0) == 0


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_randomised_response_is_never_overstated_and_nearly_reached(epsilon):
    """Each answer is the coin with odds e^ε: the mechanism that the theorem is tight for."""
    rng, m, runs = np.random.default_rng(0), 2000, 400
    coins = rng.random((runs, m)) < 0.5
    answers = coins ^ (rng.random((runs, m)) < 1 / (1 + math.exp(epsilon)))
    right = (answers == coins).sum(axis=1)
    bound = {k: epsilon_bound(canaries=m, guesses=m, right=k, delta=0) for k in np.unique(right).tolist()}
    found = np.array([bound[k] for k in right.tolist()])
    wrong = (found > epsilon).sum()
    assert wrong <= binom.ppf(0.999, runs, 0.05)  # 5 % of runs at most, up to the chance of this test
    assert np.median(found) >= epsilon - 0.3


def test_the_choice_among_numbers_of_guesses_is_paid_for():
    """The best of several bounds, of an answer without information, exceeds 0 in at most 5 % of the runs."""
    rng, m, runs = np.random.default_rng(1), 200, 300
    found = []
    for _ in range(runs):
        scores, coins = rng.normal(size=m), rng.random(m) < 0.5
        found.append(one_run_audit(scores, coins, delta=0, guesses=(20, 50, 100, 200)).epsilon > 0)
    assert sum(found) <= binom.ppf(0.999, runs, 0.05)


def test_inclusion_itself_reaches_the_ceiling_and_its_opposite_proves_nothing():
    coins = np.random.default_rng(2).random(400) < 0.5
    certain = one_run_audit(coins.astype(float), coins, delta=1e-5, guesses=(50, 300))
    assert certain.epsilon == certain.ceiling > 3.5
    assert one_run_audit(-coins.astype(float), coins, delta=1e-5, guesses=(50, 300)).epsilon == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"guesses": (3,)}, "even numbers"),
        ({"guesses": ()}, "even numbers"),
        ({"guesses": (2.0,)}, "integers"),
        ({"guesses": (12,)}, "even numbers"),
        ({"included": np.ones(10)}, "one bool"),
        ({"scores": np.full(10, np.nan)}, "NaN"),
        ({"level": 1.0}, "level"),
    ],
)
def test_bad_input_is_refused(change, says):
    given = {"scores": np.arange(10.0), "included": np.arange(10) > 4, "delta": 0, "guesses": (4,)} | change
    with pytest.raises(ValueError, match=says):
        one_run_audit(given.pop("scores"), given.pop("included"), **given)
    with pytest.raises(ValueError, match="exceed"):
        audit_pvalue(canaries=10, guesses=4, right=5, epsilon=1, delta=0)
