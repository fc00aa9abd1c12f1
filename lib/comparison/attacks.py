"""The attacks of the comparison: each scores the same candidates on every set, larger meaning likelier a member.

An attack is added by one entry below and by the function that scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.comparison.criteria import GROUPS, Criterion
from lib.comparison.registry import Registry
from lib.core.seeding import numpy_generator
from lib.metrics.privacy.attacks.density_ratio import density_ratio_attack
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.attacks.linkage import link
from lib.metrics.privacy.attacks.nearest_neighbour import memorisation_test


@dataclass(frozen=True, eq=False)
class Candidates:
    """The radiographs whose membership an attacker infers, and what it holds beside them: features of one space."""

    train: np.ndarray  # (n, d), the members
    heldout: np.ndarray  # (m, d), no members
    patients: np.ndarray  # (n + m,), of both in this order
    reference: np.ndarray  # (r, d), of disjoint patients
    known: np.ndarray  # (q, d), further radiographs of the candidates
    known_patients: np.ndarray  # (q,)
    seed: int

    @cached_property
    def features(self) -> np.ndarray:
        """Members, then non-members (n + m, d)."""
        return np.concatenate([self.train, self.heldout])

    @cached_property
    def member(self) -> np.ndarray:
        """Which candidates are members (n + m,)."""
        return np.arange(len(self.patients)) < len(self.train)


Sets = Mapping[str, np.ndarray]  # name of a set -> features (s, d) of its images
Scores = dict[str, np.ndarray]  # name of a set -> score of each candidate (n + m,), larger: likelier a member


@dataclass(frozen=True, kw_only=True)
class Attack(Criterion):
    """A criterion whose value is the AUROC of `scores`."""

    scores: Callable[[Candidates, Sets], Scores]
    group: str = "privacy"
    better: str = "lower"
    neutral: float | None = 0.5


ATTACKS: Registry[Attack] = Registry("attack", GROUPS)


def _each(score: Callable[[Candidates, np.ndarray], np.ndarray]) -> Callable[[Candidates, Sets], Scores]:
    """An attack that looks at one set at a time."""

    def scores(candidates: Candidates, sets: Sets) -> Scores:
        return {name: score(candidates, images) for name, images in sets.items()}

    return scores


def _pairwise(candidates: Candidates, images: np.ndarray) -> np.ndarray:
    return pairwise_attack(candidates.features, images).scores


def _density(candidates: Candidates, images: np.ndarray) -> np.ndarray:
    return density_attack(candidates.features, images, quantile=1 / len(candidates.features)).scores


def _correlation(candidates: Candidates, images: np.ndarray) -> np.ndarray:
    found = memorisation_test(
        train=candidates.train,
        heldout=candidates.heldout,
        synthetic=images,
        similarity="correlation",
        rng=numpy_generator(candidates.seed, "attack"),
        draws=2,
    )
    return np.concatenate([found.member, found.nonmember])


def _density_ratio(candidates: Candidates, images: np.ndarray) -> np.ndarray:
    return density_ratio_attack(candidates.features, synthetic=images, reference=candidates.reference)


def _identity(candidates: Candidates, sets: Sets, *, own: bool) -> Scores:
    """The largest posterior of each candidate's patient over the images of a set.

    All radiographs of a patient get the same score. own: the attacker also holds the candidates' own radiographs.
    """
    known, patients = candidates.known, candidates.known_patients
    if own:
        known = np.concatenate([candidates.features, known])
        patients = np.append(candidates.patients, patients)
    found = link(np.concatenate([*sets.values()]), known=known, people=patients)  # learnt once for all sets
    at = np.searchsorted(found.people, candidates.patients)
    ends = np.cumsum([len(images) for images in sets.values()])[:-1]
    parts = np.split(found.posterior, ends)
    return {name: posterior.max(axis=0)[at] for name, posterior in zip(sets, parts, strict=True)}


def _identity_from_other(candidates: Candidates, sets: Sets) -> Scores:
    return _identity(candidates, sets, own=False)


def _identity_from_own(candidates: Candidates, sets: Sets) -> Scores:
    return _identity(candidates, sets, own=True)


for _entry in (
    Attack(name="pairwise", scores=_each(_pairwise), copies_are_worst=True),
    Attack(name="density attack", scores=_each(_density)),
    Attack(name="correlation", scores=_each(_correlation)),
    Attack(name="membership classifier", scores=_each(_density_ratio)),
    Attack(name="identity, other radiographs", scores=_identity_from_other),
    Attack(name="identity, own radiographs", scores=_identity_from_own),
):
    ATTACKS.register(_entry)
