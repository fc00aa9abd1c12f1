"""Membership inference: injected leaks are found, their absence too, and small samples say nothing."""

import numpy as np
import pytest

from lib.metrics.privacy.attacks.target_classifier import (
    ATTACKERS,
    _balanced,
    _fitted,
    _signals,
    membership_inference,
)


def _answers(n, confidence, rng, classes=3):
    """Probabilities of a classifier whose logit of the true class is `confidence` above the others, on average."""
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += confidence
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def _attack(member, nonmember, *, n=300, seed=0, **options):
    rng = np.random.default_rng(seed)
    (inside, inside_labels), (outside, outside_labels) = _answers(n, member, rng), _answers(n, nonmember, rng)
    return membership_inference(
        member=inside, nonmember=outside, member_labels=inside_labels, nonmember_labels=outside_labels, rng=rng,
        draws=200, **options,
    )  # fmt: skip


def test_a_leak_is_found_up_to_the_best_threshold():
    """A memorising target: the best possible accuracy of logits 5 against 1 is found to a few points."""
    found = _attack(5, 1)
    rng = np.random.default_rng(1)
    loss = [-np.log(p[np.arange(len(y)), y]) for p, y in (_answers(20_000, c, rng) for c in (5, 1))]
    cuts = np.quantile(np.concatenate(loss), np.linspace(0, 1, 200))[:, None]
    best = max((loss[0] <= cuts).mean(axis=1) / 2 + (loss[1] > cuts).mean(axis=1) / 2)
    assert best - 0.04 < found.accuracy.value < best + 0.04
    assert found.accuracy.low > 0.8
    assert found.splits.mean() == pytest.approx(found.accuracy.value, abs=0.01)
    assert sum(found.chosen.values()) == 20
    assert found.images == 600


def test_no_leak_is_chance():
    values = [_attack(2, 2, seed=seed, splits=8).accuracy for seed in range(6)]
    assert abs(np.mean([v.value for v in values]) - 0.5) < 0.03
    assert sum(v.low <= 0.5 <= v.high for v in values) >= 5


def test_sides_of_different_size_are_balanced():
    rng = np.random.default_rng(0)
    (inside, first), (outside, second) = _answers(700, 2, rng), _answers(90, 2, rng)
    found = membership_inference(
        member=inside, nonmember=outside, member_labels=first, nonmember_labels=second, rng=rng, draws=200
    )
    assert 0.4 < found.accuracy.value < 0.6  # "everyone is a member" would be right 89 % of the time


def test_an_image_that_weighs_twice_is_an_image_that_stands_twice():
    """The weighted attackers are those of the images written out."""
    rng = np.random.default_rng(0)
    inside = np.arange(120) < 60
    signals = _signals(*_answers(120, 2, rng), "member")
    weights = rng.integers(1, 4, 120)
    for name in ATTACKERS:
        short = _fitted(name, signals, inside, weights.astype(float))
        long = _fitted(name, np.repeat(signals, weights, axis=0), np.repeat(inside, weights), np.ones(weights.sum()))
        np.testing.assert_array_equal(short(signals), long(signals))
    said = rng.random(120) < 0.5
    written = [np.repeat(of, weights) for of in (said, inside)]
    assert _balanced(said, inside, weights) == pytest.approx(_balanced(*written, np.ones(weights.sum())))


def test_resamples_train_attackers_of_their_own():
    """On few patients the attackers vary: an interval that holds them fixed is too narrow for another cohort."""
    values, inside_interval = [], []
    for seed in range(24):
        found = _attack(3, 1.5, n=60, seed=seed, splits=6).accuracy
        values.append(found.value)
        inside_interval.append((found.low, found.high))
    truth = np.mean(values)
    assert np.mean([low <= truth <= high for low, high in inside_interval]) >= 0.85
    assert np.mean([high - low for low, high in inside_interval]) >= 2 * 1.96 * np.std(values)


def test_resamples_that_are_given_are_used():
    drawn = np.random.default_rng(3).integers(0, 3, (7, 120)).astype(float)
    drawn[:, :2] = 1
    found = _attack(3, 1.5, n=60, splits=3, weights=drawn).accuracy
    assert found.draws.shape == (7,)
    assert found.low <= np.nanmedian(found.draws) <= found.high


def test_groups_are_never_torn():
    """Images of one patient are copies: an attacker who trained on one would know the other."""
    rng = np.random.default_rng(0)
    inside, labels = _answers(40, 2, rng)
    outside, others = _answers(40, 2, rng)
    twice = {"member": np.repeat(inside, 9, axis=0), "nonmember": np.repeat(outside, 9, axis=0)}
    twice |= {"member_labels": np.repeat(labels, 9), "nonmember_labels": np.repeat(others, 9)}
    groups = {"member_groups": np.repeat(np.arange(40), 9), "nonmember_groups": np.repeat(np.arange(40, 80), 9)}
    found = membership_inference(**twice, **groups, rng=np.random.default_rng(1), draws=200)
    assert found.accuracy.units == 80
    assert found.accuracy.low < 0.55
    assert found.accuracy.high - found.accuracy.low > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"member": np.zeros((40, 3))}, "add up to 1"),
        ({"member": np.full((40, 2), 0.5)}, "labels do not fit"),
        ({"nonmember": np.full((40, 4), 0.25)}, "different numbers of classes"),
        ({"member_labels": np.full(40, 3)}, "member_labels do not fit"),
        ({"member": np.full((40, 3), np.nan)}, "NaN"),
        ({"member_groups": np.zeros(40, dtype=int)}, "patients on a side are too few"),
    ],
)
def test_bad_input_is_refused(changes, message):
    sides = {"member": np.full((40, 3), 1 / 3), "nonmember": np.full((40, 3), 1 / 3)}
    labels = {"member_labels": np.arange(40) % 3, "nonmember_labels": np.arange(40) % 3}
    with pytest.raises(ValueError, match=message):
        membership_inference(**sides | labels | changes, rng=np.random.default_rng(0))
