"""How many images a notebook releases, and how thoroughly these are audited, by scale.

A release of a smoke run proves the wiring. That of a demo takes less than a minute, so that its audit looks at some of
the real images alone; unless it looked at all training images, it calls itself not releasable. A user's own release and
those of larger scales are whole.
"""

from typing import NamedTuple

import numpy as np

from lib.audit.assessment import THOROUGH, Settings
from lib.cohorts.cohort import Cohort
from lib.core.seeding import numpy_generator

_BRIEF = THOROUGH._replace(copies=20, shares=(0.01, 0.02, 0.05, 0.2, 1), repeats=10, splits=40)
_QUICK = Settings(level=0.05, permutations=99, copies=4, shares=(0.2, 1), repeats=2, splits=5)


class Extent(NamedTuple):
    """How much of a release is made."""

    images: int | None  # released at most; None: as many as there are
    most: int | None  # real images of either set that the audit looks at; None: all
    settings: Settings  # of the audit


_SCALES = {"smoke": Extent(48, 120, _QUICK), "demo": Extent(200, 250, _BRIEF)}
_WHOLE = Extent(None, None, THOROUGH)


def extent(scale: str, *, is_own: bool = False) -> Extent:
    """What is released and audited at `scale`; whole of a user's own cohort, but for a smoke run."""
    return _WHOLE if is_own and scale != "smoke" else _SCALES.get(scale, _WHOLE)


def some_of(made: Cohort, most: int | None, *, seed: int) -> Cohort:
    """At most so many images of `made`, of every class or combination of findings its share, in their order.

    most: None for all of them. Drawn at random by `seed`; a class's share is rounded down, and what is then missing is
    drawn of those that are left.
    """
    if most is None or most >= len(made):
        return made
    rng = numpy_generator(seed, "released")
    kind = np.unique(made.labels.reshape(len(made), -1), axis=0, return_inverse=True)[1].reshape(-1)
    drawn = rng.permutation(len(made))
    drawn = drawn[np.argsort(kind[drawn], kind="stable")]  # kind by kind, at random within it
    size = np.bincount(kind)
    place = np.arange(len(made)) - np.repeat(np.cumsum(size) - size, size)  # within its kind
    is_kept = place < (most * size // len(made))[kind[drawn]]
    more = rng.permutation(np.flatnonzero(~is_kept))[: most - is_kept.sum()]
    is_kept[more] = True
    return made[np.sort(drawn[is_kept])]
