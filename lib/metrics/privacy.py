"""Does a synthetic set give its training patients away? Attacks, and the controls that prove an attack works.

An attack gives every real image a score, larger meaning more likely a member: one that the generator was trained
on. `memorisation_test` makes such scores, and so do `lib.metrics.attacks`. They are judged on members against
nonmembers, held-out images of the same population. An attack means nothing until it has been seen to find planted
copies and to find nothing in images that copy nobody: `controls`.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics import samples, utility
from lib.metrics.intervals import Interval, bootstrap
from lib.metrics.neighbours import nearest
from lib.metrics.permutation import permutation_pvalue
from lib.metrics.weighted import WeightedAuroc, WeightedRatio, WeightedTprAtFpr

SIMILARITIES = ("distance", "correlation")


class Attack(NamedTuple):
    """How well scores separate members from nonmembers; intervals resample patients."""

    auroc: Interval  # .5: members look like nonmembers
    tpr: Interval  # share of members found at a false-positive rate of at most `fpr`
    fpr: float
    precision: float  # share of members among the `suspicious` largest scores
    suspicious: int
    base_rate: float  # precision of a guess: share of members among all
    gap: Interval  # mean score of members − of nonmembers, in units of the score
    pvalue: float | None = None  # of the AUROC, by `permutation_pvalue`; None: not asked for


def attack_row(attack: Attack) -> dict[str, float | None]:
    """The columns of a table of attacks, as `Run.table` typesets them."""
    row = {}
    for name, interval in (("AUROC", attack.auroc), (f"TPR at {attack.fpr:.0%} FPR", attack.tpr)):
        row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | {f"precision at {attack.suspicious}": attack.precision, "p": attack.pvalue}


class Memorisation(NamedTuple):
    """Outcome of `memorisation_test`."""

    attack: Attack
    member: np.ndarray  # (n,) score of each training image
    nonmember: np.ndarray  # (m,) score of each held-out image
    member_nearest: np.ndarray  # (n,) row of the synthetic image that is closest
    nonmember_nearest: np.ndarray  # (m,)
    copied: np.ndarray  # training images that some synthetic image equals exactly, ascending


class Planted(NamedTuple):
    """A synthetic set with known copies."""

    images: np.ndarray  # as the synthetic set given
    at: np.ndarray  # (m,) rows that are copies, ascending
    copied: np.ndarray  # (m,) rows of the source that stand there


def membership_attack(
    *,
    member: ArrayLike,
    nonmember: ArrayLike,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
    rng: np.random.Generator,
    fpr: float = 0.01,
    suspicious: int = 20,
    draws: int = 1000,
    level: float = 0.95,
    permutations: int = 0,
) -> Attack:
    """Judge any attack by its scores of members (n,) and nonmembers (m,), larger meaning more likely a member.

    `member_groups` (n,) and `nonmember_groups` (m,) are patients, in one numbering: a patient on both sides is
    resampled as one. `permutations` above 0 adds the p-value of the AUROC, for which sides must share no patient.
    Raises ValueError on NaN, an empty side, or more `suspicious` than images.
    """
    sides = {"member": samples.scores(member, "member"), "nonmember": samples.scores(nonmember, "nonmember")}
    patients = {"member_groups": member_groups, "nonmember_groups": nonmember_groups}
    scores = np.concatenate(list(sides.values()))
    count = len(sides["member"])
    if not 1 <= suspicious <= len(scores):
        raise ValueError(f"suspicious is {suspicious} of {len(scores)} images: ask for 1 to all of them")
    labels = np.arange(len(scores)) < count
    groups = samples.joint_codes(member_groups, nonmember_groups, count, len(scores) - count)
    options = {"groups": groups, "draws": draws, "rng": rng, "level": level}
    inside, outside = WeightedRatio(scores * labels, labels), WeightedRatio(scores * ~labels, ~labels)
    return Attack(
        auroc=bootstrap(WeightedAuroc(labels, scores), **options),
        tpr=bootstrap(WeightedTprAtFpr(labels, scores, fpr=fpr), **options),
        fpr=fpr,
        precision=utility.precision_at(labels, scores, k=suspicious),
        suspicious=suspicious,
        base_rate=count / len(scores),
        gap=bootstrap(lambda weights: inside(weights) - outside(weights), **options),
        pvalue=permutation_pvalue(**sides, **patients, permutations=permutations, rng=rng) if permutations else None,
    )


def mean_auroc(
    scores: ArrayLike, member: ArrayLike, *, groups: ArrayLike, draws: int = 1000, rng: np.random.Generator
) -> Interval:
    """Mean AUROC of one attack on k synthetic sets, with an interval that resamples the patients of the candidates.

    `scores` (n, k), a column for each set, larger meaning more likely a member; `member` (n,) bool; `groups` (n,)
    patients. Unlike an interval over the sets it says what other candidates would have given.
    """
    area = WeightedAuroc(member, scores)
    return bootstrap(lambda weights: area(weights).mean(axis=1), groups=groups, draws=draws, rng=rng)


class PrecisionCurve(NamedTuple):
    """Outcome of `precision_curve`, for the k most suspicious images."""

    k: np.ndarray  # (K,) cut-offs; as published, `first` less
    shares: dict[Hashable, np.ndarray]  # share (K,) of each origin among the k
    precision: dict[Hashable, np.ndarray]  # members / (members + this origin) (K,); NaN where neither is among the k


def precision_curve(
    scores: ArrayLike, origin: ArrayLike, *, member: Hashable = "train", first: int = 5, as_published: bool = False
) -> PrecisionCurve:
    """Where the k most suspicious images come from, for every k from `first` to n − 2.

    `scores` (n,) are larger for likelier members, `origin` (n,) names the set that each image is from. Precision
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
    order, opens, closes = utility.tie_groups(scores, falling=True)
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


def memorisation_test(
    *,
    train: ArrayLike | torch.Tensor,
    heldout: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    train_groups: ArrayLike | None = None,
    heldout_groups: ArrayLike | None = None,
    similarity: str = "distance",
    flips: bool = False,
    rng: np.random.Generator,
    fpr: float = 0.01,
    suspicious: int = 20,
    draws: int = 1000,
    level: float = 0.95,
) -> Memorisation:
    """Nearest-neighbour memorisation test: are synthetic images closer to training than to held-out images?

    `train` (n, ...), `heldout` (m, ...) and `synthetic` (s, ...) are images or features of one shape and value
    range. The score of a real image is its similarity to the closest synthetic image, found exactly: with
    similarity "distance" the Euclidean distance, negated; with "correlation" Pearson's correlation of the values,
    in [-1, 1], which also finds a copy of other brightness or contrast. A constant synthetic image correlates with
    none and is passed over. `flips` compares with each synthetic image (s, ..., H, W) in its four mirrorings: a
    generator trained with flips can memorise either. `train_groups` and `heldout_groups` are patients, in one
    numbering.

    A held-out set of the same population is the yardstick: without it, closeness says nothing. Raises ValueError
    on NaN, other shapes, an unknown similarity, or a constant real image under "correlation".
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}: choose one of {', '.join(SIMILARITIES)}")
    count = len(synthetic)
    synthetic = samples.rows(_mirrored(synthetic) if flips else synthetic, "synthetic")
    real = {name: samples.rows(rows, name) for name, rows in (("train", train), ("heldout", heldout))}
    kept = np.arange(len(synthetic))
    for name, rows in real.items():
        samples.same_width(rows, synthetic, (name, "synthetic"))
    if similarity == "correlation":
        varied = ~_constant(synthetic)
        kept = kept[varied.cpu().numpy()]
        if len(kept) == 0:
            raise ValueError("every synthetic image is constant: there is nothing to correlate with")
        synthetic = _standardised(synthetic[varied])
        for name, rows in real.items():
            if _constant(rows).any():
                raise ValueError(f"{name} holds a constant image, which has no correlation: leave it out")
            real[name] = _standardised(rows)
    found = {name: nearest(rows, synthetic) for name, rows in real.items()}
    score = {name: _similarity(result.distances[:, 0], similarity) for name, result in found.items()}
    return Memorisation(
        attack=membership_attack(
            member=score["train"],
            nonmember=score["heldout"],
            member_groups=train_groups,
            nonmember_groups=heldout_groups,
            rng=rng,
            fpr=fpr,
            suspicious=suspicious,
            draws=draws,
            level=level,
        ),
        member=score["train"],
        nonmember=score["heldout"],
        member_nearest=kept[found["train"].indices[:, 0]] % count,
        nonmember_nearest=kept[found["heldout"].indices[:, 0]] % count,
        copied=np.flatnonzero(found["train"].distances[:, 0] == 0),
    )


def planted(synthetic: ArrayLike, *, source: ArrayLike, share: float, rng: np.random.Generator) -> Planted:
    """`synthetic` (s, ...) with the share `share` of its rows replaced by copies of rows of `source`, at random.

    No row of the source is copied twice before every row is copied once. share=1 with training images as the
    source is a memoriser; a share below is a partial leak; share=1 with real images of further patients is a
    perfect generator that copies nobody. Raises ValueError if shapes or dtypes differ, or if nothing is planted.
    """
    synthetic, source = np.asarray(synthetic), np.asarray(source)
    if synthetic.shape[1:] != source.shape[1:] or synthetic.dtype != source.dtype:
        raise ValueError(
            f"synthetic is {synthetic.dtype} {synthetic.shape[1:]} and source {source.dtype} {source.shape[1:]} "
            "an image: bring both to one size, dtype and value range"
        )
    count = round(share * len(synthetic))
    if not 0 <= share <= 1 or count == 0 or len(source) == 0:
        raise ValueError(
            f"a share of {share} of {len(synthetic)} images, from a source of {len(source)}, plants nothing: "
            "give a share in (0, 1] that makes at least one copy"
        )
    at = np.sort(rng.permutation(len(synthetic))[:count])
    rounds = -(-count // len(source))
    copied = np.concatenate([rng.permutation(len(source)) for _ in range(rounds)])[:count]
    images = synthetic.copy()
    images[at] = source[copied]
    return Planted(images, at, copied)


def controls(
    synthetic: ArrayLike,
    *,
    train: ArrayLike,
    independent: ArrayLike,
    rng: np.random.Generator,
    leaks: Sequence[float] = (0.05, 0.1, 0.3),
) -> dict[str, Planted]:
    """The sets that an attack has to be tried on, as large as `synthetic` (s, ...), from the harmless to the worst.

    "independent": real images of patients who are neither in `train` nor in the attack's held-out set, offered as
    synthetic (an attack must stay at chance); "leak_5", "leak_10", …: `synthetic` with that percentage of copies
    of `train`; "memoriser": copies of `train` only (an attack must be certain, once s is at least the size of
    `train`). All as `planted` returns them; what was copied is known.
    """
    sets = {"independent": planted(synthetic, source=independent, share=1, rng=rng)}
    for share in leaks:
        sets[f"leak_{100 * share:g}"] = planted(synthetic, source=train, share=share, rng=rng)
    sets["memoriser"] = planted(synthetic, source=train, share=1, rng=rng)
    return sets


def _mirrored(images: ArrayLike | torch.Tensor) -> torch.Tensor:
    """(4n, ..., H, W): the images, then mirrored left to right, top to bottom, and both."""
    images = images if isinstance(images, torch.Tensor) else torch.as_tensor(np.ascontiguousarray(images))
    if images.ndim < 3:
        raise ValueError(f"synthetic has shape {tuple(images.shape)}: flips need images, (n, H, W)")
    return torch.cat([images, images.flip(-1), images.flip(-2), images.flip(-2, -1)])


def _constant(rows: torch.Tensor) -> torch.Tensor:
    return rows.amax(dim=1) == rows.amin(dim=1)


def _standardised(rows: torch.Tensor) -> torch.Tensor:
    """Rows of mean 0 and length 1, in float64: half their squared distance is 1 − correlation."""
    rows = rows.double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def _similarity(distances: np.ndarray, similarity: str) -> np.ndarray:
    return -distances if similarity == "distance" else 1 - distances**2 / 2
