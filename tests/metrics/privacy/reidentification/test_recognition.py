import numpy as np
import pytest

from lib.metrics.privacy.reidentification.recognition import (
    chance_threshold,
    entropy_share,
    identities_within,
    verification,
)

RNG = np.random.default_rng(0)


def test_entropy_is_one_for_the_ignorant_and_zero_for_the_certain():
    assert entropy_share(np.full((2, 12), 1 / 12)) == pytest.approx([1, 1])
    assert entropy_share(np.eye(12)[:2]) == pytest.approx([0, 0])
    half = np.zeros((1, 16))
    half[0, :4] = 0.25
    assert entropy_share(half) == pytest.approx([0.5])  # log 4 / log 16


def test_an_ignorant_classifier_seldom_exceeds_the_chance_threshold():
    identity = np.repeat(np.arange(12), 4)
    chance = chance_threshold(identity, classes=12)
    assert chance == pytest.approx(1 / 12 + 3 * np.sqrt(11 / 144 / 48))
    guesses = RNG.integers(0, 12, (2000, 48))
    assert ((guesses == identity).mean(axis=1) > chance).mean() < 0.01
    assert chance_threshold([0, 0, 0, 1], classes=10, sigmas=0) == 0.75  # always naming the most frequent


def test_the_threshold_lies_midway_and_the_accuracy_is_balanced():
    found = verification(genuine=[0.1, 0.3], impostor=[1.0, 1.0, 0.2, 1.0])
    assert found.threshold == pytest.approx((0.2 + 0.8) / 2)
    assert found.accuracy == pytest.approx((1 + 3 / 4) / 2)


def test_a_person_counts_once():
    distances = [[0.1, 0.2, 0.9, 0.4], [0.9, 0.9, 0.9, 0.9]]
    assert identities_within(distances, [7, 7, 3, 3], threshold=0.5).tolist() == [2, 0]
    distances, identity = RNG.random((20, 30)), RNG.integers(0, 9, 30)
    slow = [len({i for d, i in zip(row, identity, strict=True) if d < 0.05}) for row in distances]
    assert identities_within(distances, identity, threshold=0.05).tolist() == slow


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: entropy_share(np.ones((2, 3))), "softmax"),
        (lambda: entropy_share(np.ones((2, 1))), "add up to 1"),
        (lambda: verification(genuine=[], impostor=[1.0]), "not empty"),
        (lambda: identities_within(np.ones((2, 3)), [0, 1], threshold=1), "one per column"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(call, says):
    with pytest.raises(ValueError, match=says):
        call()
