"""Kernel distance between real and synthetic features: squared maximum mean discrepancy with the cubic kernel.

On Inception features it is the KID of Bińkowski et al. 2018 (doi 10.48550/arXiv.1801.01401).
"""

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.fidelity.scales import of_like_scales


def kernel_distance(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor, block: int = 1024) -> float:
    """Squared maximum mean discrepancy with the cubic kernel k(x, y) = (x·y / d + 1)³, unbiased.

    The kernel distance (KID) of Bińkowski et al. 2018, as one U-statistic over all images rather than a mean over
    subsets. `real` is (n₁, d), `synthetic` (n₂, d). Unbiased at any n, so it can be slightly negative. Memory is
    bounded by `block` rows of similarities. Raises ValueError as `frechet_distance`.
    """
    real, synthetic = of_like_scales(real, synthetic)
    return float(
        _discrepancy(real, synthetic, real.new_ones(1, len(real)), synthetic.new_ones(1, len(synthetic)), block)
    )


def kernel_of_subsets(*, real, synthetic, real_keep: np.ndarray, synthetic_keep: np.ndarray) -> np.ndarray:
    """`kernel_distance` of many subsets, (draws,) float64; arguments as in `frechet_of_subsets`."""
    real, synthetic = of_like_scales(real, synthetic)
    masks = [torch.as_tensor(keep, device=real.device).to(real.dtype) for keep in (real_keep, synthetic_keep)]
    return _discrepancy(real, synthetic, masks[0], masks[1], 1024).cpu().numpy()


def _discrepancy(real, synthetic, real_mask, synthetic_mask, block: int) -> torch.Tensor:
    """Unbiased squared discrepancy (draws,) of the rows in masks (draws, n) of 0 and 1."""

    def total(first, second, mask_1, mask_2):
        parts = zip(first.split(block), mask_1.split(block, dim=1), strict=True)
        return sum(((mask @ (x @ second.T / second.shape[1] + 1).pow(3)) * mask_2).sum(dim=1) for x, mask in parts)

    def within(values, mask):
        count = mask.sum(dim=1)
        itself = mask @ (values.square().sum(dim=1) / values.shape[1] + 1).pow(3)
        return (total(values, values, mask, mask) - itself) / (count * (count - 1))

    between = total(real, synthetic, real_mask, synthetic_mask) / (real_mask.sum(dim=1) * synthetic_mask.sum(dim=1))
    return within(real, real_mask) + within(synthetic, synthetic_mask) - 2 * between
