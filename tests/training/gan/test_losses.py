"""Losses that generators share, in closed form."""

import torch

from lib.training.gan.losses import gradient_norms, laplacian_distance, path_lengths, squared_gradients


def test_distance_of_laplacian_pyramids_by_hand():
    a = torch.zeros(2, 1, 8, 8)
    b = a.clone()
    b[0] += 0.5  # a constant: only what remains at 4 px differs
    b[1, :, ::2] = 1
    b[1, :, 1::2] = -1  # stripes of one pixel: only the finest level
    torch.testing.assert_close(laplacian_distance(a, b), torch.tensor([0.5, 1.0]))


def test_gradient_penalty_of_a_linear_critic_is_the_square_of_its_weights():
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    squares = squared_gradients(lambda x: (x * weight).sum(dim=(1, 2, 3)) + 5, torch.randn(4, 3, 8, 8))
    torch.testing.assert_close(squares, weight.square().sum().expand(4))
    (slope,) = torch.autograd.grad(squares.mean(), weight)
    torch.testing.assert_close(slope, 2 * weight)


def test_path_length_of_a_linear_generator():
    """G(w) = A w: the length is ‖Aᵀy‖, and the penalty's gradient 2 (ℓ - a) y (Aᵀy)ᵀ / ℓ."""
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(64, 5, generator=random, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 5, generator=random, dtype=torch.float64)
    lengths = path_lengths(lambda w: (w @ matrix.T).view(-1, 1, 8, 8), w, torch.Generator().manual_seed(7))
    y = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(7)).double().view(3, 64) / 8
    expected = torch.linalg.vector_norm(y @ matrix.detach(), dim=1)
    torch.testing.assert_close(lengths, expected)
    (slope,) = torch.autograd.grad((lengths - 2).square().mean(), matrix)
    each = 2 * (expected - 2) / expected / 3
    torch.testing.assert_close(slope, torch.einsum("n,ni,nj->ij", each, y, y @ matrix.detach()))


def test_gradient_norm_of_a_linear_critic_is_that_of_its_weights():
    weights = torch.randn(1, 6, 6, requires_grad=True)
    norms = gradient_norms(lambda images: (images * weights).sum(dim=(1, 2, 3)), torch.randn(5, 1, 6, 6))
    torch.testing.assert_close(norms, weights.norm().expand(5))
    (slope,) = torch.autograd.grad(norms.sum(), weights)
    torch.testing.assert_close(slope, 5 * weights.detach() / weights.detach().norm())
