"""Scales of features: a distance over features of unlike units depends on the largest unit only."""

import torch
from numpy.typing import ArrayLike

from lib.statistics import checks

_MOST = 1e4  # largest over median standard deviation: below 20 wherever a notebook asks, from 1e5 up of raw radiomics
_ROUNDING = 1e-9  # a standard deviation below this share of the largest value is rounding


def standardised(*, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> dict[str, torch.Tensor]:
    """Both sets of features (n, d) in standard deviations from the mean of `real`, float64 on the device of `real`.

    Returned by name, as a distance takes them: `frechet_distance(**standardised(real=…, synthetic=…))`. A feature that
    is constant in `real` keeps its unit. Raises ValueError on NaN, fewer than two rows, or different widths.
    """
    real, synthetic = checks.two_sets(real, synthetic)
    mean, spread = real.mean(dim=0), real.std(dim=0)
    spread = torch.where(spread > _ROUNDING * real.abs().amax(dim=0), spread, 1.0)
    return {"real": (real - mean) / spread, "synthetic": (synthetic - mean) / spread}


def of_like_scales(
    real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets of features (n, d), float64 on the device of `real`.

    Raises ValueError as `standardised`, and if one feature varies 10,000 times as much as most of its set do.
    """
    real, synthetic = checks.two_sets(real, synthetic)
    for name, values in (("real", real), ("synthetic", synthetic)):
        spread = values.std(dim=0)
        spread = spread[spread > _ROUNDING * spread.max()]
        if len(spread) and spread.max() >= _MOST * spread.median():
            raise ValueError(
                f"{name} has features of unlike scales (standard deviations: largest {float(spread.max()):.2g}, median "
                f"{float(spread.median()):.2g}), and the largest alone would decide the distance: bring both sets to "
                "one scale first, by lib.metrics.fidelity.scales.standardised, or radiomics by scaled_together"
            )
    return real, synthetic
