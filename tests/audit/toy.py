"""Drawn masses, a patient each, as small as the search for copies takes them."""

from functools import cache

import numpy as np

from lib.audit.matching import Candidates, Gallery, matches, open_gallery, search, usual_distance
from lib.cohorts.phantoms import mass
from lib.metrics.privacy.copying.copy_test import Matches

TRAIN, HELDOUT = 50, 30


@cache
def masses(patients: int = TRAIN + HELDOUT, seed: int = 0) -> np.ndarray:
    """One image (patients, 32, 32) uint8 of each patient."""
    drawn = mass.draw(patients=patients, image_size=32, rng=np.random.default_rng(seed))
    return drawn.images[:][np.unique(drawn.patient, return_index=True)[1]]


@cache
def searched() -> tuple[Gallery, Candidates]:
    """The gallery of `masses`, and the masses searched in themselves."""
    code = np.arange(TRAIN + HELDOUT)
    gallery = open_gallery(masses(), code, views=6, rng=np.random.default_rng(0))
    return gallery, search(gallery, masses(), own=code)


@cache
def usual() -> float:
    """`usual_distance` of the masses."""
    gallery, real = searched()
    return usual_distance(real, gallery.patient)


@cache
def null_set() -> Matches:
    """As many masses of further patients, matched with `masses`: a set that copies nobody."""
    gallery, _ = searched()
    return matches(search(gallery, masses(seed=1)), gallery.patient, usual=usual())


def copy_test_options(permutations: int = 199) -> dict:
    """What `copy_test` takes besides matches with `masses`."""
    gallery, real = searched()
    null = matches(real, gallery.patient, own=gallery.patient, usual=usual()).ratio
    member = np.arange(TRAIN + HELDOUT) < TRAIN
    return {"member": member, "groups": gallery.patient, "null": null, "permutations": permutations}


def beside(base: Matches, copies: Matches) -> Matches:
    """`base`, its first rows replaced by `copies`."""
    count = len(copies.nearest)
    columns = [np.concatenate([new, old[count:]]) for old, new in zip(base[:-1], copies[:-1], strict=True)]
    return Matches(*columns, np.maximum(base.reached, copies.reached))
