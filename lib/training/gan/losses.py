"""Losses and penalties that several generators share, each stated once."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over the labels, the mean over images; both (n, k)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(logits)


def gradient_norms(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇ critic(image)‖₂ of each of the (n, c, h, w) images: (n,), itself differentiable. critic: (n,) scores."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return torch.linalg.vector_norm(gradient.float().flatten(1), dim=1)


def path_lengths(synthesis: Callable[[Tensor], Tensor], w: Tensor, random: torch.Generator) -> Tensor:
    """‖J_w^T y‖ of each w (n, latent), y normal noise of SD 1 / √pixels in the image: (n,), differentiable."""
    w = w if w.requires_grad else w.requires_grad_()
    images = synthesis(w)
    noise = torch.randn(images.shape, device=images.device, generator=random) / math.sqrt(images[0, 0].numel())
    (gradient,) = torch.autograd.grad((images * noise).sum(), w, create_graph=True)
    return torch.linalg.vector_norm(gradient, dim=1)


def squared_gradients(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """‖∇ critic(image)‖² of each of the (n, c, h, w) images: (n,), itself differentiable. critic: (n,) scores."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def laplacian_distance(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j mean |L_j(a) - L_j(b)| of images (n, c, s, s), L_j the levels of their Laplacian pyramid down to 4 px: (n,).

    Ling and Okada 2006, whose 4^j times a sum over pixels is this mean; as a loss of generators Bojanowski et al. 2018
    (arXiv 1707.05776). A level is what averaging over 2 x 2 pixels loses, the last one what remains.
    """
    rest, total = a - b, torch.zeros(len(a), device=a.device)
    while rest.shape[-1] > 4:
        coarse = F.avg_pool2d(rest, 2)
        total = total + (rest - F.interpolate(coarse, scale_factor=2.0, mode="nearest")).abs().mean(dim=(1, 2, 3))
        rest = coarse
    return total + rest.abs().mean(dim=(1, 2, 3))
