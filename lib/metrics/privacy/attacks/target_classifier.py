"""Membership inference against a target classifier: which real images are members, behind what it was trained on?

The target classifier is trained on the released images. The attacker (after Shokri et al. 2017; Pennisi et al. 2023,
spec §6) sees the answers of the target to real images. From some whose membership it knows it learns to tell members
(training images of the target, or of the generator behind its training images) from nonmembers (test images). Its
accuracy is balanced: a guess has 0.5.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics.bootstrap import Interval, bootstrap

ATTACKERS = ("loss threshold", "logistic")
ENOUGH = 400  # images of both sides: below, the noise of one run is several points (spec §9.2, C5)
_STEPS, _RIDGE = 25, 1e-2  # of the logistic regression


class MembershipInference(NamedTuple):
    """Outcome of `membership_inference`."""

    accuracy: Interval  # balanced, the mean over splits; resamples of the patients train attackers of their own
    splits: np.ndarray  # (s,) balanced accuracy of each split: its spread is that of the printed "±"
    chosen: dict[str, int]  # how often each attacker was the better one on the selection part
    images: int  # of both sides


def membership_inference(
    *, member: ArrayLike, nonmember: ArrayLike, member_labels: ArrayLike, nonmember_labels: ArrayLike,
    member_groups: ArrayLike | None = None, nonmember_groups: ArrayLike | None = None, splits: int = 20,
    rng: np.random.Generator, draws: int = 1000, level: float = 0.95, weights: ArrayLike | None = None,
) -> MembershipInference:  # fmt: skip
    """Balanced accuracy of an attacker who sees class probabilities and labels of real images.

    `member` (n, c) and `nonmember` (m, c) are probabilities that the target gives to real images, members being those
    it (or the generator behind its images) was trained on; labels (n,) and (m,) integers from 0; groups their
    patients, in one numbering. Of each side 30 % of the patients train the attackers (a threshold on the loss; a
    logistic regression on loss, entropy, confidence, margin and sorted probabilities), 10 % choose between them, 60 %
    are attacked. That is repeated for `splits` random splits: one split of a small test set errs by several points.

    The interval resamples patients: on each of the `draws` resamples the whole is done again, with one split, attackers
    trained on what was drawn and patients attacked as often as they were drawn. weights (b, n + m): resamples to be
    used instead, members first, such as those of other repetitions (`lib.statistics.bootstrap.patient_weights`). Raises
    ValueError on NaN, values that are no probabilities, labels that do not fit, or fewer than ten patients on a side.
    """
    sides = []
    for name, values, labels in (("member", member, member_labels), ("nonmember", nonmember, nonmember_labels)):
        sides.append(_signals(values, labels, name))
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError("member and nonmember have different numbers of classes: ask one target about both")
    signals, count = np.concatenate(sides), len(sides[0])
    inside = np.arange(len(signals)) < count
    groups = samples.joint_codes(member_groups, nonmember_groups, count, len(signals) - count)
    for side in (groups[inside], np.setdiff1d(groups, groups[inside])):
        if len(np.unique(side)) < 10:
            raise ValueError(
                f"{len(np.unique(side))} patients on a side are too few to train an attacker: give at least ten"
            )
    once = partial(_attacked_once, signals, inside, groups, rng=rng)
    found = [once(np.ones(len(signals))) for _ in range(splits)]
    accuracies = np.array([accuracy for accuracy, _ in found])
    chosen = {name: sum(name == best for _, best in found) for name in ATTACKERS}

    def resampled(rows: np.ndarray) -> np.ndarray:
        return np.array([once(row)[0] for row in np.asarray(rows, float)])

    if weights is None:
        interval = bootstrap(resampled, groups=groups, draws=draws, rng=rng, level=level)
    else:
        drawn, tail = resampled(np.asarray(weights)), (1 - level) / 2
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        interval = Interval(0.0, float(low), float(high), level, int(groups.max()) + 1, drawn)
    return MembershipInference(replace(interval, value=float(accuracies.mean())), accuracies, chosen, len(signals))


def _attacked_once(signals, inside, groups, weights, *, rng: np.random.Generator) -> tuple[float, str]:
    """Balanced accuracy of one random split of the images drawn (weights (n,), 0 and more), and who attacked.

    NaN where a part of the split has one side only, as few patients resampled may have it.
    """
    kept = weights > 0
    signals, inside, groups, weights = signals[kept], inside[kept], groups[kept], weights[kept]
    part = _split(groups, inside, rng)
    if any(len(np.unique(inside[part == number])) < 2 for number in range(3)):
        return np.nan, ""
    training, selection, attacked = (part == number for number in range(3))
    attackers = {name: _fitted(name, signals[training], inside[training], weights[training]) for name in ATTACKERS}
    reached = {
        name: _balanced(of(signals[selection]), inside[selection], weights[selection]) for name, of in attackers.items()
    }
    best = max(ATTACKERS, key=lambda name: reached[name])
    return _balanced(attackers[best](signals[attacked]), inside[attacked], weights[attacked]), best


def _signals(values, labels, name: str) -> np.ndarray:
    """What the attackers look at (n, 4 + c), the loss first."""
    values, labels = samples.columns(values, name), np.asarray(labels)
    if values.ndim != 2 or values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(f"{name} holds no class probabilities (n, c) that add up to 1: apply softmax to logits")
    if labels.shape != (len(values),) or not np.isin(labels, np.arange(values.shape[1])).all():
        raise ValueError(f"{name}_labels do not fit: give {len(values)} classes from 0 to {values.shape[1] - 1}")
    log = np.log(np.maximum(values, 1e-12))
    ordered = np.sort(values, axis=1)[:, ::-1]
    loss = -log[np.arange(len(values)), labels]
    entropy = -(values * log).sum(axis=1)
    return np.column_stack([loss, entropy, np.log(ordered[:, 0]), ordered[:, 0] - ordered[:, 1], ordered])


def _split(groups: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 training, 1 selection, 2 attacked (n,), by patients of either side; who is on both goes with the members."""
    kinds, shared = np.zeros(groups.max() + 1, dtype=np.int64), np.unique(groups[inside])
    for side in (shared, np.setdiff1d(groups, shared)):
        share = (np.arange(len(side)) + 0.5) / len(side)
        kinds[rng.permutation(side)] = np.searchsorted((0.3, 0.4), share)
    return kinds[groups]


def _fitted(name: str, signals: np.ndarray, inside: np.ndarray, weights: np.ndarray):
    """An attacker, trained on images of these weights: signals (n, f) -> member or not (n,)."""
    if name == "loss threshold":
        loss = signals[:, 0]
        order = np.argsort(loss, kind="stable")
        sides, mass = inside[order], weights[order]
        members, others = sides * mass, ~sides * mass
        gain = np.cumsum(members / members.sum() - others / others.sum())  # recall − false alarms up to each loss
        whole = np.append(np.diff(loss[order]) > 0, True)  # of equal losses all are on one side of a cut
        at = int(np.argmax(np.where(whole, gain, -np.inf)))
        cut = (loss[order[at]] + loss[order[min(at + 1, len(order) - 1)]]) / 2
        return lambda seen: seen[:, 0] <= cut
    mass = weights / weights.sum()
    mean = mass @ signals
    sd = np.sqrt(mass @ np.square(signals - mean))
    sd = np.where(sd > 1e-9, sd, 1.0)
    design = np.column_stack([np.ones(len(signals)), (signals - mean) / sd])
    share = mass @ inside
    balance = mass * np.where(inside, 0.5 / share, 0.5 / (1 - share))
    fitted = np.zeros(design.shape[1])
    for _ in range(_STEPS):  # Newton's method; the ridge keeps it finite where the sides separate
        chance = 1 / (1 + np.exp(-np.clip(design @ fitted, -30, 30)))
        gradient = design.T @ (balance * (chance - inside)) + _RIDGE * fitted
        curvature = (design.T * (balance * chance * (1 - chance))) @ design
        fitted = fitted - np.linalg.solve(curvature + _RIDGE * np.eye(len(fitted)), gradient)
    return lambda seen: fitted[0] + ((seen - mean) / sd) @ fitted[1:] > 0


def _balanced(said: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> float:
    found = [(weights * side) @ (said == inside) / (weights @ side) for side in (inside, ~inside)]
    return float((found[0] + found[1]) / 2)
