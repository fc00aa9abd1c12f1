"""Verdicts: nulls and blind attacks replicate nothing, true effects are found as often as stated."""

import collections

import numpy as np
import pytest

from lib.core.seeding import numpy_generator
from lib.experiment.verdict import BY_CHANCE, Absence, Effect, claimed
from lib.statistics.repetitions import Estimate, independent

COUNT, TRIALS = 5, 2000


def of(value, half_width):
    """An estimate whose 95 % interval reaches `half_width` to both sides."""
    reach = Estimate(0.0, 1.0, 4, 5, ()).interval()[1]
    return Estimate(value, half_width / reach, 4, 5, ())


def drawn(rng, mean, sd=1.0):
    return mean + sd * rng.standard_normal((TRIALS, COUNT))


@pytest.mark.parametrize(
    ("text", "value", "null", "verdict"),
    [
        ("> 0", 0.5, 0.3, "replicated"),
        ("> 0", 0.5, 0.1, "not discriminating"),
        ("> 0", 0.5, -0.4, "not discriminating"),
        ("> 0", 0.1, 0.3, "inconclusive"),
        ("> 0", 0.1, -0.4, "inconclusive"),
        ("> 0", -0.3, 0.3, "contradicted"),
        ("< 1", 0.6, -0.3, "replicated"),
        ("< 1", 0.6, 0.3, "not discriminating"),
        ("< 1", 1.4, -0.3, "contradicted"),
    ],
)
def test_an_effect_needs_its_side_and_a_distance_from_every_null(text, value, null, verdict):
    nulls = {"an easy null": of(0.9 if text[0] == ">" else -0.9, 0.2), "noise": of(null, 0.2)}
    found = claimed(text).outcome(of(value, 0.2), against=nulls)
    assert found.verdict == verdict
    if verdict == "not discriminating":
        assert found.why == "not set apart from noise"
        assert (found.null, found.p >= 0.05) == ("noise", True)


def test_the_p_value_is_the_largest_and_agrees_with_the_verdict():
    rng = numpy_generator(0, "p")
    for value, difference in zip(drawn(rng, 1.0)[:300], drawn(rng, 1.5)[:300], strict=True):
        found = Effect(True, 0.0).outcome(independent(value), against={"noise": independent(difference)})
        if found.verdict == "contradicted":
            assert found.p == independent(value).p_below(0) < 0.05
        else:
            assert found.p == max(independent(value).p_above(0), independent(difference).p_above(0))
            assert (found.verdict == "replicated") == (found.p < 0.05)


def test_no_effect_is_replicated_as_often_as_stated():
    rng, effect = numpy_generator(0, "null"), Effect(True, 0.0)
    found = [effect.outcome(independent(row), against={}).verdict for row in drawn(rng, 0.0)]
    assert np.mean([verdict == "replicated" for verdict in found]) == pytest.approx(BY_CHANCE, abs=0.01)


def test_a_null_in_the_place_of_the_method_replicates_nothing():
    """Whatever the null itself reaches: its difference from a null of its own kind is nothing but chance."""
    rng, effect = numpy_generator(0, "null"), Effect(True, 0.0)
    pairs = zip(drawn(rng, 5.0), drawn(rng, 5.0), strict=True)
    found = collections.Counter(
        effect.outcome(independent(null), against={"the same null": independent(null - again)}).verdict
        for null, again in pairs
    )
    assert found["replicated"] / TRIALS == pytest.approx(BY_CHANCE, abs=0.01)
    assert found["not discriminating"] > 0.9 * TRIALS


def test_an_effect_of_the_stated_size_is_replicated_in_four_of_five_runs():
    rng, effect = numpy_generator(0, "effect"), Effect(True, 0.0)
    size = Estimate(0.0, 1 / COUNT**0.5, COUNT - 1, COUNT, ()).detectable()
    found = [effect.outcome(independent(row), against={}).verdict for row in drawn(rng, size)]
    assert np.mean([verdict == "replicated" for verdict in found]) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("nulls", [1, 2])
def test_the_power_of_an_inconclusive_claim_holds_beside_its_nulls(nulls):
    """At the size it names, or above, four of five runs are replicated."""
    rng, effect, found = numpy_generator(0, "power"), Effect(True, 0.0), []
    sizes = []
    for _ in range(400):
        method, others = rng.standard_normal(COUNT), rng.standard_normal((nulls, COUNT))
        weak = effect.outcome(independent(method - method.mean()), against={
            str(k): independent(method - other) for k, other in enumerate(others)
        })  # fmt: skip
        sizes.append(float(weak.why.split("an effect of ")[1].split()[0]))
    size = np.median(sizes)
    for _ in range(400):
        method, others = size + rng.standard_normal(COUNT), rng.standard_normal((nulls, COUNT))
        against = {str(k): independent(method - other) for k, other in enumerate(others)}
        found.append(effect.outcome(independent(method), against=against).verdict == "replicated")
    assert np.mean(found) >= 0.8


def test_repetitions_that_are_one_training_decide_nothing():
    for value in (0.0, 1e-12, 0.1):
        same = independent([value] * COUNT)
        assert Effect(True, 0.0).outcome(same, against={}).verdict == "inconclusive"
        controls = {"disjoint": of(0.0, 0.01), "leaks": {0.1: of(0.3, 0.01)}}
        assert Absence(0.2, 0.0).outcome(same, **controls).verdict == "inconclusive"
    values = np.array([0.3, 0.31, 0.29, 0.3, 0.32])
    of_null = independent(values - (values - 1e-12))
    found = Effect(True, 0.0).outcome(independent(values), against={"the method itself": of_null})
    assert (found.verdict, found.p) == ("not discriminating", 1.0)


@pytest.mark.parametrize(
    ("value", "disjoint", "tenth", "fifth", "verdict", "why"),
    [
        (0.50, 0.50, 0.60, 0.70, "replicated", ""),
        (0.60, 0.50, 0.60, 0.70, "contradicted", "outside"),
        (0.54, 0.50, 0.60, 0.70, "inconclusive", "80 % power"),
        (0.50, 0.50, 0.54, 0.70, "not testable here", "sees leaks above 20%"),
        (0.60, 0.50, 0.54, 0.70, "not testable here", "sees leaks above 20%"),
        (0.50, 0.50, 0.52, 0.53, "not testable here", "does not see a leak of 20%"),
        (0.50, 0.50, 0.40, 0.30, "not testable here", "does not see a leak of 20%"),
        (0.50, 0.50, 0.60, 0.50, "not testable here", "does not see a leak of 20%"),
        (0.50, 0.55, 0.60, 0.70, "not testable here", "disjoint"),
    ],
)
def test_silence_counts_only_where_a_leak_would_be_seen(value, disjoint, tenth, fifth, verdict, why):
    leaks = {0.1: of(tenth, 0.02), 0.2: of(fifth, 0.02)}
    found = claimed("within 0.05 of 0.5").outcome(of(value, 0.02), disjoint=of(disjoint, 0.02), leaks=leaks)
    assert found.verdict == verdict
    assert why in found.why


def test_a_leak_of_a_tenth_never_passes_for_none():
    """Members found at 1 % FPR: an attack that sees them replicates nothing, a blind one is not testable."""
    rng, absence = numpy_generator(0, "leak"), Absence(0.04, 0.01)
    for share_found, expected in ((0.1, "contradicted"), (0.01, "not testable here")):
        leaking, disjoint = drawn(rng, share_found, 0.01)[:500], drawn(rng, 0.01, 0.01)[:500]
        found = collections.Counter(
            absence.outcome(independent(a), disjoint=independent(b), leaks={0.1: independent(c)}).verdict
            for a, b, c in zip(leaking, disjoint, drawn(rng, share_found, 0.01), strict=False)
        )
        assert found["replicated"] <= 0.01 * 500
        assert found.most_common(1)[0][0] == expected


def test_what_cannot_be_read_is_refused():
    for text in (">= 0.03", "> ", "within 0.1", "bigger", "within -0.1 of 0"):
        with pytest.raises(ValueError, match="not of the form"):
            claimed(text)
    with pytest.raises(ValueError, match="no leak of 10%"):
        Absence(0.05, 0.5).outcome(of(0.5, 0.1), disjoint=of(0.5, 0.1), leaks={0.2: of(0.9, 0.1)})


def test_a_leak_inside_the_margin_is_said():
    controls = {"disjoint": of(0.01, 0.01), "leaks": {0.1: of(0.109, 0.02)}}
    outcome = Absence(0.04, 0.01).outcome(of(0.035, 0.005), **controls)
    assert outcome.verdict == "replicated"
    assert "something leaks" in outcome.why
    assert Absence(0.04, 0.01).outcome(of(0.012, 0.005), **controls).why == ""
