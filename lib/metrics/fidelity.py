"""How close synthetic images lie to real ones, as distributions: of features, and of spectra."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics import samples, utility


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
    real, synthetic = _features(real, synthetic)
    keeps = [torch.as_tensor(keep, device=real.device) for keep in (real_keep, synthetic_keep)]
    if keeps[0].shape[0] != keeps[1].shape[0] or [k.shape[1] for k in keeps] != [len(real), len(synthetic)]:
        raise ValueError("real_keep and synthetic_keep must be (draws, n) masks of the rows of their sets")
    if min(int(keep.sum(dim=1).min()) for keep in keeps) < 2:
        raise ValueError("a subset keeps fewer than two rows, but a covariance needs two")
    centre = real.mean(dim=0)  # a common shift changes no distance and saves digits
    real, synthetic = real - centre, synthetic - centre
    few = min(len(real), len(synthetic)) < real.shape[1]
    products = real @ synthetic.T if few else None
    each = 8 * (products.numel() if few else 2 * real.numel() + 2 * synthetic.numel())
    step = max(1, memory // each)
    values = []
    for keep_1, keep_2 in zip(*(keep.split(step) for keep in keeps), strict=True):
        mean_1, trace_1 = _subset_moments(real, keep_1)
        mean_2, trace_2 = _subset_moments(synthetic, keep_2)
        if few:
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


def kernel_distance(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor, block: int = 1024) -> float:
    """Squared maximum mean discrepancy with the cubic kernel k(x, y) = (x·y / d + 1)³, unbiased.

    The kernel distance (KID) of Bińkowski et al. 2018, as one U-statistic over all images rather than a mean over
    subsets. `real` is (n₁, d), `synthetic` (n₂, d). Unbiased at any n, so it can be slightly negative. Memory is
    bounded by `block` rows of similarities. Raises ValueError as `frechet_distance`.
    """
    real, synthetic = _features(real, synthetic)
    return float(_discrepancy(real, synthetic, *(x.new_ones(1, len(x)) for x in (real, synthetic)), block))


class KernelDistance(NamedTuple):
    """Outcome of `kernel_distance_of_subsets`."""

    value: float  # mean over the subsets
    sd: float  # over the subsets, divisor `subsets`: they share images, so it is no standard error
    size: int  # images of each set in a subset
    subsets: int


def kernel_distance_of_subsets(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    size: int = 1000,
    subsets: int = 100,
    rng: np.random.Generator,
    block: int = 1024,
) -> KernelDistance:
    """`kernel_distance` as it is published: mean and SD over random subsets, without replacement in each.

    All subsets come from one pass over the similarities. Raises ValueError as `frechet_distance`, and when `size`
    is not between 2 and the images of the smaller set.
    """
    real, synthetic = _features(real, synthetic)
    few = min(len(real), len(synthetic))
    if not 2 <= size <= few or subsets < 1:
        raise ValueError(f"{subsets} subsets of {size} images: give one or more, of 2 to {few} images")
    masks = []
    for values in (real, synthetic):
        rank = rng.random((subsets, len(values))).argsort(axis=1).argsort(axis=1)
        masks.append(torch.as_tensor(rank < size, dtype=values.dtype, device=values.device))
    found = _discrepancy(real, synthetic, *masks, block)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)), size, subsets)


def kernel_of_subsets(*, real, synthetic, real_keep: np.ndarray, synthetic_keep: np.ndarray) -> np.ndarray:
    """`kernel_distance` of many subsets, (draws,) float64; arguments as in `frechet_of_subsets`."""
    real, synthetic = _features(real, synthetic)
    masks = [torch.as_tensor(keep, device=real.device).to(real.dtype) for keep in (real_keep, synthetic_keep)]
    return _discrepancy(real, synthetic, *masks, 1024).cpu().numpy()


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


def high_frequency_share(images: ArrayLike | torch.Tensor, *, cutoff: float = 0.25, block: int = 256) -> np.ndarray:
    """Share of each image's spectral power above `cutoff` cycles per pixel: the image-quality flag.

    `images` is (N, H, W) or (N, C, H, W) of any real dtype; returns (N,) float64 in [0, 1]. The mean of
    each image and channel is removed, no window is applied, and frequency is radial: power at
    √(fx² + fy²) > `cutoff` over power at all frequencies but 0, channels summed. In this convention the medians of
    128 px crops of breast masses are .0124 and .0122 (two public sets) against .0491 for published GAN images whose
    grid texture it flags (.013, .012 and .049 in the specification).
    The value depends on image size: compare sets at one size only. A constant image has no power: 0.

    Raises ValueError on NaN, other shapes, or a cutoff outside (0, .5).
    """
    if not 0 < cutoff < 0.5:
        raise ValueError(f"cutoff is {cutoff}: give cycles per pixel between 0 and .5")
    if not isinstance(images, torch.Tensor):
        images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise ValueError(f"images have shape {tuple(images.shape)}: give (N, H, W) or (N, C, H, W)")
    height, width = images.shape[-2:]
    samples.rows(images[:1], "images")  # refuses an empty set before the loop
    down = torch.fft.fftfreq(height, dtype=torch.float64)
    across = torch.fft.rfftfreq(width, dtype=torch.float64)
    above = (down[:, None] ** 2 + across**2) > cutoff**2
    # A real image's spectrum is stored by half: every column but the first, and the last of an even width, is double.
    double = torch.full((len(across),), 2.0, dtype=torch.float64)
    double[0] = 1
    if width % 2 == 0:
        double[-1] = 1
    shares = []
    for start in range(0, len(images), block):
        part = samples.rows(images[start : start + block], "images").double()
        part = part.reshape(len(part), -1, height, width)
        part = part - part.mean(dim=(2, 3), keepdim=True)
        power = torch.fft.rfft2(part).abs().square().sum(dim=1) * double.to(part.device)
        power[:, 0, 0] = 0
        total = power.sum(dim=(1, 2))
        high = (power * above.to(part.device)).sum(dim=(1, 2))
        shares.append(torch.where(total > 0, high / total.clamp_min(1e-300), 0.0).cpu())
    return torch.cat(shares).numpy()


class ArtefactTest(NamedTuple):
    """Outcome of `artefact_test`; labels, scores and groups fit `intervals.bootstrap_auroc`."""

    auroc: float  # .5: indistinguishable, 1: every synthetic image is recognised
    labels: np.ndarray  # (n,) 1 synthetic, 0 real; the real images first
    scores: np.ndarray  # (n,) out-of-fold probability of being synthetic
    groups: np.ndarray  # (n,) patient code


def artefact_test(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    rng: np.random.Generator,
    real_groups: ArrayLike | None = None,
    synthetic_groups: ArrayLike | None = None,
    folds: int = 5,
    trees: int = 100,
) -> ArtefactTest:
    """Classifier two-sample test: how well a random forest tells synthetic features from real ones.

    `real` (n₁, d) and `synthetic` (n₂, d) are features, `real_groups` (n₁,) and `synthetic_groups` (n₂,) their
    patients; None: every image is its own. AUROC of the pooled out-of-fold scores of a stratified cross-validation
    in which no patient is in two folds: two views of one lesion in two folds would betray their side. It flags
    textures (grids, noise) that the eye and a Fréchet distance forgive. Raises ValueError on NaN, different widths,
    or fewer patients than `folds` on a side.
    """
    # scikit-learn takes a second to import, which the other metrics need not pay.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    real, synthetic = _features(real, synthetic)
    first = samples.codes(real_groups, len(real), "real_groups")
    second = samples.codes(synthetic_groups, len(synthetic), "synthetic_groups")
    patients = int(first.max()) + 1, int(second.max()) + 1
    if min(patients) < folds:
        raise ValueError(f"{patients[0]} real and {patients[1]} synthetic patients are too few for {folds} folds")
    everyone = np.concatenate([first, patients[0] + second])
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    scores = cross_val_predict(
        RandomForestClassifier(trees, random_state=int(rng.integers(2**31))),
        torch.cat([real, synthetic]).float().cpu().numpy(),
        labels,
        groups=everyone,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=int(rng.integers(2**31))),
        method="predict_proba",
    )[:, 1]
    return ArtefactTest(utility.auroc(labels, scores), labels, scores, everyone)


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
