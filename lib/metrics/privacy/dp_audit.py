"""Empirical ε from one training run: how much privacy loss do the guesses of an attacker prove?

Each of m canaries (images whose membership is at stake) enters the training set by a fair coin of its own. An attacker
who sees what was released guesses the coins of some of them. Under (ε, δ)-differential privacy (one image added or
removed) the number of right guesses is hardly larger than that of randomised response, so that many right guesses
prove a larger ε (Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", NeurIPS). A bound of 0
proves nothing: the attacker may be weak. What no attacker could exceed with these canaries is the `ceiling`.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

from lib.statistics import checks as samples

_LARGEST = 50.0  # no number of canaries that fits a computer proves more


class OneRunAudit(NamedTuple):
    """Outcome of `one_run_audit`."""

    epsilon: float  # lower confidence bound; 0: nothing proven
    level: float
    guesses: int  # of the choice that proved most
    right: int
    ceiling: float  # the bound had every guess been right
    canaries: int


def audit_pvalue(*, canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Chance of at least `right` right ones among `guesses`, under (epsilon, delta)-DP: an upper bound of it.

    Steinke et al. 2023, Theorem 5.2 for guesses of weight 1: with W ~ Binomial(guesses, e^ε / (1 + e^ε)),
    P[W >= v] + 2 m δ max_i P[v > W >= v - i] / i, i from 1 to m. The first term: given the guesses and the coins
    before it, a coin is right with odds of at most e^ε to 1. The number of guesses must not depend on the coins.
    ValueError unless 0 <= right <= guesses <= canaries, epsilon >= 0 and 0 <= delta < 1.
    """
    if not 0 <= right <= guesses <= canaries:
        raise ValueError(f"{right} right of {guesses} guesses on {canaries} canaries: each may not exceed the next")
    if not (epsilon >= 0 and 0 <= delta < 1):
        raise ValueError(f"epsilon is {epsilon} and delta {delta}: give epsilon >= 0 and 0 <= delta < 1")
    odds = expit(epsilon)
    first = binom.sf(right - 1, guesses, odds)
    if delta == 0 or right == 0:
        return float(first)
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, odds))  # P[v > W >= v - i], i = 1 … v
    return float(min(first + 2 * canaries * delta * (below / np.arange(1, right + 1)).max(), 1.0))


def epsilon_bound(*, canaries: int, guesses: int, right: int, delta: float, level: float = 0.95) -> float:
    """The largest ε that these guesses refute: a lower bound of the true ε, wrong at most 1 − `level` of the time.

    Errors as `audit_pvalue`, and ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: give a confidence level in (0, 1)")

    def excess(epsilon: float) -> float:
        counts = {"canaries": canaries, "guesses": guesses, "right": right}
        return audit_pvalue(**counts, epsilon=epsilon, delta=delta) - (1 - level)

    if excess(0.0) > 0:
        return 0.0
    return _LARGEST if excess(_LARGEST) <= 0 else float(brentq(excess, 0.0, _LARGEST, xtol=1e-6))


def one_run_audit(
    scores: ArrayLike, included: ArrayLike, *, delta: float, guesses: Sequence[int], level: float = 0.95
) -> OneRunAudit:
    """Bound ε by an attack's scores of the m canaries (m,), larger meaning more likely included (m,) bool.

    For each even number in `guesses`, chosen without looking at the coins, the larger half of the scores is guessed
    to be in and the smaller half out. The best of these bounds counts, each at level 1 − (1 − level)/k (Bonferroni),
    so that the choice costs nothing but width. Of equal scores the earlier row counts as the smaller: rows must not
    be ordered by inclusion. The coins must have been fair and independent, which cannot be checked here.
    ValueError for NaN, sides that differ in length, or a number of guesses that is odd, not whole, below 2 or above m.
    """
    scores = samples.scores(scores, "scores")
    included = np.asarray(included)
    if included.shape != scores.shape or included.dtype != bool:
        raise ValueError(f"included is {included.dtype} {included.shape}: give one bool for each of {len(scores)}")
    whole = all(isinstance(r, (int, np.integer)) for r in guesses)
    if len(guesses) == 0 or not whole or any(r % 2 or not 2 <= r <= len(scores) for r in guesses):
        raise ValueError(f"guesses are {list(guesses)}: give integers, even numbers from 2 to {len(scores)}")
    inside = included[np.argsort(scores, kind="stable")]
    bound = partial(epsilon_bound, canaries=len(scores), delta=delta, level=1 - (1 - level) / len(guesses))
    found = []
    for r in guesses:
        right = int((~inside[: r // 2]).sum() + inside[len(inside) - r // 2 :].sum())
        found.append((bound(guesses=r, right=right), r, right))
    epsilon, count, right = max(found)
    ceiling = max(bound(guesses=r, right=r) for r in guesses)
    return OneRunAudit(epsilon, level, count, right, ceiling, len(scores))
