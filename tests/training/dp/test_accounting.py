"""Privacy accounting: the published noise table, the accountants side by side, and groups of images."""

import math
from itertools import product

import numpy as np
import pytest
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis.rdp import compute_rdp
from opacus.accountants.utils import get_noise_multiplier

from lib.training.dp import accounting
from lib.training.dp.accounting import epsilon_of, epsilon_spent, group_epsilon, noise_multiplier

# Spec §5: noise multipliers by RDP at delta 1e-4 over 300 epochs.
TABLE = {
    (1 / 9, 2700): {1: 20.31, 6: 4.336, 12: 2.540, 20: 1.784, 60: 0.961},
    (1 / 33, 9900): {1: 10.63, 6: 2.344, 12: 1.447, 20: 1.082, 60: 0.683},
    (1 / 24, 7200): {1: 12.50, 6: 2.715, 12: 1.647, 20: 1.209, 60: 0.734},
}
ROWS = [(rate, steps, epsilon, sigma) for (rate, steps), row in TABLE.items() for epsilon, sigma in row.items()]


@pytest.mark.parametrize(("rate", "steps", "epsilon", "sigma"), ROWS)
def test_the_published_noise_table(rate, steps, epsilon, sigma):
    found = noise_multiplier(epsilon=epsilon, delta=1e-4, sample_rate=rate, steps=steps)
    assert found == pytest.approx(sigma, rel=0.02)
    spent = epsilon_spent(noise_multiplier=found, sample_rate=rate, steps=steps, delta=1e-4)
    assert 0.99 * epsilon <= spent <= epsilon


def test_the_two_accountants_side_by_side():
    run = {"noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 1000, "delta": 1e-5}
    assert epsilon_spent(**run) == pytest.approx(2.101, abs=1e-3)
    assert epsilon_spent(**run, accountant="prv") == pytest.approx(1.838, abs=1e-3)


def test_a_history_of_parts_is_what_opacus_says():
    history = [(1.3, 0.1, 30), (0.9, 0.05, 12)]
    theirs = RDPAccountant()
    theirs.history = history
    assert epsilon_of(history, delta=1e-4) == pytest.approx(theirs.get_epsilon(delta=1e-4), rel=1e-12)


def test_no_noise_and_no_steps():
    assert noise_multiplier(epsilon=math.inf, delta=1e-4, sample_rate=0.1, steps=10) == 0
    assert epsilon_spent(noise_multiplier=0, sample_rate=0.1, steps=10, delta=1e-4) == math.inf
    assert epsilon_spent(noise_multiplier=1, sample_rate=0.1, steps=0, delta=1e-4) == 0


@pytest.mark.parametrize("sigma", [0.42, 1.24, 20.0])
def test_a_group_of_one_is_an_image(sigma):
    orders = np.asarray(RDPAccountant.DEFAULT_ALPHAS)
    expected = compute_rdp(q=1 / 9, noise_multiplier=sigma, steps=1, orders=orders)
    np.testing.assert_allclose(accounting._mixture_rdp(1, sigma, 1 / 9), expected, rtol=1e-6, atol=1e-13)
    for method in ("mixture", "conversion"):
        group = group_epsilon(images=1, noise_multiplier=sigma, sample_rate=1 / 9, steps=135, delta=1e-4, method=method)
        assert group == pytest.approx(
            epsilon_spent(noise_multiplier=sigma, sample_rate=1 / 9, steps=135, delta=1e-4), rel=1e-6
        )


@pytest.mark.parametrize(("images", "sigma", "rate"), [(2, 1.0, 0.2), (3, 0.7, 0.05), (4, 2.0, 0.5)])
def test_the_mixture_divergence_at_integer_orders(images, sigma, rate):
    # E_Q (P/Q)^a written out: over a independent draws j, exp(sum of products j_s j_t over pairs / sigma^2).
    for a in (2, 3, 4):
        total = 0.0
        for draws in product(range(images + 1), repeat=a):
            weight = math.prod(math.comb(images, j) * rate**j * (1 - rate) ** (images - j) for j in draws)
            total += weight * math.exp((sum(draws) ** 2 - sum(j * j for j in draws)) / (2 * sigma**2))
        rdp = accounting._mixture_rdp(images, sigma, rate)
        orders = list(RDPAccountant.DEFAULT_ALPHAS)
        at = min(range(len(orders)), key=lambda i: abs(orders[i] - a))
        assert rdp[at] == pytest.approx(math.log(total) / (a - 1), rel=1e-9)


def test_without_sampling_a_group_is_one_larger_step():
    orders = np.asarray(RDPAccountant.DEFAULT_ALPHAS)
    np.testing.assert_allclose(accounting._mixture_rdp(3, 2.0, 1.0), orders * 9 / 8, rtol=1e-9)


def test_opposed_gradients_are_no_easier_to_tell_apart():
    # The domination that group_epsilon proves, on one other geometry: two images with opposite gradients.
    sigma, rate = 1.0, 0.3
    x = np.linspace(-15, 15, 5001)

    def density(means, weights):
        return sum(
            w * np.exp(-((x - m) ** 2) / (2 * sigma**2)) for m, w in zip(means, weights, strict=True)
        ) / math.sqrt(2 * math.pi)

    real = density([0, 1, -1], [(1 - rate) ** 2 + rate**2, rate * (1 - rate), rate * (1 - rate)])
    base = density([0], [1])
    orders = np.asarray(RDPAccountant.DEFAULT_ALPHAS)
    for a in (1.5, 2, 5):
        at = int(np.argmin(np.abs(orders - a)))
        for p, q in ((real, base), (base, real)):
            divergence = math.log(np.trapezoid(p**a * q ** (1 - a), x)) / (a - 1)
            assert divergence <= accounting._mixture_rdp(2, sigma, rate)[at] + 1e-9


@pytest.mark.parametrize("sigma", [4.73, 1.24])
def test_patients_cost_more_than_images_and_less_than_the_conversion(sigma):
    run = {"noise_multiplier": sigma, "sample_rate": 1 / 9, "steps": 135, "delta": 1e-4}
    image = epsilon_spent(**run)
    previous = image
    for images in (2, 5, 14):
        tight = group_epsilon(images=images, **run)
        loose = group_epsilon(images=images, **run, method="conversion")
        assert previous < tight < loose
        assert loose >= images * image  # the same epsilon an image, and a smaller delta each
        previous = tight


def test_the_conversion_keeps_delta():
    run = {"noise_multiplier": 4.73, "sample_rate": 1 / 9, "steps": 135}
    group = group_epsilon(images=2, delta=1e-4, method="conversion", **run)
    # The delta of single images at half that epsilon, by bisection, must give back 1e-4 for the pair.
    low, high = math.log(1e-12), math.log(1e-4)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_spent(delta=math.exp(middle), **run) > group / 2 else (low, middle)
    assert math.exp(high) * (1 + math.exp(group / 2)) == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"accountant": "gdp"}, "unknown accountant 'gdp'"),
        ({"delta": 0.0}, "delta is 0.0"),
        ({"sample_rate": 1.5}, "sample_rate is 1.5"),
        ({"steps": -1}, "steps is -1"),
        ({"epsilon": 0}, "epsilon is 0"),
    ],
)
def test_values_outside_their_range(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        noise_multiplier(**({"epsilon": 1.0, "delta": 1e-4, "sample_rate": 0.1, "steps": 10} | change))


@pytest.mark.parametrize(("change", "sentence"), [({"images": 0}, "0 images"), ({"method": "x"}, "unknown method 'x'")])
def test_groups_outside_their_range(change, sentence):
    run = {"images": 2, "noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 10, "delta": 1e-4}
    with pytest.raises(ValueError, match=sentence):
        group_epsilon(**(run | change))


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(1, 1 / 9, 135), (6, 1 / 33, 495)])
def test_the_noise_is_the_one_opacus_finds(epsilon, rate, steps):
    with accounting._orders_silenced():
        theirs = get_noise_multiplier(target_epsilon=epsilon, target_delta=1e-4, sample_rate=rate, steps=steps)
    assert noise_multiplier(epsilon=epsilon, delta=1e-4, sample_rate=rate, steps=steps) == theirs


@pytest.mark.slow
def test_prv_is_the_tighter_at_every_budget_of_the_table():
    for rate, steps, epsilon, sigma in ROWS[:5]:
        tight = epsilon_spent(noise_multiplier=sigma, sample_rate=rate, steps=steps, delta=1e-4, accountant="prv")
        assert 0.85 * epsilon < tight < epsilon
