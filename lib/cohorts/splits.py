"""Patients assigned to train, validation and test, before anything of them is drawn."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib.cohorts.cohort import SPLITS


def split_codes(patients: int, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Split code of each patient, (P,), in proportion to `shares`; each share above 0 gets one at least.

    shares: of train, validation and test. Raises ValueError for other proportions, or fewer patients than splits.
    """
    share = np.asarray(shares, float)
    if share.shape != (3,) or not np.isfinite(share).all() or share.min() < 0 or not share.any():
        raise ValueError(f"splits is {tuple(share)}; give three proportions, none below 0, not all 0")
    if patients < (share > 0).sum():
        raise ValueError(f"patients is {patients}; {(share > 0).sum()} splits need at least as many")
    counts = np.maximum(np.rint(patients * share / share.sum()), share > 0).astype(int)
    counts[counts.argmax()] += patients - counts.sum()
    return rng.permutation(np.repeat(np.arange(3), counts))


def hashed_split(patient: str, *, held_out: bool = True) -> int:
    """The split of a patient, from a hash: 70 % train, 10 % validation, 20 % test; 7/8 and 1/8 unless `held_out`.

    The hash is the first 64 bits of the SHA-256 of `patient` ("set/number"), read as a fraction of 2^64: a place
    depends neither on the other patients nor on a seed.
    """
    fraction = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    train, validation = (0.7, 0.8) if held_out else (0.875, 1.0)
    return SPLITS["train" if fraction < train else "validation" if fraction < validation else "test"]


SHARES = (70, 10, 20)


def split_within(patients: ArrayLike, *, name: str) -> np.ndarray:
    """Split codes (N,) 0 train, 1 validation, 2 test: 70/10/20 % of the images of each patient, one at least of each.

    patients: (N,) patient of each image, in an order that does not depend on the machine. The draw of a patient
    follows from the SHA-256 of `name`/patient alone, so it depends neither on other patients nor on a seed.
    Raises ValueError, naming the patients, where one has fewer than three images.
    """
    patients = np.asarray(patients)
    codes = np.zeros(len(patients), np.uint8)
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
