"""Evaluation of membership attacks: how well their scores separate members from nonmembers.

An attack gives every real image a score, larger meaning more likely a member: one that the generator was trained on.
`memorisation_test` makes such scores, and so do `lib.metrics.privacy.attacks.distance`. They are evaluated on members
against nonmembers, held-out images of the same population. The result of an attack is meaningful where the same attack
finds injected copies, and finds nothing in images that copy nobody (`lib.metrics.privacy.controls.contamination`).
"""

from collections.abc import Hashable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics import roc
from lib.statistics.bootstrap import Interval, bootstrap
from lib.statistics.permutation import permutation_pvalue
from lib.statistics.weighted import WeightedAuroc, WeightedRatio, WeightedTprAtFpr


class Attack(NamedTuple):
    """How well scores separate members from nonmembers; intervals resample patients."""

    auroc: Interval  # .5: members look like nonmembers
    tpr: Interval  # share of members found at a false-positive rate of at most `fpr`
    fpr: float
    precision: float  # share of members among the `top` largest scores
    top: int
    base_rate: float  # precision of a guess: share of members among all
    gap: Interval  # mean score of members − of nonmembers, in units of the score
    pvalue: float | None = None  # of the AUROC, by `permutation_pvalue`; None: not asked for


def attack_row(attack: Attack) -> dict[str, float | None]:
    """The columns of a table of attacks, as `Run.table` typesets them."""
    row: dict[str, float | None] = {}
    for name, interval in (("AUROC", attack.auroc), (f"TPR at {attack.fpr:.0%} FPR", attack.tpr)):
        row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | {f"precision at {attack.top}": attack.precision, "p": attack.pvalue}


def membership_attack(
    *,
    member: ArrayLike,
    nonmember: ArrayLike,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
    rng: np.random.Generator,
    fpr: float = 0.01,
    top: int = 20,
    draws: int = 1000,
    level: float = 0.95,
    permutations: int = 0,
) -> Attack:
    """Evaluate any attack by its scores of members (n,) and nonmembers (m,), larger meaning more likely a member.

    `member_groups` (n,) and `nonmember_groups` (m,) are patients, in one numbering: a patient on both sides is
    resampled as one. `permutations` above 0 adds the p-value of the AUROC, for which sides must share no patient.
    Raises ValueError on NaN, an empty side, or more `top` than images.
    """
    member, nonmember = samples.scores(member, "member"), samples.scores(nonmember, "nonmember")
    scores = np.concatenate([member, nonmember])
    count = len(member)
    if not 1 <= top <= len(scores):
        raise ValueError(f"top is {top} of {len(scores)} images: ask for 1 to all of them")
    labels = np.arange(len(scores)) < count
    groups = samples.joint_codes(member_groups, nonmember_groups, count, len(scores) - count)
    resampled = partial(bootstrap, groups=groups, draws=draws, rng=rng, level=level)
    inside, outside = WeightedRatio(scores * labels, labels), WeightedRatio(scores * ~labels, ~labels)
    attack = Attack(
        auroc=resampled(WeightedAuroc(labels, scores)),
        tpr=resampled(WeightedTprAtFpr(labels, scores, fpr=fpr)),
        fpr=fpr,
        precision=roc.precision_at(labels, scores, k=top),
        top=top,
        base_rate=count / len(scores),
        gap=resampled(lambda weights: inside(weights) - outside(weights)),
    )
    if not permutations:
        return attack
    pvalue = permutation_pvalue(
        member=member,
        nonmember=nonmember,
        member_groups=member_groups,
        nonmember_groups=nonmember_groups,
        permutations=permutations,
        rng=rng,
    )
    return attack._replace(pvalue=pvalue)


class PrecisionCurve(NamedTuple):
    """Outcome of `precision_curve`, for the k highest-ranked images."""

    k: np.ndarray  # (K,) cut-offs; as published, `first` less
    shares: dict[Hashable, np.ndarray]  # share (K,) of each origin among the k
    precision: dict[Hashable, np.ndarray]  # members / (members + this origin) (K,); NaN where neither is among the k


def precision_curve(
    scores: ArrayLike, origin: ArrayLike, *, member: Hashable = "train", first: int = 5, as_published: bool = False
) -> PrecisionCurve:
    """Where the k highest-ranked images come from, for every k from `first` to n − 2.

    `scores` (n,) are larger for more likely members, `origin` (n,) names the set that each image is from. Precision
    is given against every other origin by itself: that against held-out images of the same population is the
    privacy number, that against another scanner's measures the shift. Chance is the share of members among the
    two. Of scores tied at the cut each is as likely as another to be among the k, so counts are expected values.
    `as_published` gives k as the position in a list that starts at `first`, as the axis and the printed "cut-off"
    of Sun et al. 2021 have it: their 333 is k = 338. Raises ValueError without members or without another origin.
    """
    scores, origin = samples.scores(scores, "scores"), np.asarray(origin)
    names = np.unique(origin).tolist()
    if origin.shape != scores.shape or member not in names or len(names) < 2:
        raise ValueError(
            f"origin has shape {origin.shape} and holds {names} for {len(scores)} scores: give one origin per image, "
            f"{member!r} and another at least"
        )
    if not 1 <= first <= len(scores) - 2:
        raise ValueError(f"first is {first} for {len(scores)} images: give a cut-off from 1 to n − 2")
    k = np.arange(first, len(scores) - 1)
    order, opens, closes = roc.tie_groups(scores, falling=True)
    last = k - 1  # sorted position of the k-th
    part = (k - opens[last]) / (closes[last] + 1 - opens[last])  # of its tie, how much is among the k
    counts = {}
    for name in names:
        running = np.concatenate([[0], np.cumsum(origin[order] == name)])
        before, after = running[opens[last]], running[closes[last] + 1]
        counts[name] = before + part * (after - before)
    with np.errstate(invalid="ignore"):  # 0/0 is the NaN of neither
        precision = {o: counts[member] / (counts[member] + counts[o]) for o in names if o != member}
    return PrecisionCurve(k - first * as_published, {name: count / k for name, count in counts.items()}, precision)
