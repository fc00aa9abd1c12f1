"""Splits for closed-set identity: every patient stands in train, validation and test, so that all can be recognised."""

import hashlib
from collections.abc import Sequence

import numpy as np

from lib.phantoms.splitting import split_codes

SHARES = (70, 10, 20)


def split_within(patients: Sequence[int], *, name: str) -> np.ndarray:
    """Split codes (N,) 0 train, 1 validation, 2 test: 70/10/20 % of the images of each patient, one at least of each.

    patients: (N,) patient of each image, in an order that does not depend on the machine. The draw of a patient
    follows from the SHA-256 of `name`/patient alone, so it depends neither on other patients nor on a seed.
    Raises ValueError, naming the patients, where one has fewer than three images.
    """
    patients, codes = np.asarray(patients), np.zeros(len(patients), np.uint8)
    own, counts = np.unique(patients, return_counts=True)
    few = own[counts < 3]
    if len(few):
        shown = ", ".join(map(str, few[:5])) + (" …" if len(few) > 5 else "")
        problem = f"{len(few)} of {len(own)} patients have fewer than 3 images ({shown})"
        raise ValueError(f"{name}: {problem}; leave them out, as each patient must stand in all three splits")
    for patient, count in zip(own.tolist(), counts.tolist(), strict=True):
        digest = hashlib.sha256(f"{name}/{patient}".encode()).digest()
        codes[patients == patient] = split_codes(count, SHARES, np.random.default_rng(list(digest)))
    return codes
