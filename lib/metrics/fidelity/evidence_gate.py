"""Is an anonymised case still the case? A gate, declared before any run, of networks that draw a case anew.

A network that draws one picture for each finding hides everybody, and so does noise. What is asked is that the region
of the evidence holds the case itself: its error there beside that of the finding's mean image, which knows the finding
and nothing of the case, how much cases vary, and whether the training had come to rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

ERROR, ERROR_WITH_NOISE, SPREAD, DRIFT = 0.3, 0.36, 0.8, 0.1  # the limits, in the order of `shortfalls`
_ROUNDING = 1e-9  # a limit that is met exactly is met


@dataclass(frozen=True)
class Evidence:
    """What one repetition's network keeps of the evidence; see `error_share`, `spread` and `drift`."""

    error: float
    spread: float
    drift: float


def error_share(
    errors: ArrayLike, of_means: ArrayLike, *, noise: float = 0.0, weights: ArrayLike | None = None
) -> float | np.ndarray:
    """Squared error within the masks, over that of the finding's mean image, the noise's variance taken off both.

    errors, of_means: (n,) mean squared errors of the same cases (`masked_error.masked_mse`). noise: where it is
    known, the SD of the noise in the originals, which no network can know. 0: the case itself; 1: no better than the
    mean image of its finding. weights (b, n): (b,) values of resamples; None: one value of all. Cases without a mask
    are left out. ValueError where the mean image errs by no more than the noise.
    """
    first, second = np.asarray(errors, float), np.asarray(of_means, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"errors have shapes {first.shape} and {second.shape}: give one of each for every case")
    kept = np.isfinite(first) & np.isfinite(second)
    given = np.ones((1, len(first))) if weights is None else np.asarray(weights, float)
    excess, reference = (given[:, kept] @ (of[kept] - noise**2) for of in (first, second))
    if not (reference > 0).all():
        raise ValueError("the mean image of a finding errs by no more than the noise: there is no evidence to be kept")
    shares = excess / reference
    return float(shares[0]) if weights is None else shares


def spread(*, original: ArrayLike, anonymised: ArrayLike, mask: ArrayLike) -> float:
    """How much cases vary within the masks, as a ratio to the originals: of root mean squares over pixels of their SD.

    All (n, h, w). A pixel counts as often as it lies in a mask. ValueError where the originals do not vary there.
    """
    often = np.asarray(mask, float).mean(axis=0)
    new, old = (float((np.asarray(of, float).var(axis=0) * often).sum()) for of in (anonymised, original))
    if old == 0:
        raise ValueError("the originals are all equal within the masks: there is nothing to be kept")
    return (new / old) ** 0.5


def drift(losses: ArrayLike) -> float:
    """How far a loss (steps,) still moves at its end: |its mean over the last fifth / that over the fifth before − 1|.

    ValueError for fewer than ten steps, or a loss that is not above 0 there.
    """
    values = np.asarray(losses, float)
    fifth = len(values) // 5
    if values.ndim != 1 or fifth < 2:
        raise ValueError(f"losses have shape {values.shape}: give ten steps or more")
    last, before = values[-fifth:].mean(), values[-2 * fifth : -fifth].mean()
    if not before > 0:
        raise ValueError(f"the loss is {before:g} on average: give one above 0, such as a squared error")
    return float(abs(last / before - 1))


def shortfalls(found: Sequence[Evidence], *, noise_is_known: bool) -> list[str]:
    """Why the gate is not passed, a sentence each; empty where it is. It is decided by means over all repetitions.

    The error is at most .3 of the mean image's where the noise was taken off both, and .36 (.6 of its root) where it is
    not known and stays in both; the spread is at least .8; the loss of the evidence drifts by at most a tenth. Raises
    ValueError without a repetition.
    """
    if not found:
        raise ValueError("no repetition was measured: the gate needs all of them")
    mean = {name: float(np.mean([getattr(of, name) for of in found])) for name in vars(found[0])}
    most, reasons = ERROR if noise_is_known else ERROR_WITH_NOISE, []
    if not mean["error"] <= most + _ROUNDING:
        reasons.append(f"the squared error in the mask is {mean['error']:.2f} of that of the finding's mean image")
    if not mean["spread"] >= SPREAD - _ROUNDING:
        reasons.append(f"the SD between cases is {mean['spread']:.2f} of that of the originals")
    if not mean["drift"] <= DRIFT + _ROUNDING:
        reasons.append(f"the loss of the evidence still moves by {mean['drift']:.0%} at the end of the training")
    return reasons
