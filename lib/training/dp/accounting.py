"""Privacy accounting: which ε a run of DP-SGD spends, and which noise a given ε needs.

Mechanism: at each of `steps` steps every image enters with probability `sample_rate`, independently (Poisson
sampling); the clipped per-sample gradients are summed and Gaussian noise of `noise_multiplier` times the clipping
norm is added. Neighbours differ by adding or removing one image. The arithmetic of single images is Opacus'; groups
of images, that is patients, are ours, since Opacus has none.
"""

import contextlib
import math
import warnings
from functools import lru_cache

import numpy as np

ACCOUNTANTS = ("rdp", "prv")


def noise_multiplier(*, epsilon: float, delta: float, sample_rate: float, steps: int, accountant: str = "rdp") -> float:
    """The smallest noise multiplier found by bisection whose ε is at most `epsilon`, and at least 0.99 of it.

    accountant: "rdp" (the paper's) or "prv" (tighter). An infinite `epsilon` needs no noise: 0.
    ValueError for values outside their range or an ε too small to reach.
    """
    _check(accountant=accountant, delta=delta, sample_rate=sample_rate, steps=steps)
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}: give a positive number.")
    if math.isinf(epsilon):
        return 0.0
    return _noise_multiplier(float(epsilon), float(delta), float(sample_rate), int(steps), accountant)


def epsilon_spent(
    *, noise_multiplier: float, sample_rate: float, steps: int, delta: float, accountant: str = "rdp"
) -> float:
    """ε of `steps` steps at `delta`, for one image; infinite without noise, 0 before the first step.

    "rdp": Rényi DP (Mironov et al. 2019) converted by Balle et al. 2020, Theorem 21. "prv": the numerical composition
    of Gopi et al. 2021, its upper bound at an error in ε of 0.01, or 0.2 % where that is more. ValueError for values
    outside their range.
    """
    _check(accountant=accountant, delta=delta, sample_rate=sample_rate, steps=steps)
    return epsilon_of([(noise_multiplier, sample_rate, steps)], delta=delta, accountant=accountant)


def epsilon_of(history: list[tuple[float, float, int]], *, delta: float, accountant: str = "rdp") -> float:
    """ε at `delta` of a history as Opacus' accountants keep it: (noise multiplier, sample rate, steps) in turn."""
    _check(accountant=accountant, delta=delta)
    history = [(sigma, rate, steps) for sigma, rate, steps in history if steps > 0]
    if not history:
        return 0.0
    if any(sigma == 0 for sigma, _, _ in history):
        return math.inf
    each = (_rdp(float(sigma), float(rate)) * steps for sigma, rate, steps in history)
    by_rdp = _converted(sum(each, np.zeros(())), delta)
    if accountant == "rdp":
        return by_rdp
    from opacus.accountants import PRVAccountant

    state = PRVAccountant()
    state.history = history
    with _orders_silenced():
        return float(state.get_epsilon(delta, eps_error=max(0.01, 0.002 * by_rdp)))


def group_epsilon(
    *, images: int, noise_multiplier: float, sample_rate: float, steps: int, delta: float, method: str = "mixture"
) -> float:
    """ε at `delta` for a group of `images` images added or removed together: all images of one patient.

    "conversion": an (ε, δ')-private mechanism is (kε, δ' (e^{kε} - 1) / (e^ε - 1))-private for groups of k (Vadhan
    2017, Lemma 2.2, its geometric sum kept); the smallest kε whose right-hand side is at most `delta`.

    "mixture" (tighter): removing the group moves the sum by at most j clipping norms when j of its images are
    drawn, j ~ Binomial(k, q). One step is then no easier to tell from the same step without the group than
    P = Σ_j Binomial(j; k, q) N(j, σ²) is from Q = N(0, σ²). Proof: given the other images, the true pair is
    P' = Σ_S p_S N(v_S, σ²I) against N(0, σ²I), S the subset drawn and |v_S| <= |S|. Under Q', P'/Q' is
    Σ_S p_S exp(X_S - Var(X_S)/2) with X Gaussian of covariance <v_S, v_T>/σ² <= |S||T|/σ², which is the covariance
    of the scalar pair. Kahane's convexity inequality (Kahane 1985: a convex function's mean grows with the
    covariance) for t^α and t^(1-α) bounds both Rényi divergences by those of P and Q; averaging over the other
    images cannot raise them (quasi-convexity), and they add up over adaptive steps (Mironov 2017). The same pair
    dominates in Charles et al. 2024 (arXiv 2407.07737) and Choquette-Choo et al. 2024 (arXiv 2310.15526).
    Both divergences are integrated numerically, then converted as in `epsilon_spent`; images=1 gives its ε.

    ValueError for an unknown method or values outside their range.
    """
    _check(delta=delta, sample_rate=sample_rate, steps=steps)
    if images < 1:
        raise ValueError(f"A group has {images} images: give at least 1.")
    if method not in _GROUP_METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(_GROUP_METHODS)}")
    if noise_multiplier == 0:
        return math.inf
    return _GROUP_METHODS[method](int(images), float(noise_multiplier), float(sample_rate), int(steps), float(delta))


@lru_cache(maxsize=256)
def _noise_multiplier(epsilon: float, delta: float, sample_rate: float, steps: int, accountant: str) -> float:
    tolerance = 0.01 * min(1.0, epsilon)
    if accountant == "rdp":
        sigma = _bisected(epsilon, delta, sample_rate, steps, tolerance)
        spent = epsilon_of([(sigma, sample_rate, steps)], delta=delta)
        if epsilon - 1.01 * tolerance <= spent <= epsilon:  # Opacus confirms
            return sigma
    from opacus.accountants.utils import get_noise_multiplier

    # The error of a numerical accountant must lie below the tolerance of the search.
    extra = {"eps_error": tolerance / 2} if accountant == "prv" else {}
    with _orders_silenced():
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon, target_delta=delta, sample_rate=sample_rate, steps=steps,
                accountant=accountant, epsilon_tolerance=tolerance, **extra,
            )
        )  # fmt: skip


def _bisected(epsilon: float, delta: float, sample_rate: float, steps: int, tolerance: float) -> float:
    """Opacus' `get_noise_multiplier` step for step, on divergences integrated here.

    Opacus sums a series for each fractional order, which takes seconds an evaluation where the sample rate is large.
    """
    low, high, spent = 0.0, 10.0, math.inf
    while spent > epsilon:
        high *= 2
        if high > 1e6:
            raise ValueError(f"No noise reaches epsilon {epsilon} at delta {delta}: ask for a larger epsilon.")
        spent = _by_mixture(1, high, sample_rate, steps, delta)
    while epsilon - spent > tolerance:
        sigma = (low + high) / 2
        if (at := _by_mixture(1, sigma, sample_rate, steps, delta)) < epsilon:
            high, spent = sigma, at
        else:
            low = sigma
    return high


@lru_cache(maxsize=1024)
def _rdp(sigma: float, rate: float) -> np.ndarray:
    """Rényi divergence of one step at Opacus' orders."""
    from opacus.accountants.analysis.rdp import compute_rdp

    rdp = compute_rdp(q=rate, noise_multiplier=sigma, steps=1, orders=_orders())
    rdp.flags.writeable = False
    return rdp


def _orders() -> list[float]:
    from opacus.accountants import RDPAccountant

    return RDPAccountant.DEFAULT_ALPHAS


def _converted(rdp: np.ndarray, delta: float) -> float:
    from opacus.accountants.analysis.rdp import get_privacy_spent

    with _orders_silenced():
        epsilon, _ = get_privacy_spent(orders=_orders(), rdp=rdp, delta=delta)
    return max(float(epsilon), 0.0)


def _by_conversion(k: int, sigma: float, rate: float, steps: int, delta: float) -> float:
    rdp = _rdp(sigma, rate) * steps

    def excess(log_delta: float) -> float:
        """Logarithm of the group's δ over the δ allowed."""
        epsilon = _at(rdp, log_delta)
        growth = math.log(k) if epsilon == 0 else _log_expm1(k * epsilon) - _log_expm1(epsilon)
        return log_delta + growth - math.log(delta)

    high = math.log(delta)
    if k == 1:
        return _at(rdp, high)
    low = 2 * high
    while excess(low) > 0:
        low *= 2
        if low < -1e8:
            return math.inf
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
    return k * _at(rdp, low)


def _at(rdp: np.ndarray, log_delta: float) -> float:
    """`_converted`, for a δ so small that only its logarithm is a number."""
    orders = np.asarray(_orders())
    epsilon = rdp - (log_delta + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    return max(float(epsilon.min()), 0.0)


def _log_expm1(x: float) -> float:
    return x + math.log(-math.expm1(-x))


def _by_mixture(k: int, sigma: float, rate: float, steps: int, delta: float) -> float:
    return _converted(_mixture_rdp(k, sigma, rate) * steps, delta)


@lru_cache(maxsize=256)
def _mixture_rdp(k: int, sigma: float, rate: float) -> np.ndarray:
    """The larger Rényi divergence between Σ_j Binomial(j; k, rate) N(j, sigma²) and N(0, sigma²), at Opacus' orders.

    By the trapezium rule, whose error for these integrands falls exponentially in sigma/step and sigma²/step: they
    are analytic up to the zeros of the likelihood ratio, which lie at height π sigma² over the real line.
    """
    from scipy.special import gammaln, logsumexp, xlog1py, xlogy

    j = np.arange(k + 1)
    weights = gammaln(k + 1) - gammaln(j + 1) - gammaln(k - j + 1) + xlogy(j, rate) + xlog1py(k - j, -rate)
    orders = np.asarray(_orders())
    reach = orders.max() * k + 12 * sigma
    x, step = np.linspace(-reach, reach, 2 * math.ceil(4 * reach / min(sigma, sigma**2)) + 1, retstep=True)
    base = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi)) + math.log(step)
    ratio = logsumexp((weights - j**2 / (2 * sigma**2))[:, None] + j[:, None] * (x / sigma**2), axis=0)
    log_moments = []
    for some in np.array_split(orders, math.ceil(orders.size * x.size / 2**21)):  # bounds the memory
        both = np.stack([some, 1 - some])[..., None] * ratio + base  # (directions, orders, points)
        peak = both.max(axis=2)
        log_moments.append(peak + np.log(np.exp(both - peak[..., None]).sum(axis=2)))
    rdp = np.concatenate(log_moments, axis=1).max(axis=0) / (orders - 1)
    rdp = np.maximum(rdp, 0.0)
    rdp.flags.writeable = False
    return rdp


@contextlib.contextmanager
def _orders_silenced():
    """Opacus warns where the best order is the first or last it tries: the ε is then looser, but still an ε."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


def _check(*, accountant: str = "rdp", delta: float, sample_rate: float = 1.0, steps: int = 0) -> None:
    if accountant not in ACCOUNTANTS:
        raise ValueError(f"unknown accountant {accountant!r}: choose one of {', '.join(ACCOUNTANTS)}")
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}: give a probability, usually below one over the number of images.")
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate is {sample_rate}: give the probability in (0, 1] with which an image is drawn.")
    if steps < 0:
        raise ValueError(f"steps is {steps}: give the number of optimiser steps.")


_GROUP_METHODS = {"mixture": _by_mixture, "conversion": _by_conversion}
