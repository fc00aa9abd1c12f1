"""The gate of the evidence: what it measures in closed form, who passes, and who does not."""

import numpy as np
import pytest

from lib.metrics.fidelity.evidence_gate import DRIFT, ERROR, SPREAD, Evidence, drift, error_share, shortfalls, spread
from lib.metrics.fidelity.masked_error import masked_mse

RNG = np.random.default_rng(0)
GOOD = {"error": 0.2, "spread": 0.95, "drift": 0.02}


def cases(n=400, size=12, noise=0.07):
    """Cases of two findings, each with something of its own, seen with noise; their masks and findings."""
    labels, at = np.arange(n) % 2, np.linspace(-1, 1, size)
    masks = np.repeat((np.hypot(at, at[:, None]) < 0.8)[None], n, axis=0).astype(np.uint8)
    own = 0.2 * RNG.standard_normal((n, 1, 1)) * np.cos(3 * at)
    clean = 0.3 * (labels[:, None, None] - 0.5) + own + 0 * at[:, None]
    return clean + noise * RNG.standard_normal(clean.shape), clean, masks, labels


def errors(original, drawn, masks):
    return masked_mse(original=original, anonymised=drawn, mask=masks)


def test_without_noise_the_case_itself_has_no_error_and_the_mean_image_all_of_it():
    seen, clean, masks, labels = cases()
    means = np.stack([seen[labels == label].mean(axis=0) for label in (0, 1)])[labels]
    of_means = errors(seen, means, masks)
    assert error_share(of_means, of_means, noise=0.07) == 1
    assert error_share(errors(seen, clean, masks), of_means, noise=0.07) == pytest.approx(0, abs=0.01)
    half = means + (clean - means) / 2
    assert error_share(errors(seen, half, masks), of_means, noise=0.07) == pytest.approx(0.25, abs=0.02)
    another = np.roll(clean, 2, axis=0)  # of the same finding: twice the variance
    assert error_share(errors(seen, another, masks), of_means, noise=0.07) == pytest.approx(2, abs=0.25)


def test_the_noise_of_the_originals_stays_in_both_where_it_is_not_known():
    assert error_share([1.0, 3.0], [4.0, 4.0]) == pytest.approx(0.5)
    assert error_share([1.0, 3.0], [4.0, 4.0], noise=1.0) == pytest.approx((1 + 3 - 2) / (8 - 2))


def test_weighted_it_is_that_of_repeated_cases():
    first, second = RNG.random(5), 1 + RNG.random(5)
    weights = np.array([[1, 1, 1, 1, 1], [0, 2, 1, 0, 3]])
    found = error_share(first, second, noise=0.1, weights=weights)
    assert found[0] == pytest.approx(error_share(first, second, noise=0.1))
    assert found[1] == pytest.approx(error_share(first.repeat(weights[1]), second.repeat(weights[1]), noise=0.1))


def test_cases_without_a_mask_are_left_out():
    assert error_share([1.0, np.nan], [2.0, np.nan], weights=np.array([[1, 7]]))[0] == pytest.approx(0.5)


def test_one_picture_a_finding_varies_less_and_what_lies_outside_the_masks_does_not_count():
    seen, clean, masks, labels = cases()
    means = np.stack([seen[labels == label].mean(axis=0) for label in (0, 1)])[labels]
    assert spread(original=seen, anonymised=seen, mask=masks) == 1
    assert spread(original=clean, anonymised=0.5 * clean, mask=masks) == pytest.approx(0.5)
    assert spread(original=seen, anonymised=means, mask=masks) < SPREAD
    outside = means + (1 - masks) * RNG.standard_normal(means.shape)
    assert spread(original=seen, anonymised=outside, mask=masks) == pytest.approx(
        spread(original=seen, anonymised=means, mask=masks)
    )


def test_a_loss_that_has_come_to_rest_does_not_drift():
    assert drift(np.full(50, 0.3)) == 0
    assert drift(np.r_[np.linspace(9, 1, 30), np.full(10, 2.0), np.full(10, 1.0)]) == pytest.approx(0.5)
    assert drift(np.exp(-np.arange(1000) / 150)) > DRIFT
    assert drift(1 + np.exp(-np.arange(1000) / 100)) < DRIFT


def test_who_passes_and_why_not():
    assert shortfalls([Evidence(**GOOD)] * 3, noise_is_known=True) == []
    limits = {"error": ERROR, "spread": SPREAD, "drift": DRIFT}
    assert shortfalls([Evidence(**limits)], noise_is_known=True) == []  # a limit that is met is met
    for change, says in (
        ({"error": 0.31}, "squared error in the mask is 0.31"),
        ({"spread": 0.27}, "SD between cases is 0.27"),
        ({"drift": 0.3}, "still moves by 30%"),
        ({"error": float("nan")}, "squared error in the mask is nan"),
    ):
        (reason,) = shortfalls([Evidence(**(GOOD | change))], noise_is_known=True)
        assert says in reason
    assert shortfalls([Evidence(**(GOOD | {"error": 0.35}))], noise_is_known=False) == []
    uneven = [Evidence(**(GOOD | {"error": error})) for error in (0.1, 0.45)]
    assert shortfalls(uneven, noise_is_known=True) == []  # by the mean over repetitions


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: shortfalls([], noise_is_known=True), "no repetition"),
        (lambda: error_share([1.0], [1.0, 2.0]), "give one of each"),
        (lambda: error_share([0.01], [0.004], noise=0.07), "no more than the noise"),
        (lambda: drift([1.0] * 9), "give ten steps"),
        (lambda: drift([-1.0] * 20), "give one above 0"),
        (lambda: spread(original=np.ones((2, 4, 4)), anonymised=np.ones((2, 4, 4)), mask=np.ones((2, 4, 4))), "equal"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask, says):
    with pytest.raises(ValueError, match=says):
        ask()
