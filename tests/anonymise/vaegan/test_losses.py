"""Every loss of anonymisation against the formula written out in NumPy, and the facts that the published code turns
on."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lib.anonymise.vaegan.losses import (
    background_mse,
    critic_loss,
    kl_to_standard_normal,
    margin_loss,
    masked_mse,
    opposite_finding,
    soft_cross_entropy,
    uniform_targets,
)
from lib.training.gan.losses import gradient_norms

RNG = np.random.default_rng(0)


def tensor(*shape):
    return torch.from_numpy(RNG.standard_normal(shape))


def test_divergence_by_its_formula_and_zero_only_at_the_normal_law():
    mean, s = tensor(5, 3), tensor(5, 3)
    literal = [math.exp(s[i, j]) + mean[i, j] ** 2 - 1 - s[i, j] for i in range(5) for j in range(3)]
    assert float(kl_to_standard_normal(mean, s)) == pytest.approx(float(sum(literal)) / 2 / 5)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert float(kl_to_standard_normal(zero, zero)) == 0
    for place in range(3):
        moved = zero.clone()
        moved[0, place] = 0.01
        assert float(kl_to_standard_normal(moved, zero)) > 0
        assert float(kl_to_standard_normal(zero, moved)) > 0
        assert float(kl_to_standard_normal(zero, -moved)) > 0


def test_divergence_is_that_of_the_standard_variance_not_of_the_published():
    """Against Monte Carlo of log q/p: right for σ = exp(s/2), wrong for the σ = exp(s²/2) that is sampled (D13)."""
    mean, s = torch.tensor([[0.4]]), torch.tensor([[0.8]])
    said = float(kl_to_standard_normal(mean, s))
    for sigma, right in ((math.exp(0.4), True), (math.exp(0.32), False)):
        exact = math.log(1 / sigma) + (sigma**2 + 0.16 - 1) / 2
        assert (said == pytest.approx(exact, rel=1e-5)) == right


def test_soft_cross_entropy_by_its_formula():
    targets, logits = torch.from_numpy(RNG.dirichlet(np.ones(4), 6)), tensor(6, 4)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert float(soft_cross_entropy(targets, logits)) == pytest.approx(-float((targets * np.log(p)).sum(axis=1).mean()))


@pytest.mark.parametrize("people", [2, 12, 115])
def test_uniform_targets_add_up_to_one_and_are_probabilities(people):
    draw = torch.rand(500, people, generator=torch.Generator().manual_seed(people))
    for targets in (uniform_targets(500, people), uniform_targets(500, people, draw=draw)):
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(500))
        assert targets.min() >= 0
        torch.testing.assert_close(targets.mean(dim=0), torch.full((people,), 1 / people), atol=0.12 / people, rtol=0)


def test_noisy_targets_by_their_formula_where_none_is_negative():
    draw = torch.rand(3, 40, generator=torch.Generator().manual_seed(1))
    u = 1 / 80 + draw * (2 / 40 - 1 / 80)
    torch.testing.assert_close(uniform_targets(3, 40, draw=draw), u + (1 - u.sum(dim=1, keepdim=True)) / 40)


def test_hinge_by_its_formula_and_silent_beyond_the_margin():
    apart = torch.tensor([[0.0, 0.5], [1.0, 7.0]])
    assert float(margin_loss(apart, margin=1.0)) == pytest.approx((1 + 0.25) / 4)
    assert float(margin_loss(apart + 1)) == 0
    assert float(margin_loss(apart, margin=10.0)) == pytest.approx((100 + 9.5**2 + 81 + 9) / 4)


def test_cross_entropy_to_targets_of_zero_is_zero_whatever_is_drawn():
    """D5: the released privacy term of the siamese counterfactual script, and its gradient."""
    apart = tensor(4, 12).abs().requires_grad_()
    loss = soft_cross_entropy(torch.zeros_like(apart), apart)
    loss.backward()
    assert float(loss.detach()) == 0
    assert apart.grad.eq(0).all()


def test_errors_inside_and_outside_a_mask():
    x, y = tensor(3, 1, 4, 4), tensor(3, 1, 4, 4)
    masks = torch.from_numpy(RNG.integers(0, 2, (3, 1, 4, 4)).astype(float))
    inside = masks.bool().numpy()
    squares = ((x - y) ** 2).numpy()
    assert float(masked_mse(x, y, masks)) == pytest.approx(squares[inside].mean())
    assert float(masked_mse(x, y, masks, summed=True)) == pytest.approx(squares[inside].sum())
    assert float(background_mse(x, y, masks)) == pytest.approx(squares[~inside].mean())
    assert float(masked_mse(x, y, 0 * masks)) == 0


@pytest.mark.parametrize("summed", [False, True])
def test_masks_to_255_multiply_the_error_by_65025(summed):
    x, y = tensor(2, 1, 4, 4), tensor(2, 1, 4, 4)
    masks = torch.ones(2, 1, 4, 4, dtype=torch.float64)
    masks[:, :, :2] = 0
    ratio = masked_mse(x, y, 255 * masks, summed=summed) / masked_mse(x, y, masks, summed=summed)
    assert float(ratio) == pytest.approx(65_025, rel=1e-12)


def test_a_weight_of_a_sum_and_of_a_mean_agree():
    x, y, masks = tensor(4, 1, 8, 8), tensor(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)
    masks[:, :, 2:6, 2:6] = 1
    weight = 0.002 * 4 * 16  # as the module converts it
    assert weight * float(masked_mse(x, y, masks)) == pytest.approx(0.002 * float(masked_mse(x, y, masks, summed=True)))


def test_the_opposite_is_certain_of_the_less_likely():
    wanted = opposite_finding(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.49, 0.51]]))
    assert wanted.tolist() == [[0, 1], [1, 0], [1, 0]]
    with pytest.raises(ValueError, match="among two only"):
        opposite_finding(torch.full((1, 3), 1 / 3))


def test_critic_loss_of_a_linear_critic():
    """Its gradient is its weights everywhere, so the penalty is (1 − ‖w‖)² of them exactly."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double()
    real, drawn = tensor(6, 1, 4, 4), tensor(6, 1, 4, 4)
    mixed = torch.lerp(drawn, real, torch.from_numpy(RNG.random((6, 1, 1, 1))))
    norms = gradient_norms(lambda images: critic(images).flatten(), mixed)
    norm = float(critic[1].weight.detach().norm())
    assert norms.detach().numpy() == pytest.approx(norm)
    loss = critic_loss(real=critic(real).flatten(), drawn=critic(drawn).flatten(), norms=norms, penalty=10.0)
    gap = float((critic(drawn).mean() - critic(real).mean()).detach())
    assert float(loss.detach()) == pytest.approx(gap + 10 * (1 - norm) ** 2)
