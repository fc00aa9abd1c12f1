"""Latent points of real images: where in its latent space a generator draws them best.

Projection by optimisation (Karras et al. 2020, arXiv 1912.04958, appendix D, without its noise maps): what LCI and
k-SALSA average, and what a walk between two patients begins and ends at (Pennisi et al. 2023, spec §4.4).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lib.training.gan.losses import laplacian_distance
from lib.training.loop.inference import frozen
from lib.training.loop.progress import Progress
from lib.training.loop.rehearsal import Steps


def projected(
    synthesis: Callable[[Tensor], Tensor],
    images: Tensor,  # (n, c, h, w) in [-1, 1]
    *,
    start: Tensor,  # (n, ...), such as the mean w of each image's class
    steps: int = 100,
    learning_rate: float = 0.05,
    memory_images: int = 32,  # drawn and differentiated at a time
) -> Tensor:
    """Latents (n, ...) whose images are near to `images`; none depends on the other images.

    From `start`, Adam of a rate that falls to 0 as a half cosine minimises the mean squared difference of the pixels
    plus `laplacian_distance`, as the auto-decoder does. The networks of `synthesis` are frozen meanwhile. ValueError
    for as many latents as images do not have, or divergence.
    """
    if len(start) != len(images) or not len(images):
        raise ValueError(f"{len(start)} latents to start from for {len(images)} images: give one for each")
    if steps < 1 or memory_images < 1:
        raise ValueError(f"steps is {steps} and memory_images {memory_images}: give at least 1 of each")
    found, report = start.detach().clone(), Progress("projection", len(images), unit="images")
    with frozen(synthesis):
        for first in range(0, len(images), memory_images):
            rows = slice(first, first + memory_images)
            latents, wanted = found[rows].clone().requires_grad_(), images[rows].to(start)
            optimiser = torch.optim.Adam([latents], lr=learning_rate, fused=True)
            for step in Steps("projection", 0, steps):
                optimiser.param_groups[0]["lr"] = learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
                with torch.enable_grad():
                    made = synthesis(latents)
                    apart = laplacian_distance(made, wanted) + (made - wanted).square().mean(dim=(1, 2, 3))
                    (latents.grad,) = torch.autograd.grad(apart.sum(), latents)
                optimiser.step()
            found[rows] = latents.detach()
            report(min(first + memory_images, len(images)))
    if not bool(torch.isfinite(found).all()):
        raise ValueError("the projection diverged (a latent is not finite): lower the learning rate")
    return found
