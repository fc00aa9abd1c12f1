"""To be said."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over the labels, the mean over radiographs; both (n, k)."""
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
