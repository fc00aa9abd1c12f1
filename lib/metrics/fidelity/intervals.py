"""Intervals of the Fréchet and the kernel distance, by subsampling patients without replacement.

A bootstrap with replacement repeats rows, and repeated rows bias both distances; a subset repeats none.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtri

from lib.metrics.fidelity import frechet as fidelity
from lib.metrics.fidelity import kernel
from lib.statistics import checks as samples
from lib.statistics.bootstrap import Interval, _require_level


def bootstrap_frechet(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    real_groups: ArrayLike | None = None,
    synthetic_groups: ArrayLike | None = None,
    deleted: float = 0.2,
    draws: int = 100,
    corrected: bool = False,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Interval of `frechet_distance` by subsampling patients without replacement (delete-d jackknife).

    A bootstrap with replacement is not used: repeated images shrink a covariance as if n were 0.63 n, which moves
    every draw above the estimate. Here each draw leaves out the share `deleted` of the patients of both sets, and
    the standard deviation of the draws, times √((G − d) / d) for d of G left out, is the standard error (Shao and
    Wu 1989); the interval is value ± z standard errors, not below 0. It is an interval for the expected distance
    *at these sample sizes*: the upward bias of order 1/n is in the value and in the interval, so state n. Between
    two samples of one population the distance is nearly all bias, and the interval is wide rather than exact.

    `corrected=True` takes that bias out: as far as it falls with 1/n, smaller subsamples show it, and the value is the
    jackknife's value − (G − d) / d · (mean of the draws − value). The interval is then for the distance of the
    populations, and can be negative, as an unbiased estimate of 0 must. But with features far wider than n, of a
    spectrum that falls slowly, the bias falls more slowly than 1/n, and most of it may stay: compare at equal n still.

    `real` is (n₁, d) with patients `real_groups` (n₁,), `synthetic` (n₂, d); None: every image is its own unit.
    `Interval.draws` holds the distances of the subsamples, `units` the smaller number of patients. Raises
    ValueError with fewer than ten patients in a set.
    """
    _require_level(level)
    value = fidelity.frechet_distance(real=real, synthetic=synthetic)
    n, m = np.shape(real)[0], np.shape(synthetic)[0]
    options: dict = {"deleted": deleted, "draws": draws, "rng": rng}
    keep_real, factor_real, units_real = patient_subsets(samples.codes(real_groups, n), **options)
    keep_synthetic, factor_synthetic, units_synthetic = patient_subsets(samples.codes(synthetic_groups, m), **options)
    drawn = fidelity.frechet_of_subsets(
        real=real, synthetic=synthetic, real_keep=keep_real, synthetic_keep=keep_synthetic
    )
    # The factors differ only by rounding d; the larger is the careful one.
    factor = max(factor_real, factor_synthetic)
    reach = ndtri((1 + level) / 2) * drawn.std(ddof=1) * factor**0.5
    if corrected:
        value -= factor * (float(drawn.mean()) - value)
    low, high = value - reach, value + reach
    if not corrected:
        low = max(low, 0.0)
    return Interval(value, float(low), float(high), level, min(units_real, units_synthetic), drawn)


def subsample_kernel(
    *, real, synthetic, real_groups=None, synthetic_groups=None, deleted: float = 0.2, draws: int = 100,
    rng: np.random.Generator, level: float = 0.95,
) -> Interval:  # fmt: skip
    """`kernel_distance` with an interval by subsampling patients, all as in `bootstrap_frechet`.

    The distance is unbiased: the interval is that of the populations' distance, and may reach below 0.
    """
    _require_level(level)
    value = kernel.kernel_distance(real=real, synthetic=synthetic)
    options: dict = {"deleted": deleted, "draws": draws, "rng": rng}
    keep_real, factor, units = patient_subsets(samples.codes(real_groups, len(real)), **options)
    keep_synthetic, other, fewer = patient_subsets(samples.codes(synthetic_groups, len(synthetic)), **options)
    drawn = kernel.kernel_of_subsets(real=real, synthetic=synthetic, real_keep=keep_real, synthetic_keep=keep_synthetic)
    reach = ndtri((1 + level) / 2) * drawn.std(ddof=1) * max(factor, other) ** 0.5
    return Interval(value, float(value - reach), float(value + reach), level, min(units, fewer), drawn)


class PatientSubsets(NamedTuple):
    """Draws that each leave out some patients, for a delete-d jackknife."""

    keep: np.ndarray  # (draws, n) bool: the images that stay
    factor: float  # (G - d) / d: of the variance of the draws, so that it is that of the estimate
    patients: int  # G


def patient_subsets(
    groups: ArrayLike, *, deleted: float = 0.2, draws: int = 100, rng: np.random.Generator
) -> PatientSubsets:  # fmt: skip
    """Subsets of the images (n,) that leave out the share `deleted` of their patients `groups` (n,), at random.

    Raises ValueError for fewer than ten patients, fewer draws than two, and a share outside (0, .5].
    """
    if not 0 < deleted <= 0.5:
        raise ValueError(f"deleted is {deleted}: leave out a share of the patients in (0, .5]")
    if draws < 2:
        raise ValueError(f"draws is {draws}: a standard error needs at least two")
    code = samples.codes(groups, len(np.asarray(groups)))
    patients = int(code.max()) + 1
    if patients < 10:
        raise ValueError(f"{patients} patients in a set are too few to subsample: give at least ten")
    left_out = round(deleted * patients)
    rank = rng.random((draws, patients)).argsort(axis=1).argsort(axis=1)
    return PatientSubsets((rank >= left_out)[:, code], (patients - left_out) / left_out, patients)
