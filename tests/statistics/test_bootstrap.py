import numpy as np
import pytest
from scipy.special import ndtri
from sklearn import metrics as peer

from lib.metrics.fidelity.intervals import bootstrap_frechet
from lib.statistics import bootstrap as intervals
from lib.statistics import seeds, weighted
from lib.statistics.bootstrap import bootstrap, bootstrap_auroc, patient_weights
from tests.statistics.toy import task


def test_columns_share_the_draws():
    labels, scores = task(4)
    both = np.stack([scores, -scores], axis=1)
    weights = patient_weights(np.arange(120), draws=10, rng=np.random.default_rng(0))
    value = weighted.WeightedAuroc(labels, both)(weights)
    assert value.shape == (10, 2)
    np.testing.assert_allclose(value.sum(axis=1), 1, atol=1e-12)
    interval = bootstrap_auroc(labels, both, rng=np.random.default_rng(1))
    np.testing.assert_allclose(interval.low, 1 - interval.high[::-1], atol=1e-12)


def test_the_fast_bootstrap_is_the_literal_loop_on_the_same_draws():
    labels, scores = task(5)
    patients = np.array([f"p{i // 3}" for i in range(120)])
    interval = bootstrap_auroc(labels, scores, groups=patients, draws=300, rng=np.random.default_rng(9))
    drawn = np.random.default_rng(9).integers(0, 40, (300, 40))
    members = [np.flatnonzero(patients == name) for name in np.unique(patients)]
    literal = []
    for row in drawn:
        rows = np.concatenate([members[patient] for patient in row])
        literal.append(peer.roc_auc_score(labels[rows], scores[rows]))
    np.testing.assert_allclose(interval.draws, literal, atol=1e-12)
    assert interval.low == pytest.approx(np.quantile(literal, 0.025), abs=1e-12)
    assert interval.high == pytest.approx(np.quantile(literal, 0.975), abs=1e-12)
    assert interval.value == pytest.approx(peer.roc_auc_score(labels, scores), abs=1e-12)
    assert interval.units == 40


def test_all_images_of_a_patient_are_drawn_together():
    groups = np.random.default_rng(0).integers(0, 9, 60)
    weights = patient_weights(groups, draws=50, rng=np.random.default_rng(1))
    assert weights.shape == (50, 60)
    for name in np.unique(groups):
        assert (weights[:, groups == name] == weights[:, groups == name][:, :1]).all()
    first = np.unique(groups, return_index=True)[1]
    assert (weights[:, first].sum(axis=1) == len(first)).all()


def test_draws_in_several_calls_continue_one_stream():
    labels, scores = task(6, n=5000)  # 13 draws a block
    once = patient_weights(np.arange(5000), draws=30, rng=np.random.default_rng(4))
    metric = weighted.WeightedAuprc(labels, scores)
    interval = bootstrap(metric, draws=30, rng=np.random.default_rng(4))
    np.testing.assert_allclose(interval.draws, metric(once), atol=1e-13)


def test_a_paired_difference_uses_the_same_draws():
    labels, scores = task(7)
    one, two = weighted.WeightedAuroc(labels, scores), weighted.WeightedAuroc(labels, scores + 1)
    interval = bootstrap(lambda w: one(w) - two(w), groups=np.arange(120), rng=np.random.default_rng(0), draws=50)
    assert interval.low == interval.high == interval.value == 0
    assert str(interval) == "0.000 [0.000, 0.000]"


def test_coverage_of_the_auroc_by_patient():
    """Four images of one patient, strongly correlated: the patient interval covers, the image interval does not."""
    rng = np.random.default_rng(10)
    truth, hits, naive, runs = 0.7602499, 0, 0, 250  # Φ(1 / √2) for unit shift and unit variance
    for _ in range(runs):
        labels = np.repeat(np.arange(60) % 2, 4)
        scores = np.repeat(rng.normal(size=60), 4) * 0.95**0.5 + rng.normal(size=240) * 0.05**0.5 + labels
        patient = bootstrap_auroc(labels, scores, groups=np.arange(240) // 4, draws=200, rng=rng)
        image = bootstrap_auroc(labels, scores, draws=200, rng=rng)
        hits += patient.low <= truth <= patient.high
        naive += image.low <= truth <= image.high
    assert 0.89 <= hits / runs <= 0.985
    assert naive / runs < 0.8


def test_undefined_draws_are_counted_and_too_many_are_refused():
    labels = np.array([1, 1, 1, 0, 0, 0])
    interval = bootstrap_auroc(labels, np.arange(6), groups=[0, 0, 1, 2, 2, 3], rng=np.random.default_rng(0))
    assert 0 < np.isnan(interval.draws).mean() < 0.5
    assert np.isfinite([interval.low, interval.high]).all()
    with pytest.raises(ValueError, match="more than half of the draws lack one class"):
        bootstrap(lambda w: np.full(len(w), np.nan), groups=np.arange(6), rng=np.random.default_rng(1))


def test_a_draw_may_hold_another_number_of_patients():
    groups = np.arange(40) // 2
    weights = patient_weights(groups, draws=500, size=7, rng=np.random.default_rng(14))
    assert (weights[:, ::2].sum(axis=1) == 7).all()
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert weights[:, ::2].mean() == pytest.approx(7 / 20)
    labels, scores = task(15)
    many = bootstrap_auroc(labels, scores, draws=1500, rng=np.random.default_rng(16))
    few = bootstrap(weighted.WeightedAuroc(labels, scores), size=30, draws=1500, rng=np.random.default_rng(16))
    assert few.draws.std() / many.draws.std() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: bootstrap_auroc([0, 1, 1], [1, 2, 3], groups=[0, 0, 0], rng=rng), "all images are of one patient"),
        (lambda rng: bootstrap_auroc([0, 1, 1], [1, 2, 3], groups=[0, 1], rng=rng), "one patient per image"),
        (lambda rng: bootstrap_auroc([0, 1, 1], [1, 2, 3], level=95, rng=rng), "level is 95"),
        (lambda rng: bootstrap(lambda w: w[:, 0], rng=rng), "give groups="),
        (lambda rng: seeds.seed_interval([1.0]), "two seeds or more"),
        (lambda rng: seeds.paired_difference(condition=[1, 2, 3], baseline=[1, 2]), "pair them seed by seed"),
        (lambda rng: bootstrap_frechet(real=np.eye(6), synthetic=np.eye(6), rng=rng), "at least ten"),
        (lambda rng: weighted.WeightedAuroc([0, 1], [1, 2])(np.ones(2)), "one row of 2 weights per draw"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def drawn(columns, draws=20000, correlation=0.0, seed=0):
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(draws, 1)), rng.normal(size=(draws, columns))
    scale = np.arange(1, columns + 1)
    found = (correlation**0.5 * shared + (1 - correlation) ** 0.5 * own) * scale
    return intervals.Interval(np.zeros(columns), np.zeros(columns), np.zeros(columns), 0.95, 100, found)


@pytest.mark.parametrize(("correlation", "tail"), [(0.0, 0.95 ** (1 / 6)), (1.0, 0.95)])
def test_simultaneous_intervals_of_normal_estimates(correlation, tail):
    """Independent columns: Šidák's limit in closed form; equal ones: the limit of a single interval."""
    both = intervals.simultaneous(drawn(6, correlation=correlation))
    limit = ndtri((1 + tail) / 2)
    np.testing.assert_allclose(both.high, limit * np.arange(1, 7), rtol=0.02)
    np.testing.assert_allclose(both.low, -both.high, rtol=0, atol=1e-12)


def test_the_joint_pvalue_is_where_a_simultaneous_interval_ends():
    estimate = drawn(4, draws=999)

    def holds(truth, level):
        of = intervals.simultaneous(estimate, level=level)
        return bool(((of.low <= truth) & (truth <= of.high)).all())

    for truth in (1.3, 1.8, 2.6):
        p = intervals.joint_pvalue(estimate, truth=truth)
        assert 0.01 < p < 0.9
        assert holds(truth, 1 - p + 0.004)
        assert not holds(truth, 1 - p - 0.004)
    assert intervals.joint_pvalue(estimate, truth=0.0) == 1
    assert intervals.joint_pvalue(estimate, truth=9.0) == 1 / 1000


def test_coverage_of_simultaneous_intervals():
    """Null scores of six attacks, four of them nearly alike: all six intervals hold .5 in 19 of 20 cohorts."""
    rng, held, single, runs = np.random.default_rng(5), 0, 0, 200
    labels, people = np.repeat(np.arange(80) % 2, 2), np.arange(160) // 2
    for _ in range(runs):
        shared = np.repeat(rng.normal(size=(80, 1)), 2, axis=0)
        scores = 0.7 * shared + 0.7 * np.repeat(rng.normal(size=(80, 6)), 2, axis=0)
        each = bootstrap(weighted.WeightedAuroc(labels, scores), groups=people, draws=400, rng=rng)
        all_six = intervals.simultaneous(each)
        held += ((all_six.low <= 0.5) & (0.5 <= all_six.high)).all()
        single += ((each.low <= 0.5) & (0.5 <= each.high)).all()
    assert 0.9 <= held / runs <= 0.99
    assert single / runs < 0.88


def test_simultaneous_intervals_leave_out_undefined_draws_and_refuse_constant_ones():
    estimate = drawn(2, draws=500)
    gappy = intervals.Interval(*estimate.bounds, 0.95, 100, np.concatenate([estimate.draws, np.full((9, 2), np.nan)]))
    np.testing.assert_array_equal(intervals.simultaneous(gappy).high, intervals.simultaneous(estimate).high)
    stuck = intervals.Interval(1.0, 1.0, 1.0, 0.95, 100, np.ones(50))
    with pytest.raises(ValueError, match="all draws of a column are equal"):
        intervals.simultaneous(stuck)


def test_an_interval_reaches_to_its_value():
    assert intervals.Interval(3.0, 1.0, 2.0, 0.95, 9, np.ones(2)).around == (3.0, 1.0, 3.0)
    assert intervals.Interval(0.5, 1.0, 2.0, 0.95, 9, np.ones(2)).around == (0.5, 0.5, 2.0)
