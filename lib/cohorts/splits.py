"""The assignment of patients, or of the images of each patient, to train, validation and test."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib.cohorts.cohort import SPLITS


def split_codes(patients: int, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """The split code of each patient, (P,) int, in proportion to `shares`; each share above 0 gets at least one.

    shares: the proportions of train, validation and test. Raises ValueError unless these are three finite numbers, none
    below 0 and not all 0, and for fewer patients than splits.
    """
    parts = np.asarray(shares, float)
    if parts.shape != (3,) or not np.isfinite(parts).all() or parts.min() < 0 or not parts.any():
        raise ValueError(f"splits is {tuple(parts)}; give three proportions, none below 0, not all 0")
    if patients < (parts > 0).sum():
        raise ValueError(f"patients is {patients}; {(parts > 0).sum()} splits need at least as many")
    counts = np.maximum(np.rint(patients * parts / parts.sum()), parts > 0).astype(int)
    counts[counts.argmax()] += patients - counts.sum()
    return rng.permutation(np.repeat(np.arange(3), counts))


def hashed_split(patient: str, *, held_out: bool = True) -> int:
    """The split code of a patient, from a hash: 70 % train, 10 % validation, 20 % test.

    Unless `held_out`, 7/8 are train and 1/8 are validation. The hash is the first 64 bits of the SHA-256 of `patient`
    ("set/number"), read as a fraction of 2^64. The split of a patient thus depends neither on other patients nor on a
    seed.
    """
    fraction = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    train, validation = (0.7, 0.8) if held_out else (0.875, 1.0)
    return SPLITS["train" if fraction < train else "validation" if fraction < validation else "test"]


SHARES = (70, 10, 20)


def split_within(patients: ArrayLike, *, name: str) -> np.ndarray:
    """Split codes (N,) uint8 that share the images of each patient out: 70 % train, 10 % validation, 20 % test.

    Each patient has at least one image in each split. patients: (N,) the patient of each image, in an order that does
    not depend on the machine. The draw of a patient follows from the SHA-256 of `name`/patient alone, so it depends
    neither on other patients nor on a seed. Raises ValueError, naming the patients, if one has fewer than three images.
    """
    who = np.asarray(patients)
    codes = np.zeros(len(who), np.uint8)
    own, counts = np.unique(who, return_counts=True)
    few = own[counts < 3]
    if len(few):
        shown = ", ".join(map(str, few[:5])) + (" …" if len(few) > 5 else "")
        problem = f"{len(few)} of {len(own)} patients have fewer than 3 images ({shown})"
        raise ValueError(f"{name}: {problem}; leave them out, as each patient must stand in all three splits")
    for patient, count in zip(own.tolist(), counts.tolist(), strict=True):
        digest = hashlib.sha256(f"{name}/{patient}".encode()).digest()
        codes[who == patient] = split_codes(count, SHARES, np.random.default_rng(list(digest)))
    return codes


def split_anew(patients: ArrayLike, codes: ArrayLike, *, rng: np.random.Generator) -> np.ndarray:
    """Split codes (N,) uint8 with the patients of train and validation assigned anew, as many to each; test stays.

    patients, codes: (N,) the patient and the present split code of each image, no patient in two splits. Raises
    ValueError if one is.
    """
    who, now = np.asarray(patients), np.asarray(codes)
    own, first, inverse = np.unique(who, return_index=True, return_inverse=True)
    of_patient = now[first]
    if (of_patient[inverse] != now).any():
        raise ValueError("a patient is in two splits: their images cannot be assigned anew by patient")
    free = np.flatnonzero(of_patient != SPLITS["test"])
    of_patient[free] = rng.permutation(of_patient[free])
    return of_patient[inverse].astype(np.uint8)


def split_anew_within(patients: ArrayLike, codes: ArrayLike, *, rng: np.random.Generator) -> np.ndarray:
    """Split codes (N,) uint8 with the images of each patient in train and validation assigned anew; test stays.

    patients, codes: (N,) the patient and the present split code of each image, as `split_within` gives them. Each
    patient keeps as many images in each split.
    """
    who, now = np.asarray(patients), np.asarray(codes, np.uint8)
    free = np.flatnonzero(now != SPLITS["test"])
    shuffled = free[np.lexsort((rng.random(len(free)), who[free]))]  # patient by patient, at random
    in_order = free[np.argsort(who[free], kind="stable")]
    anew = now.copy()
    anew[in_order] = now[shuffled]
    return anew
