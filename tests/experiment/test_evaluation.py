"""A claim on resamples of the patients, some of which hold no image of a class: left out of all that is compared."""

import numpy as np
import pytest

from lib.experiment.evaluation import evaluate
from lib.experiment.paper import Claim
from lib.statistics.repetitions import Repeated

CLAIM = Claim(kind="own", says="it is there", notebook="01_x", value="v", claimed="> 0", nulls={"noise": "of nothing"})
DRAWS, PATIENTS = 200, 30
rng = np.random.default_rng(0)
VALUES = 1 + 0.01 * rng.standard_normal(10)
ON_RESAMPLES = 1 + 0.1 * rng.standard_normal((10, DRAWS))


def evaluated(undefined: int, *, of_null: int = 0, is_smoke: bool = False):
    draws, null = ON_RESAMPLES.copy(), 0.1 * ON_RESAMPLES
    draws[3, :undefined] = np.nan  # in one repetition alone
    null[0, DRAWS - of_null :] = np.nan
    both = [Repeated(at * VALUES, draws=of, patients=PATIENTS) for at, of in ((1, draws), (0.1, null))]
    return evaluate("C1", CLAIM, both[0], nulls={"noise": both[1]}, is_smoke=is_smoke)


def test_resamples_without_a_value_are_left_out_of_the_claim_and_of_its_nulls_alike():
    facts, outcome = evaluated(20, of_null=30)
    assert facts["n"] == "10 repetitions, 50 of 200 resamples of the patients without a value left out"
    rest = slice(20, DRAWS - 30)
    kept = [Repeated(at * VALUES, draws=at * ON_RESAMPLES[:, rest], patients=PATIENTS) for at in (1, 0.1)]
    assert facts["interval"] == pytest.approx(kept[0].estimate().interval())
    difference = (kept[0] - kept[1]).estimate()
    assert facts["differences"]["noise"] == pytest.approx([difference.value, *difference.interval()])
    assert outcome.verdict == "replicated"


def test_where_all_have_a_value_nothing_is_said_or_left_out():
    facts, _ = evaluated(0)
    assert facts["n"] == "10 repetitions"
    whole = Repeated(VALUES, draws=ON_RESAMPLES, patients=PATIENTS)
    assert facts["interval"] == pytest.approx(whole.estimate().interval())


@pytest.mark.parametrize("is_smoke", [False, True])
def test_where_most_have_none_the_claim_is_not_testable(is_smoke):
    facts, outcome = evaluated(101, is_smoke=is_smoke)
    assert outcome.verdict == "not testable here"
    assert facts["interval"] is None
    assert is_smoke or "most resamples of the patients have no value: give more patients" in outcome.why


def test_an_infinite_draw_is_a_mistake():
    draws = ON_RESAMPLES.copy()
    draws[0, 0] = np.inf
    values, null = (
        Repeated(VALUES, draws=draws, patients=PATIENTS),
        Repeated(VALUES, draws=ON_RESAMPLES, patients=PATIENTS),
    )
    with pytest.raises(ValueError, match="draws of the claim are infinite"):
        evaluate("C1", CLAIM, values, nulls={"noise": null}, is_smoke=False)
