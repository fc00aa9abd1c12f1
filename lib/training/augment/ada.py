"""What the discriminator sees of every image, real or generated: each change made with probability p, reversible.

Karras et al. 2020 (arXiv 2006.06676), pipe "bgc" of spec §7 of Pennisi et al. 2023, as one bilinear
resampling with mirrored borders, without its wavelet filter; of the colour changes brightness and contrast, which
grey images have too.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HIGHEST = 0.8  # above it, the generator learns the changes too


def augmented(images: Tensor, p: float, random: torch.Generator) -> Tensor:
    """(n, c, s, s) images in [-1, 1], each changed at random; differentiable, once.

    Each with probability p: mirrored left-right; turned by 90, 180 or 270 degrees; shifted by whole pixels, up to an
    eighth of the image; scaled by 2^N(0, 0.2²); turned by any angle; scaled by 2^N(0, 0.2²) along one axis and its
    inverse along the other; shifted by N(0, 0.125²) images; brightness + N(0, 0.2²); contrast times 2^N(0, 0.5²).
    """
    if p == 0:
        return images
    n, size = len(images), images.shape[-1]

    def chosen(values: Tensor, otherwise: float, chance: float = p) -> Tensor:
        return torch.where(_uniform(n, random) < chance, values, otherwise)

    def normal() -> Tensor:
        return torch.randn(n, device=random.device, generator=random)

    # In affine_grid's coordinates the image spans [-1, 1]; the product maps places of the result to the original.
    half = 1 - math.sqrt(1 - p)  # of two turns, one before and one after the stretch: together p
    angles = [chosen((2 * _uniform(n, random) - 1) * math.pi, 0.0, half) for _ in range(2)]
    scale, stretch = (chosen(2 ** (0.2 * normal()), 1.0) for _ in range(2))
    shifted, drifted = (chosen(torch.ones_like(scale), 0.0) for _ in range(2))
    shifts = [shifted * torch.round((0.25 * _uniform(n, random) - 0.125) * size) * 2 / size for _ in range(2)]
    drifts = [drifted * 0.25 * normal() for _ in range(2)]
    place = (
        _scaling(chosen(torch.where(_uniform(n, random) < 0.5, -1.0, 1.0), 1.0), torch.ones_like(scale))
        @ _turning(chosen((4 * _uniform(n, random)).floor() * (math.pi / 2), 0.0))
        @ _shifting(*shifts) @ _scaling(scale, scale) @ _turning(angles[0])
        @ _scaling(stretch, 1 / stretch) @ _turning(angles[1]) @ _shifting(*drifts)
    )  # fmt: skip
    grid = F.affine_grid(place[:, :2], list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    brightness, contrast = chosen(0.2 * normal(), 0.0), chosen(2 ** (0.5 * normal()), 1.0)
    return (images + brightness.view(-1, 1, 1, 1)) * contrast.view(-1, 1, 1, 1)


def _uniform(n: int, random: torch.Generator) -> Tensor:
    return torch.rand(n, device=random.device, generator=random)


def _matrix(*entries: Tensor | float) -> Tensor:
    n = next(e for e in entries if isinstance(e, Tensor))
    return torch.stack([torch.zeros_like(n) + e for e in entries], dim=1).view(-1, 3, 3)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return _matrix(x, 0, 0, 0, y, 0, 0, 0, 1)


def _turning(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return _matrix(cos, -sin, 0, sin, cos, 0, 0, 0, 1)


def _shifting(x: Tensor, y: Tensor) -> Tensor:
    return _matrix(1, 0, x, 0, 1, y, 0, 0, 1)
