"""The copy test of a synthetic set and of its controls: injected copies, a memorising generator, held-out patients."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lib.metrics.privacy.controls.contamination import InjectedCopies, inject_copies
from lib.metrics.privacy.controls.near_copies import KINDS, altered
from lib.metrics.privacy.copying.copy_test import (
    CopyTest,
    Matches,
    aligned,
    band_pass,
    copy_test,
    match,
    population_pvalue,
    rank_by_ratio,
)
from lib.metrics.privacy.copying.copy_test_power import injected_as, injection_power
from lib.metrics.privacy.membership import Attack, membership_attack
from lib.statistics.proportions import proportion

GIVEN = "as given"
POSITIVE_CONTROL = "memorising generator (positive control)"
NEGATIVE_CONTROL = "negative control (held-out patients)"
PAIR_COLUMNS = ("rank", "training image", "synthetic image", "mirrored", "ratio", "correlation", "p")


class Audited(NamedTuple):
    """One set, audited."""

    matches: Matches
    test: CopyTest
    attack: Attack  # by the best similarity of each real image to any synthetic one
    injected: InjectedCopies | None  # the copies, where some were injected


class Audit(NamedTuple):
    """Outcome of `audit`."""

    sets: dict[str, Audited]  # GIVEN, "1 % injected", …, POSITIVE_CONTROL, NEGATIVE_CONTROL
    by_share: dict[float, str]  # the set of each share; shares that inject equally many have one set
    real: torch.Tensor  # (n, H, W) band-pass descriptors of training, then held-out images
    member: np.ndarray  # (n,) bool
    groups: np.ndarray  # (n,) patients
    null: Matches  # of each real image with those of the other patients: none can be a copy
    test: dict[str, Any]  # what `copy_test` takes besides matches
    population_pvalue: float  # of training and held-out images being of one population


def audit(
    images: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    *,
    shares: Sequence[float],
    permutations: int,
    draws: int,
    rng: np.random.Generator,
) -> Audit:
    """Test the synthetic images for copies of training images, and with them the controls.

    images: uint8 (n, H, W) of "train", "heldout" and "synthetic", none constant; groups: patients (n,) of the real
    ones, in one numbering. Controls: the synthetic images with each of `shares` replaced by disguised copies of
    training images (at least one; a share of 1 is a memorising generator, the positive control), named by what was
    injected, and half of the held-out patients, offered as synthetic and left out of the held-out set: the negative
    control. Attacks resample patients `draws` times.
    Errors as `copy_test`.
    """
    code = np.concatenate([groups["train"], groups["heldout"]])
    member = np.arange(len(code)) < len(groups["train"])
    real = band_pass(np.concatenate([images["train"], images["heldout"]]))
    null = match(real, real, groups=code, own=code)
    test: dict[str, Any] = {
        "member": member,
        "groups": code,
        "null": null.ratio,
        "permutations": permutations,
        "rng": rng,
    }

    def audited(offered: torch.Tensor, injection: InjectedCopies | None = None, without=()) -> Audited:
        kept = np.setdiff1d(np.arange(len(real)), without)
        found, inside, patients = match(offered, real[kept], groups=code[kept]), member[kept], code[kept]
        of = test | {"member": inside, "groups": patients, "null": null.ratio[kept]}
        sides = {"member": found.reached[inside], "nonmember": found.reached[~inside]}
        sides |= {"member_groups": patients[inside], "nonmember_groups": patients[~inside]}
        attack = membership_attack(**sides, top=min(20, len(kept)), draws=draws, rng=rng)
        return Audited(found, copy_test(found, **of), attack, injection)

    sets, by_share, n = {GIVEN: audited(band_pass(images["synthetic"]))}, {}, len(images["synthetic"])
    for share in shares:
        count, name = injected_as(share, n)
        by_share[share] = name = f"{name} injected" if count < n else POSITIVE_CONTROL
        if name not in sets:
            source = altered(images["train"], "disguised", rng=rng)
            injection = inject_copies(images["synthetic"], source=source, share=count / n, rng=rng)
            sets[name] = audited(band_pass(injection.images), injection)
    half = rng.permutation(np.unique(groups["heldout"]))[::2]
    offered = np.flatnonzero(np.isin(code, half))
    sets[NEGATIVE_CONTROL] = audited(real[offered], without=offered)
    population = population_pvalue(null.nearest, member=member, groups=code, permutations=permutations, rng=rng)
    return Audit(sets, by_share, real, member, code, null, test, population)


def control_rows(audit: Audit, *, level: float) -> list[dict]:
    """A row for each set of an audit: is it flagged, and, where copies were injected, are they ranked first?"""
    rows = []
    for name, (found, test, attack, injection) in audit.sets.items():
        row = {"set": name, "flagged": "yes" if test.pvalue <= level else "no", "p": test.pvalue}
        if injection is not None:
            first = rank_by_ratio(found, audit.member)[: len(injection.at)]
            row |= {
                "injected": len(injection.at),
                "injected ranked first": np.isin(first, injection.at).sum() / len(injection.at),
            }
            row |= {"source named": (found.nearest[injection.at] == injection.copied).mean()}
        area = dict(zip(("AUROC", "AUROC_low", "AUROC_high"), attack.auroc.bounds, strict=True))
        rows.append(row | {"p, counts": test.count_pvalue, "p, tail": test.tail_pvalue} | area)
    return rows


def pair_rows(audit: Audit, *, train: np.ndarray, synthetic: np.ndarray, most: int) -> list[dict]:
    """A row for each of the `most` closest pairs of the set as given; train and synthetic: names of images.

    There are as many as there are synthetic images that resemble a training image most: none at the least. The rows
    have `PAIR_COLUMNS`.
    """
    (nearest, similarity, mirror, ratio, _), test, *_ = audit.sets[GIVEN]
    rows = []
    for rank, row in enumerate(rank_by_ratio(audit.sets[GIVEN].matches, audit.member)[:most], 1):
        names = {"rank": rank, "training image": train[nearest[row]], "synthetic image": synthetic[row]}
        fit = {"mirrored": "yes" if mirror[row] else "no", "ratio": ratio[row], "correlation": similarity[row]}
        rows.append(names | fit | {"p": test.pair_pvalues[row]})
    return rows


def pair_pictures(
    audit: Audit, name: str, synthetic: np.ndarray, train: np.ndarray, *, most: int
) -> list[tuple[str, np.ndarray]]:
    """A title and pictures (3, H, W) of each of the `most` closest pairs of the set `name` of an audit.

    synthetic (s, H, W) and train (m, H, W): the images of that set. Pictures: the training image, the synthetic one
    as it fits best, half their difference on grey. Without any such pair: one title that says so, and NaN.
    """
    matches, test, *_ = audit.sets[name]
    found = []
    for rank, row in enumerate(rank_by_ratio(matches, audit.member)[:most], 1):
        target = train[matches.nearest[row]].astype(np.float32)
        other = aligned(synthetic[row], target, matches.mirror[row])
        title = f"{name}, rank {rank}: ratio {matches.ratio[row]:.2f}, p {test.pair_pvalues[row]:.1g}"
        found.append((title, np.stack([target, other, 127 + (target - other) / 2])))
    nothing = np.full((3, *train.shape[1:]), np.nan, np.float32)
    return found or [(f"{name}: no synthetic image resembles a training image most", nothing)]


def disguise_rows(
    audit: Audit, train: np.ndarray, source: np.ndarray, *, share: float, repeats: int, level: float
) -> tuple[list[dict], dict[str, Matches]]:
    """For each disguise: is one copy alone flagged, is a share of copies? With the matches of the copies, by disguise.

    train: uint8 (m, H, W) training images; source: rows of them to copy. Each number rests on `repeats` random
    injections in the set as given; intervals are binomial. Columns are named by the share that was injected.
    """
    rows, base = [], audit.sets[GIVEN].matches
    rng, named = audit.test["rng"], injected_as(share, len(base.nearest))[1]
    copies = {k: match(band_pass(altered(train[source], k, rng=rng)), audit.real, groups=audit.groups) for k in KINDS}
    for kind, of in copies.items():
        shares = [0, share]
        one, some = injection_power(base, of, source, shares=shares, repeats=repeats, level=level, **audit.test)
        row = {"disguise": kind, "source named": (of.nearest == source).mean(), "median ratio": np.median(of.ratio)}
        for column, trial in (("one copy flagged", one), (f"{named} flagged", some)):
            row |= dict(
                zip((column, f"{column}_low", f"{column}_high"), proportion(trial.flagged, repeats), strict=True)
            )
        rows.append(row | {f"{named} ranked first": some.first.mean()})
    return rows, copies
