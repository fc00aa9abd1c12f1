"""The same patient, not the same image: do synthetic images show training patients, in whatever image of them?

The patients are divided into two parts, alike in both sides and in how many have several images. In each part the
images are compared by an embedding of identity that was learnt on the other part, so that nobody is compared by what
was learnt on their own images. The test is `lib.metrics.privacy.reidentification.same_patient`; patients are permuted
within their part, and among those of one image or of several. What it would have seen is measured by leaving one image
of each patient who has several out, and injecting those of training patients among real images that show none of the
patients they are compared with.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from lib.audit.identity import Views, identity_features, learn_identity, mild_views
from lib.audit.power import PERMUTATIONS, POWER
from lib.metrics.privacy.copying.copy_test import population_pvalue
from lib.metrics.privacy.copying.copy_test_power import injected_as
from lib.metrics.privacy.reidentification.same_patient import (
    Nearest,
    SamePatientTest,
    nearest_patients,
    normalised_nearness,
    null_scores,
    permuted_within,
    same_patient_test,
)
from lib.statistics.proportions import proportion

FEWEST = 20  # training patients with two images
SHARES = (0.05, 0.1, 0.2)  # of the synthetic images, that are injected
POPULATION = 0.01  # p, at or below which the sides are taken for different groups
TITLE = "The same patient, not the same image"
PAIR_COLUMNS = ("rank", "of", "nearest image of the patient", "synthetic image", "score")
FLAGGED, NOT_FLAGGED, CANNOT_SAY = "flagged", "not flagged", "cannot say"
_SHOWN = 20  # pairs


class Features(NamedTuple):
    """What the images are compared by."""

    real: torch.Tensor  # (n, d)
    views: Views  # of some of the real ones
    synthetic: torch.Tensor  # (s, d)


class SamePatient(NamedTuple):
    """Outcome of `same_patient`. Without an answer the numbers are None, and pairs are empty."""

    answer: str  # FLAGGED, NOT_FLAGGED, CANNOT_SAY
    says: str  # a sentence or more
    pvalue: float | None
    beyond: dict[str, int] | None  # synthetic images nearer to a patient than any two real ones are, by side
    named: float | None  # share of injected images whose patient is named rightly
    seen: dict[str, tuple[float, float, float]]  # injected share → share of trials flagged, with its interval
    alarms: tuple[int, int] | None  # null splits that were flagged, of how many
    pairs: pd.DataFrame  # the synthetic images that come nearest to a patient, PAIR_COLUMNS

    def table(self) -> pd.DataFrame:
        """One row: what was found, and what would have been."""
        row = {"test": TITLE.lower(), "found": self.answer, "p": self.pvalue}
        row |= {f"beyond any real pair, {name}": count for name, count in (self.beyond or {}).items()}
        row |= {"patient of an injected image named": self.named}
        for share, seen in self.seen.items():
            column = f"{share} flagged"
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), seen, strict=True))
        row["null splits flagged"] = f"{self.alarms[0]} of {self.alarms[1]}" if self.alarms else None
        return pd.DataFrame([row])


class Part(NamedTuple):
    """Half of the patients, and all synthetic images, as points of the embedding that was learnt on the other half."""

    row: np.ndarray  # (n,) of the real images
    patient: np.ndarray  # (n,) codes within the part
    member: np.ndarray  # (p,) bool
    real: torch.Tensor  # (n, d)
    synthetic: torch.Tensor  # (s, d)


class Compared(NamedTuple):
    """Both parts after another; patients of the second have the larger codes."""

    queries: list[Nearest]  # of each part
    real: list[Nearest]  # of each part, with the nearest of the different patients
    null: np.ndarray  # (p,)
    member: np.ndarray  # (p,)
    strata: np.ndarray  # (p,)

    def test(self, queries: Sequence[Nearest], permutations: int, rng: np.random.Generator) -> SamePatientTest:
        """The test of the queries of both parts."""
        asked = Nearest(*(np.concatenate(column) for column in zip(*queries, strict=True)))
        options = {"null": self.null, "member": self.member, "strata": self.strata}
        return same_patient_test(asked, **options, permutations=permutations, rng=rng)


def features_of(real: np.ndarray, synthetic: np.ndarray, *, rng: np.random.Generator) -> Features:
    """What `same_patient` takes, of uint8 images (n, H, H) and (s, H, H)."""
    return Features(identity_features(real), mild_views(real, rng=rng), identity_features(synthetic))


def lacking(patient: np.ndarray, member: np.ndarray) -> str:
    """Why real images of the patients (n,), `member` (n,) or held out, cannot tell; empty where they can."""
    several = int((np.unique(patient[member], return_counts=True)[1] > 1).sum())
    if several < FEWEST:
        why = f"fewer than {FEWEST} training patients have two images ({several})"
        return f"{why}; if more have, name them by --patients or --patient-from"
    return "" if len(np.unique(patient[~member])) >= FEWEST // 2 else "there are too few held-out patients"


def cannot_say(why: str) -> SamePatient:
    """The outcome where nothing can be tested."""
    says = (
        f"Whether synthetic images show training patients in other images than the given ones, cannot be said: {why}."
    )
    return SamePatient(CANNOT_SAY, says, None, None, None, {}, None, pd.DataFrame(columns=PAIR_COLUMNS))


def same_patient(
    features: Features,
    *,
    patient: np.ndarray,
    member: np.ndarray,
    names: tuple[np.ndarray, np.ndarray],
    level: float,
    permutations: int,
    repeats: int,
    splits: int,
    rng: np.random.Generator,
) -> SamePatient:
    """Test whether synthetic images show training patients, and learn what would have been seen.

    patient: codes (n,) of the real images; member: (n,) whether they were trained on; names: of the real images (n,)
    and of the synthetic ones (s,). repeats: injections at each of SHARES; splits: null splits of the real patients,
    that show the false alarms. Fewer than FEWEST training patients with two images, too few held-out ones, sides that
    differ as groups, too many false alarms, and, without a flag, largest shares that were flagged too seldom (POWER)
    make CANNOT_SAY. Raises ValueError for a patient on both sides.
    """
    patient = np.unique(patient, return_inverse=True)[1]
    inside = np.bincount(patient, weights=member)
    if np.any((inside > 0) & (inside < np.bincount(patient))):
        raise ValueError("a patient is both training and held out: leave the patient out on one side")
    if why := lacking(patient, member):
        return cannot_say(why)
    parts = cross_fitted(features, patient, inside > 0, rng)
    found = compared([(part, part.synthetic, np.ones(len(part.row), bool)) for part in parts])
    test = found.test(found.queries, permutations, rng)
    near = np.concatenate([of.patient for of in found.queries])
    beyond = {
        name: len(np.unique(np.flatnonzero(test.is_beyond & (found.member[near] == side)) % len(features.synthetic)))
        for name, side in (("train", True), ("heldout", False))
    }
    named, seen = _would_be_seen(parts, len(features.synthetic), level, repeats, rng)
    alarms = (_null_flags(parts, splits, level, rng), splits)
    numbers = (test.pvalue, beyond, named, seen, alarms, _pairs(parts, found.queries, names))
    population = _population_pvalue(found, parts, permutations, rng)
    if population <= POPULATION:
        why = (
            f"training and held-out patients keep to their own side (p = {population:.2g}), so they are no random parts"
        )
        return SamePatient(CANNOT_SAY, cannot_say(why).says, *numbers)
    if binomtest(*alarms, level, alternative="greater").pvalue < 0.01:
        why = f"{alarms[0]:,} of {alarms[1]:,} null splits of the real patients were flagged, more than chance explains"
        return SamePatient(CANNOT_SAY, cannot_say(why).says, *numbers)
    is_flagged = test.pvalue <= level
    share, flagged = next(reversed(seen.items()))
    if not is_flagged and flagged[0] < POWER:
        why = (
            f"of other images of training patients {100 * named:.0f} % name their patient, and were {share} of the "
            f"images such ones, {100 * flagged[0]:.0f} % of trials would be flagged"
        )
        return SamePatient(CANNOT_SAY, cannot_say(why).says, *numbers)
    return SamePatient(
        FLAGGED if is_flagged else NOT_FLAGGED, _sentences(is_flagged, level, *numbers[:2], seen), *numbers
    )


def _sentences(is_flagged: bool, level: float, pvalue: float, beyond: dict, seen: dict) -> str:
    if is_flagged:
        return (
            "Synthetic images come nearer to training patients than to held-out ones, by an embedding of identity (p = "
            f"{pvalue:.2g}, flagged at or below {level:g}): they show training patients, in the given "
            f"images or in others. Nearer to a training patient than any two real patients are to each other: "
            f"{beyond['train']:,}; to a held-out one: {beyond['heldout']:,}."
        )
    told = ", ".join(f"{share} in {100 * of[0]:.0f} % of trials" for share, of in seen.items())
    return (
        "Synthetic images come no nearer to training patients than to held-out ones, by an embedding of identity (p = "
        f"{pvalue:.2g}, not flagged above {level:g}). Of other images of training patients among them, as many would "
        f"have been seen: {told}."
    )


def cross_fitted(features: Features, patient: np.ndarray, member: np.ndarray, rng: np.random.Generator) -> list[Part]:
    """Two parts of the patients, each by the embedding that was learnt on the other; member: (p,)."""
    several = np.bincount(patient) > 1
    number = np.empty(len(member), int)
    for cell in ((member == side) & (several == more) for side in (True, False) for more in (True, False)):
        # Which part gets the larger half of an odd cell is chance, so that not all favour one.
        number[rng.permutation(np.flatnonzero(cell))] = (np.arange(cell.sum()) + rng.integers(2)) % 2
    parts = []
    for part in (0, 1):
        learnt, row = (np.flatnonzero((number[patient] == part) == own) for own in (False, True))
        of_views = np.isin(features.views.row, learnt)
        embedding = learn_identity(features.real[learnt], patient[learnt], features.views.features[:, of_views])
        whose, code = np.unique(patient[row], return_inverse=True)
        points = (embedding.points(of) for of in (features.real[row], features.synthetic))
        parts.append(Part(row, code, member[whose], *points))
    return parts


def compared(asked: Iterable[tuple[Part, torch.Tensor, np.ndarray]]) -> Compared:
    """Each part with its queries (q, d) and which of its images are there, (n,) bool; every patient keeps one."""
    queries, real = list[Nearest](), list[Nearest]()
    null, member, strata = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for number, (part, points, is_there) in enumerate(asked):
        code, first = part.patient[is_there], sum(len(of) for of in member)
        options = {"synthetic": points, "real": part.real[is_there], "patient": code}
        to_queries, to_real = (nearest_patients(of) for of in normalised_nearness(**options))
        null.append(null_scores(to_real, code))
        queries.append(to_queries._replace(patient=to_queries.patient + first))
        real.append(to_real._replace(patient=to_real.patient + first))
        member.append(part.member)
        strata.append(2 * number + (np.bincount(code) > 1))
    return Compared(queries, real, *(np.concatenate(of) for of in (null, member, strata)))


def _would_be_seen(
    parts: list[Part], size: int, level: float, repeats: int, rng: np.random.Generator
) -> tuple[float, dict[str, tuple[float, float, float]]]:
    """The share of injected images that name their patient, and by share of injected ones, that of trials flagged.

    The images of a trial, `size` as the synthetic ones, are real, each with the nearest of the different patients. Who
    is a training patient is chance, anew in each trial: else all of them would share what chance made of one division.
    The injected images are of these patients, and were left out of their part.
    """
    left_out = [_one_of_each(part, rng) for part in parts]
    without = [~np.isin(np.arange(len(part.row)), rows) for part, rows in zip(parts, left_out, strict=True)]
    found = compared((part, part.real[rows], there) for part, rows, there in zip(parts, left_out, without, strict=True))
    side = np.repeat([0, 1], [len(rows) for rows in left_out])
    own = np.concatenate([part.patient[rows] for part, rows in zip(parts, left_out, strict=True)])
    own += side * len(parts[0].member)
    known, score = (np.concatenate(column) for column in zip(*found.queries, strict=True))
    named, seen = float((known == own).mean()), {}
    for count, share in (injected_as(share, size) for share in SHARES):
        flagged = 0
        for _ in range(repeats):
            (member,) = permuted_within(found.member, found.strata, permutations=1, rng=rng)
            chosen, at = np.resize(rng.permutation(np.flatnonzero(member[own])), count), rng.permutation(size)[:count]
            queries = [of.only(np.resize(rng.permutation(len(of.score)), size)) for of in found.real]
            for of, here in zip(queries, (side[chosen] == 0, side[chosen] == 1), strict=True):
                of.patient[at[here]], of.score[at[here]] = known[chosen[here]], score[chosen[here]]
            flagged += found._replace(member=member).test(queries, PERMUTATIONS, rng).pvalue <= level
        seen[share] = proportion(flagged, repeats)
    return named, seen


def _null_flags(parts: list[Part], splits: int, level: float, rng: np.random.Generator) -> int:
    """How many of `splits` random thirds of the patients, offered as synthetic against the two others, are flagged."""
    nearness = [normalised_nearness(synthetic=of.real[:1], real=of.real, patient=of.patient)[1] for of in parts]
    flagged = 0
    for _ in range(splits):
        queries, null, member, strata, first = list[Nearest](), [], [], [], 0
        for number, (part, near) in enumerate(zip(parts, nearness, strict=True)):
            count = np.bincount(part.patient)
            third = rng.permutation(len(count)) % 3
            kept, asked = third > 0, third[part.patient] == 0
            found = nearest_patients(near[:, kept])
            null.append(null_scores(found.only(~asked), part.patient[~asked]))
            offered = found.only(asked)
            queries.append(offered._replace(patient=offered.patient + first))
            member.append(third[kept] == 1)
            strata.append(2 * number + (count[kept] > 1))
            first += int(kept.sum())
        some = Compared(queries, [], *(np.concatenate(of) for of in (null, member, strata)))
        flagged += some.test(queries, PERMUTATIONS, rng).pvalue <= level
    return flagged


def _one_of_each(part: Part, rng: np.random.Generator) -> np.ndarray:
    """Rows of the part: a random image of each patient who has several."""
    order = rng.permutation(len(part.patient))
    first = np.unique(part.patient[order], return_index=True)[1]
    return order[first[np.bincount(part.patient) > 1]]


def _population_pvalue(found: Compared, parts: list[Part], permutations: int, rng: np.random.Generator) -> float:
    """Chance that training and held-out patients of one population keep to their own side as much as these do."""
    first = len(parts[0].member)
    code = np.concatenate([part.patient + k * first for k, part in enumerate(parts)])
    a_row = np.unique(code, return_index=True)[1]
    nearest = a_row[np.concatenate([of.patient for of in found.real])]
    return population_pvalue(nearest, member=found.member[code], groups=code, permutations=permutations, rng=rng)


def _pairs(parts: list[Part], queries: list[Nearest], names: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """The synthetic images that come nearest to a patient, the nearest first."""
    score, size = np.concatenate([of.score for of in queries]), len(queries[0].score)
    rows = []
    for rank, at in enumerate(np.argsort(-score, kind="stable")[:_SHOWN].tolist(), 1):
        part, row = parts[at // size], at % size
        patient = queries[at // size].patient[row] - (at // size) * len(parts[0].member)
        own = np.flatnonzero(part.patient == patient)
        nearest = part.row[own[int((part.real[own] @ part.synthetic[row]).argmax())]]
        of = "train" if part.member[patient] else "heldout"
        rows.append((rank, of, names[0][nearest], names[1][row], score[at]))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)
