"""Estimates over repetitions hold the truth as often as they say, in both designs."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lib.core.seeding import numpy_generator
from lib.statistics.multiple_testing import holm
from lib.statistics.repetitions import (
    Estimate,
    Repeated,
    crossed,
    independent,
    measured,
    of_images,
    prediction_interval,
    repeated,
)

TRIALS, PATIENTS, DRAWS = 2000, 150, 120


@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_new_patients_in_every_repetition_are_covered(count, ratio):
    """A value is the mean over patients that only it has, plus an effect of its training."""
    rng, truth = numpy_generator(0, "coverage"), 0.2
    training = ratio * rng.standard_normal((TRIALS, count))
    patients = rng.standard_normal((TRIALS, count, 40)).mean(axis=2) * 40**0.5
    found = [independent(values).interval() for values in truth + training + patients]
    assert 0.93 <= np.mean([low <= truth <= high for low, high in found]) <= 0.97


def crossed_trial(rng, count, ratio, interaction):
    """Values (count,) and draws (count, DRAWS) of a mean over the same patients; the SD of that mean is 1."""
    training = ratio * rng.standard_normal((count, 1))
    of_patients = rng.standard_normal((1, PATIENTS)) + interaction * rng.standard_normal((count, PATIENTS))
    values = training + of_patients * PATIENTS**0.5
    weights = rng.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=DRAWS)
    return values.mean(axis=1), values @ weights.T / PATIENTS


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("interaction", [0.0, 1.0])
def test_the_same_patients_in_every_repetition_are_covered(count, ratio, interaction):
    rng = numpy_generator(0, "crossed coverage")
    held = []
    for _ in range(TRIALS):
        low, high = crossed(*crossed_trial(rng, count, ratio, interaction), patients=PATIENTS).interval()
        held.append(low <= 0 <= high)
    assert 0.93 <= np.mean(held) <= 0.97


def test_the_variance_is_that_of_its_three_sources():
    """On a million patients' worth of draws the estimate of the variance tends to σ²/r + τ²/n + ι²/(n r)."""
    rng, count = numpy_generator(0, "variance"), 5
    found = np.mean([crossed(*crossed_trial(rng, count, 1.0, 2.0), patients=PATIENTS).error ** 2 for _ in range(600)])
    assert found == pytest.approx(1 / count + 1 + 4 / count, rel=0.05)


def test_without_variation_over_patients_it_is_the_t_interval():
    values = np.array([0.1, 0.4, 0.2, 0.35])
    by_t, by_both = independent(values), crossed(values, np.repeat(values[:, None], 7, axis=1), patients=50)
    assert (by_both.value, by_both.error, by_both.df) == pytest.approx((by_t.value, by_t.error, by_t.df))


def test_p_values_are_those_of_the_t_test_and_agree_with_the_interval():
    values = np.array([0.1, 0.4, 0.2, 0.35, -0.05])
    of = independent(values)
    assert of.p_above(0.0) == pytest.approx(ttest_1samp(values, 0.0).pvalue)
    assert of.p_below(0.0) == 1.0
    assert of.p_below(0.5) == pytest.approx(ttest_1samp(values, 0.5).pvalue)
    low, high = of.interval()
    assert of.p_above(low) == pytest.approx(0.05)
    assert of.p_below(high) == pytest.approx(0.05)
    assert (Estimate(0.1, 0.0, 4, 5, ()).p_above(0.0), Estimate(0.0, 0.0, 4, 5, ()).p_above(0.0)) == (0.0, 1.0)


def test_a_detectable_effect_is_detected_with_the_stated_power():
    rng, count = numpy_generator(0, "power"), 6
    effect = Estimate(0.0, 1 / count**0.5, count - 1, count, ()).detectable(power=0.8)
    values = effect + rng.standard_normal((4000, count))
    assert np.mean([independent(row).p_above(0.0) < 0.05 for row in values]) == pytest.approx(0.8, abs=0.02)


def test_a_prediction_interval_holds_the_next_value():
    rng = numpy_generator(0, "prediction")
    values = rng.standard_normal((4000, 6))
    held = [low <= row[5] <= high for row in values for low, high in [prediction_interval(row[:5])]]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_holm_is_the_published_procedure():
    """Four hypotheses at .05: the smallest is compared with .05/4, the next with .05/3, and so on."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}
    rng = numpy_generator(0, "holm")
    wrong = [min(holm({str(i): p for i, p in enumerate(ps)}).values()) < 0.05 for ps in rng.random((4000, 19))]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize(
    ("values", "draws", "says"),
    [
        ([0.1], [[0.1, 0.1]], "two or more"),
        ([0.1, np.nan], [[0.1, 0.1]] * 2, "values"),
        ([0.1, 0.2], [[0.1, 0.1]], "a row for each"),
        ([0.1, 0.2], [[0.1], [0.2]], "a row for each"),
        ([0.1, 0.2], [[0.1, np.nan, 0.1], [0.2, 0.1, np.nan]], "more than half of the draws lack one class"),
        ([0.1, 0.2], [[0.1, np.nan], [0.2, 0.1]], "lack one class"),
    ],
)
def test_what_does_not_fit_is_refused(values, draws, says):
    with pytest.raises(ValueError, match=says):
        crossed(values, draws, patients=10)
    with pytest.raises(ValueError, match="patients"):
        crossed([0.1, 0.2], [[0.1, 0.1], [0.2, 0.1]], patients=1)
    with pytest.raises(ValueError, match="0 to 1"):
        holm({"a": 1.2})


def test_resamples_on_which_a_repetition_has_no_value_are_left_out():
    rng = numpy_generator(0, "undefined")
    values, draws = rng.random(5), rng.random((5, 40))
    gaps = draws.copy()
    gaps[2, 7], gaps[:, 9] = np.nan, np.nan
    left = np.delete(draws, [7, 9], axis=1)
    assert crossed(values, gaps, patients=30) == crossed(values, left, patients=30)


def test_what_a_record_keeps_is_what_a_claim_is_made_of():
    rng = numpy_generator(0, "records")
    weights, values = rng.integers(1, 4, (7, 5)), rng.random((4, 5))
    mean = lambda w, of: (w @ of) / w.sum(axis=1)  # noqa: E731
    records = [measured("mean", lambda w, of=of: mean(w, of), n=5, weights=weights) for of in values]
    found = repeated(records, "mean", patients=5)
    np.testing.assert_allclose(found.values, values.mean(axis=1))
    np.testing.assert_allclose(found.draws, np.stack([mean(weights, of) for of in values]))
    assert found.patients == 5
    alone = repeated([measured("mean", lambda w, of=of: mean(w, of), n=5) for of in values], "mean", patients=5)
    assert alone.draws is None
    assert alone.patients == 0
    with pytest.raises(KeyError):
        repeated(records, "median")


def test_pairs_are_subtracted_repetition_by_repetition_and_draw_by_draw():
    rng = numpy_generator(0, "pairs")
    first, second = (Repeated(rng.random(5), draws=rng.random((5, 30)), patients=40) for _ in range(2))
    difference = (first - second).estimate()
    assert difference == crossed(first.values - second.values, first.draws - second.draws, patients=40)
    assert Repeated([1.0, 3.0]).estimate() == independent([1.0, 3.0])
    same = (first - first).estimate()
    assert (same.value, same.error) == (0.0, 0.0)


def test_a_statistic_of_images_is_measured_whole_and_on_the_same_resamples():
    rng = numpy_generator(0, "images")
    scores, weights = rng.random((3, 20)), rng.integers(0, 3, (40, 20))
    statistics = [lambda w, of=of: w @ of / w.sum(axis=1) for of in scores]
    alone = of_images(statistics, n=20)
    np.testing.assert_allclose(alone.values, scores.mean(axis=1))
    assert alone.draws is None
    found = of_images(statistics, n=20, weights=weights, patients=8)
    np.testing.assert_allclose(found.draws, scores @ weights.T / weights.sum(axis=1))
    assert (found.values.tolist(), found.patients) == (alone.values.tolist(), 8)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (Repeated([0.1, 0.2]), "no pairs"),
        (Repeated([0.1, 0.2, 0.3], draws=np.ones((3, 4)), patients=9), "the other was not"),
    ],
)
def test_what_is_not_paired_is_refused(other, says):
    with pytest.raises(ValueError, match=says):
        Repeated([0.1, 0.2, 0.3]) - other
