"""Drawn masses, as small as the copy test takes them."""

import numpy as np

from lib.cohorts.phantoms import mass

SIDE = 16


def masses():
    """Of 90 patients, and of as many others as a synthetic set that copies nobody.

    images (n, SIDE, SIDE) uint8; patients (n,); who is in the training set (n,) bool; synthetic images (m, SIDE, SIDE).
    """
    real, other = (mass.draw(patients=90, image_size=32, rng=np.random.default_rng(seed)) for seed in (0, 1))
    real, other = real.resized(SIDE), other.resized(SIDE)
    order = np.argsort(real.split > 0, kind="stable")
    real = real[order]
    return real.images[:], real.patient, real.split == 0, other.images[:]
