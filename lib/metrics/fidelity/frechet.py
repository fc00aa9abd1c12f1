"""Fréchet distance between Gaussians fitted to real and to synthetic features."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.fidelity.scales import of_like_scales


def frechet_distance(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    d² = |m₁ − m₂|² + Tr(S₁ + S₂ − 2 (S₁S₂)^½), with the n − 1 covariance of numpy.cov (Heusel et al. 2017,
    eq. 6; the convention of pytorch-fid: no root, no logarithm). `real` is (n₁, d) and `synthetic` (n₂, d), any
    real dtype; computed in float64 on the device of `real`. Unit: that of the features, squared. The estimate
    exceeds the distance of the populations by a term of order 1/n: always state n₁ and n₂.

    Raises ValueError on NaN, fewer than two rows, different widths, or features of unlike scales, of which the largest
    would decide the distance (`lib.metrics.fidelity.scales`).
    """
    real, synthetic = of_like_scales(real, synthetic)
    difference = real.mean(dim=0) - synthetic.mean(dim=0)
    first, second = _centred(real), _centred(synthetic)
    d = first.shape[1]
    if min(len(first), len(second)) < d:
        # Tr(S₁S₂)^½ is the nuclear norm of X Yᵀ for any X, Y with XᵀX = S₁ and YᵀY = S₂. Centred rows are such
        # factors, small when images are few, and nothing singular has to be inverted or rooted.
        overlap = _nuclear_norm(_short(first) @ _short(second).T)
    else:
        overlap = _root_trace(first.T @ first, second.T @ second)
    return _assemble(difference, first.square().sum(), second.square().sum(), overlap)


def frechet_of_subsets(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    real_keep: np.ndarray,
    synthetic_keep: np.ndarray,
    memory: int = 2**24,
) -> np.ndarray:
    """`frechet_distance` of many subsets of the same two sets of features, (draws,) float64.

    `real_keep` (draws, n₁) and `synthetic_keep` (draws, n₂) are booleans: the rows that draw keeps, at least two
    of each set. Evaluated in blocks of draws that take about `memory` bytes.
    """
    real, synthetic = of_like_scales(real, synthetic)
    keeps = [torch.as_tensor(keep, device=real.device) for keep in (real_keep, synthetic_keep)]
    if keeps[0].shape[0] != keeps[1].shape[0] or [k.shape[1] for k in keeps] != [len(real), len(synthetic)]:
        raise ValueError("real_keep and synthetic_keep must be (draws, n) masks of the rows of their sets")
    if min(int(keep.sum(dim=1).min()) for keep in keeps) < 2:
        raise ValueError("a subset keeps fewer than two rows, but a covariance needs two")
    centre = real.mean(dim=0)  # a common shift changes no distance and saves digits
    real, synthetic = real - centre, synthetic - centre
    few = min(len(real), len(synthetic)) < real.shape[1]
    products = real @ synthetic.T if few else None
    each = 8 * (2 * real.numel() + 2 * synthetic.numel() if products is None else products.numel())
    step = max(1, memory // each)
    values = []
    for keep_1, keep_2 in zip(*(keep.split(step) for keep in keeps), strict=True):
        mean_1, trace_1 = _subset_moments(real, keep_1)
        mean_2, trace_2 = _subset_moments(synthetic, keep_2)
        if products is not None:
            # (xᵢ − m₁)·(yⱼ − m₂) from the products of all rows; of a draw that keeps fewer, the last ones are 0.
            (rows, held_1), (columns, held_2) = _kept_first(keep_1), _kept_first(keep_2)
            cross = products[rows[:, :, None], columns[:, None, :]]
            cross -= (mean_1 @ synthetic.T).gather(1, columns)[:, None, :]
            cross -= ((mean_2 @ real.T).gather(1, rows) - (mean_1 * mean_2).sum(dim=1)[:, None])[:, :, None]
            if not (held_1.all() and held_2.all()):
                cross *= held_1[:, :, None] & held_2[:, None, :]
            # Singular values by the smaller Gram matrix: three times faster, and its rounding, 1e-8 of the largest,
            # is nothing beside the spread of the draws.
            gram = cross @ cross.mT if cross.shape[1] <= cross.shape[2] else cross.mT @ cross
            freedom = (keep_1.sum(dim=1) - 1).double() * (keep_2.sum(dim=1) - 1)
            overlap = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().sum(dim=1) / freedom.sqrt()
        else:
            first = _subset_covariance(real, keep_1, mean_1)
            overlap = _root_trace(first, _subset_covariance(synthetic, keep_2, mean_2))
        values.append((mean_1 - mean_2).square().sum(dim=1) + trace_1 + trace_2 - 2 * overlap)
    return torch.cat(values).clamp_min(0).cpu().numpy()


def _kept_first(keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (draws, k) that each draw keeps, k the most of any, and whether a place is held (draws, k)."""
    count = keep.sum(dim=1)
    rows = keep.byte().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    return rows, torch.arange(rows.shape[1], device=keep.device) < count[:, None]


def _subset_moments(values: torch.Tensor, keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (draws, d) and trace of the covariance (draws,) of the rows kept."""
    kept = keep.to(values.dtype)
    count = kept.sum(dim=1)
    mean = kept @ values / count[:, None]
    spread = kept @ values.square().sum(dim=1) - count * mean.square().sum(dim=1)
    return mean, spread / (count - 1)


def _subset_covariance(values: torch.Tensor, keep: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    centred = (values - mean[:, None, :]) * keep[:, :, None]
    return centred.mT @ centred / (keep.sum(dim=1) - 1)[:, None, None]


def _centred(values: torch.Tensor) -> torch.Tensor:
    """Rows X with XᵀX equal to the n − 1 covariance."""
    return (values - values.mean(dim=0)) / (len(values) - 1) ** 0.5


def _short(factor: torch.Tensor) -> torch.Tensor:
    """A factor of the same covariance with at most d rows."""
    return torch.linalg.qr(factor, mode="r").R if len(factor) > factor.shape[1] else factor


def _nuclear_norm(values: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(values).sum(dim=-1)


def _root_trace(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Tr (S₁S₂)^½ of covariances (..., d, d)."""
    lower, failed = torch.linalg.cholesky_ex(first)
    if not failed.any():
        # S₁S₂ = LLᵀS₂ has the eigenvalues of LᵀS₂L, which is symmetric: no root of a non-symmetric product.
        return torch.linalg.eigvalsh(lower.mT @ second @ lower).clamp_min(0).sqrt().sum(dim=-1)
    return _nuclear_norm(_root(first) @ _root(second))


def _root(covariance: torch.Tensor) -> torch.Tensor:
    """Symmetric root of covariances that may be singular; an eigenvalue below 0 is rounding and counts as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()[..., None, :]) @ vectors.mT


def _assemble(difference: torch.Tensor, trace_1, trace_2, overlap) -> float:
    # Rounding can leave a distance of 0 slightly below it.
    return max(float(difference.square().sum() + trace_1 + trace_2 - 2 * overlap), 0.0)
