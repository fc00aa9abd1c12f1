"""Images and features that several tests draw, and the attack on them."""

import numpy as np

from lib.metrics.privacy.attacks.nearest_neighbour import memorisation_test


def normal(seed, n, d=6):
    """Features (n, d), standard normal."""
    return np.random.default_rng(seed).normal(size=(n, d))


def population(rng, n, size=12):
    """Patients of two similar images: n images (n, size, size) uint8, and their patients."""
    shared = np.repeat(rng.normal(size=(n // 2, size, size)), 2, axis=0)
    images = 128 + 30 * (shared + 0.4 * rng.normal(size=(n, size, size)))
    return np.clip(images, 0, 255).astype(np.uint8), np.arange(n) // 2


def attacked(sets, synthetic, **options):
    """The memorisation test on `synthetic`, with the train and held-out images of the fixture `sets`."""
    return memorisation_test(
        train=sets["train"],
        heldout=sets["heldout"],
        synthetic=synthetic,
        **sets["groups"],
        **{"rng": np.random.default_rng(1), "draws": 300} | options,
    )
