"""The whole of an audit, from the opened sets to the verdict: what the notebook and the command line both run."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lib.audit.copies import (
    GIVEN,
    NEGATIVE_CONTROL,
    PAIR_COLUMNS,
    POSITIVE_CONTROL,
    Audit,
    audit,
    control_rows,
    pair_rows,
    pooled,
)
from lib.audit.disguises import DECLARED, DISGUISES
from lib.audit.inputs import AuditSets
from lib.audit.power import POWER, disguise_rows, null_flags, would_be_seen
from lib.audit.same_patient import SamePatient, cannot_say, features_of, lacking, same_patient
from lib.audit.verdict import CERTAIN, Verdict, verdict
from lib.cohorts.cohort import Cohort
from lib.cohorts.io.patient_naming import OWN
from lib.core.seeding import numpy_generator
from lib.metrics.privacy.copying.copy_test import Matches
from lib.metrics.privacy.copying.copy_test_power import InjectionPower, injected_as, smallest_seen

BINDING = 0.02  # of the images: a verdict of no copies says that as many in any declared disguise would be seen


class Settings(NamedTuple):
    """How thoroughly copies are looked for."""

    level: float  # false alarms that are accepted, of the copy test and of that of the same patient each
    permutations: int
    copies: int  # training images that are copied in each disguise
    shares: tuple[float, ...]  # of copies that are injected, in declared disguises mixed
    repeats: int  # injections at each share, and of each disguise
    splits: int  # null splits of the real images


THOROUGH = Settings(
    level=0.05, permutations=999, copies=40, shares=(0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 1), repeats=20, splits=200
)


class Assessment(NamedTuple):
    """Outcome of `assess`."""

    found: Audit
    power: list[InjectionPower]  # of copies in all declared disguises mixed, by share
    mixed: Matches  # these copies
    alarms: tuple[int, int]  # null splits that were flagged, of how many
    controls: pd.DataFrame
    disguises: pd.DataFrame
    pairs: pd.DataFrame  # of every synthetic image and the real one that it resembles most, the closest first
    doubles: pd.DataFrame  # names of real images that are nearly one
    same_patient: SamePatient
    verdict: Verdict


def assess(
    sets: AuditSets, settings: Settings, *, seed: int, told: Callable[[str], None] = lambda line: None
) -> Assessment:
    """Look for copies, learn what would have been seen, and say what follows; told: takes lines on the progress.

    Errors as `audit`.
    """
    real = _real(sets)
    groups = {name: part.patient for name, part in _real_sets(sets).items()}
    total = len(real) + len(sets.small["synthetic"])
    told(f"looking for copies: {total:,} images are laid upon those that they resemble")
    trials: dict[str, Any] = {"permutations": settings.permutations, "copies": settings.copies}
    rng = numpy_generator(seed, "copies")
    found = audit(sets.small, groups, **trials, rng=rng, progress=_every_tenth(told))
    return concluded(sets, found, settings, seed=seed, told=told)


def concluded(
    sets: AuditSets,
    found: Audit,
    settings: Settings,
    *,
    disguises: Iterable[str] = tuple(DISGUISES),
    seed: int,
    told: Callable[[str], None] = lambda line: None,
) -> Assessment:
    """The second half of `assess`: what would have been seen, and what follows; the `disguises` hold the declared."""
    real, rng = _real(sets), found.test["rng"]
    told("what would have been seen: copies in each disguise")
    trials: dict[str, Any] = {"repeats": settings.repeats, "level": settings.level}
    rows = disguise_rows(found, real, names=disguises, shares=(0.0, BINDING, 0.05), **trials)
    mixed = pooled(found.copies)
    source = np.tile(found.copied, len(found.copies))
    power = would_be_seen(found, mixed, source, shares=settings.shares, **trials)
    told(f"false alarms: {settings.splits} null splits of the real images")
    flags = null_flags(found.real, found.gallery.patient, splits=settings.splits, level=settings.level, rng=rng)
    names = {name: np.asarray(part.source_name) for name, part in sets.parts.items()}
    doubles = _double_rows(found, np.concatenate([names[name] for name in _real_sets(sets)]))
    alarms = (flags, settings.splits)
    same = _same_patient(sets, found, real, names, settings, seed=seed, told=told)
    return Assessment(
        found, power, mixed, alarms,
        pd.DataFrame(control_rows(found, level=settings.level)),
        pd.DataFrame(rows),
        pd.DataFrame(pair_rows(found, **names), columns=PAIR_COLUMNS),
        doubles,
        same,
        _verdict(sets, found, rows, power, alarms, same, settings),
    )  # fmt: skip


def _real_sets(sets: AuditSets) -> dict[str, Cohort]:
    return {name: part for name, part in sets.parts.items() if name != "synthetic"}


def _real(sets: AuditSets) -> np.ndarray:
    """The real images, training, then held-out ones, as they are compared."""
    return np.concatenate([sets.small[name] for name in _real_sets(sets)])


def _same_patient(
    sets: AuditSets,
    found: Audit,
    real: np.ndarray,
    names: dict[str, np.ndarray],
    settings: Settings,
    *,
    seed: int,
    told: Callable[[str], None],
) -> SamePatient:
    """The second number, of the real images that were kept; its draws are its own, so that it moves no other number."""
    if sets.heldout is None:
        return cannot_say("there are no held-out images")
    patient, member = found.gallery.patient, found.of_training
    if why := lacking(patient, member):
        return cannot_say(why)
    told("the same patient: an embedding of identity is learnt")
    rng = numpy_generator(seed, "same patient")
    known = np.concatenate([names["train"], names["heldout"]])[found.row]
    return same_patient(
        features_of(real[found.row], sets.small["synthetic"], rng=rng),
        patient=patient, member=member, names=(known, names["synthetic"]),
        level=settings.level, permutations=settings.permutations, repeats=settings.repeats, splits=settings.splits,
        rng=rng,
    )  # fmt: skip


def _verdict(
    sets: AuditSets,
    found: Audit,
    disguises: list[dict],
    power: list[InjectionPower],
    alarms: tuple[int, int],
    same: SamePatient,
    settings: Settings,
) -> Verdict:
    (matched, test), member = found.sets[GIVEN], found.of_training
    is_close, of_member = test.pair_pvalues <= settings.level, member[matched.nearest]
    flagged = {name: of.test.pvalue <= settings.level for name, of in found.sets.items()}
    injected = injected_as(BINDING, len(matched.nearest))[1]
    shown = {row["disguise"]: row[f"{injected} flagged"] for row in disguises}
    return verdict(
        pvalue=test.pvalue,
        level=settings.level,
        exact={name: len(rows) for name, rows in sets.exact.items()},
        pairs={"train": int((is_close & of_member).sum()), "heldout": int((is_close & ~of_member).sum())},
        certain=int((test.pair_pvalues <= CERTAIN).sum()),
        counts={name: len(part) for name, part in sets.parts.items()},
        there=sets.found,
        doubles={
            "merged": int((~found.doubles.kept).sum()) - len(found.doubles.trained_on),
            "trained on": len(found.doubles.trained_on),
        },
        unseen={name: shown[name] for name in DECLARED if shown[name] < POWER},
        injected=injected,
        smallest_seen=smallest_seen(power, power=POWER),
        population_pvalue=found.population_pvalue,
        positive_control_flagged=flagged[POSITIVE_CONTROL],
        negative_control_flagged=flagged[NEGATIVE_CONTROL],
        alarms=alarms,
        same_patient=same,
        has_heldout=sets.heldout is not None,
        without_patient=sum(of.get(OWN, 0) for of in sets.patients_from.values()),
    )


def _double_rows(found: Audit, names: np.ndarray) -> pd.DataFrame:
    rows = names[found.doubles.pairs]
    return pd.DataFrame(rows.reshape(-1, 2), columns=["real image", "nearly the same as"])


def _every_tenth(told: Callable[[str], None]) -> Callable[[int, int], None]:
    """Progress of a search as a line at every tenth of it; short searches say nothing."""

    def progress(done: int, of: int) -> None:
        if of >= 200 and (10 * done // of) > (10 * max(done - 64, 0) // of):
            told(f"  {done:,} of {of:,}")

    return progress
