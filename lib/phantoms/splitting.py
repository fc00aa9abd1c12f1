"""Patients dealt out to train, validation and test, before anything of them is drawn."""

from collections.abc import Sequence

import numpy as np


def split_codes(patients: int, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Split code of each patient, (P,), in proportion to `shares`; each share above 0 gets one at least.

    shares: of train, validation and test. Raises ValueError for other proportions, or fewer patients than splits.
    """
    shares = np.asarray(shares, float)
    if shares.shape != (3,) or not np.isfinite(shares).all() or shares.min() < 0 or not shares.any():
        raise ValueError(f"splits is {tuple(shares)}; give three proportions, none below 0, not all 0")
    if patients < (shares > 0).sum():
        raise ValueError(f"patients is {patients}; {(shares > 0).sum()} splits need at least as many")
    counts = np.maximum(np.rint(patients * shares / shares.sum()), shares > 0).astype(int)
    counts[counts.argmax()] += patients - counts.sum()
    return rng.permutation(np.repeat(np.arange(3), counts))
