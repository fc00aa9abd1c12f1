"""How close synthetic images lie to real ones, as distributions: of features, and of spectra."""

import torch
from numpy.typing import ArrayLike

from lib.metrics import samples


def frechet_distance(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    d² = |m₁ − m₂|² + Tr(S₁ + S₂ − 2 (S₁S₂)^½), with the n − 1 covariance of numpy.cov (Heusel et al. 2017,
    eq. 6; the convention of pytorch-fid: no root, no logarithm). `real` is (n₁, d) and `synthetic` (n₂, d), any
    real dtype; computed in float64 on the device of `real`. Unit: that of the features, squared. The estimate
    exceeds the distance of the populations by a term of order 1/n: always state n₁ and n₂.

    Raises ValueError on NaN, fewer than two rows, or different widths.
    """
    real, synthetic = _features(real, synthetic)
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


def frechet_from_moments(
    *,
    real_mean: ArrayLike | torch.Tensor,
    real_covariance: ArrayLike | torch.Tensor,
    synthetic_mean: ArrayLike | torch.Tensor,
    synthetic_covariance: ArrayLike | torch.Tensor,
) -> float:
    """Squared Fréchet distance between two Gaussians given by means (d,) and covariances (d, d).

    As `frechet_distance`, for statistics that were stored or are known in closed form. A singular covariance is
    allowed. Raises ValueError on NaN, on shapes that do not fit, and on a covariance that is not symmetric or
    has a negative eigenvalue beyond rounding.
    """
    mean_1 = samples.matrix(torch.as_tensor(real_mean)[None], "real_mean")[0]
    mean_2 = samples.matrix(torch.as_tensor(synthetic_mean)[None], "synthetic_mean")[0].to(mean_1.device)
    first = _covariance(real_covariance, mean_1, "real_covariance")
    second = _covariance(synthetic_covariance, mean_2, "synthetic_covariance")
    if first.shape != second.shape:
        raise ValueError(f"real has {len(mean_1)} features and synthetic {len(mean_2)}: use one extractor for both")
    return _assemble(mean_1 - mean_2, first.trace(), second.trace(), _root_trace(first, second))


def _features(real, synthetic) -> tuple[torch.Tensor, torch.Tensor]:
    real = samples.matrix(real, "real")
    synthetic = samples.matrix(synthetic, "synthetic").to(real.device)
    samples.same_width(real, synthetic, ("real", "synthetic"))
    for name, values in (("real", real), ("synthetic", synthetic)):
        if len(values) < 2:
            raise ValueError(f"{name} has {len(values)} row, but a covariance needs two: give more images")
    return real, synthetic


def _centred(values: torch.Tensor) -> torch.Tensor:
    """Rows X with XᵀX equal to the n − 1 covariance."""
    return (values - values.mean(dim=0)) / (len(values) - 1) ** 0.5


def _short(factor: torch.Tensor) -> torch.Tensor:
    """A factor of the same covariance with at most d rows."""
    return torch.linalg.qr(factor, mode="r").R if len(factor) > factor.shape[1] else factor


def _nuclear_norm(values: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(values).sum()


def _root_trace(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Tr (S₁S₂)^½ of two covariances (d, d)."""
    lower, failed = torch.linalg.cholesky_ex(first)
    if not failed:
        # S₁S₂ = LLᵀS₂ has the eigenvalues of LᵀS₂L, which is symmetric: no root of a non-symmetric product.
        return torch.linalg.eigvalsh(lower.T @ second @ lower).clamp_min(0).sqrt().sum()
    return _nuclear_norm(_root(first) @ _root(second))


def _root(covariance: torch.Tensor) -> torch.Tensor:
    """Symmetric root of a covariance that may be singular; eigenvalues within rounding of 0 count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _covariance(values, mean: torch.Tensor, name: str) -> torch.Tensor:
    values = samples.matrix(values, name).to(mean.device)
    if values.shape != (len(mean), len(mean)):
        raise ValueError(f"{name} has shape {tuple(values.shape)}: its mean asks for ({len(mean)}, {len(mean)})")
    scale = values.diagonal().abs().max()
    if (values - values.T).abs().max() > 1e-6 * scale:
        raise ValueError(f"{name} is not symmetric: give a covariance (d, d)")
    values = (values + values.T) / 2
    if torch.linalg.cholesky_ex(values).info and torch.linalg.eigvalsh(values)[0] < -1e-6 * scale:
        raise ValueError(f"{name} has a negative eigenvalue: give a covariance (d, d)")
    return values


def _assemble(difference: torch.Tensor, trace_1, trace_2, overlap) -> float:
    # Rounding can leave a distance of 0 slightly below it.
    return max(float(difference.square().sum() + trace_1 + trace_2 - 2 * overlap), 0.0)
