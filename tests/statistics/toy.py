"""A classification that several tests draw."""

import numpy as np


def task(seed=0, n=120, decimals=1):
    """Labels (n,), a third of them 1, and scores (n,) that lean the right way; few `decimals` make ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return labels, np.round(rng.normal(size=n) + labels, decimals)
