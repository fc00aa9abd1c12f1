"""Membership inference against a target classifier: which real images are members, behind what it was trained on?

The target classifier is trained on the released images. The attacker (after Shokri et al. 2017; Pennisi et al. 2023,
spec §6) sees the answers of the target to real images. From some whose membership it knows it learns to tell members
(training images of the target, or of the generator behind its training images) from nonmembers (test images). Its
accuracy is balanced: a guess has 0.5.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics.bootstrap import Interval, bootstrap
from lib.statistics.weighted import WeightedRatio

ATTACKERS = ("loss threshold", "logistic")
ENOUGH = 400  # images of both sides: below, the noise of one run is several points (spec §9.2, C5)
_STEPS, _RIDGE = 25, 1e-2  # of the logistic regression


class MembershipInference(NamedTuple):
    """Outcome of `membership_inference`."""

    accuracy: Interval  # balanced; of images as attacked in every split, resampled by patient
    splits: np.ndarray  # (s,) balanced accuracy of each split: its spread is that of the printed "±"
    chosen: dict[str, int]  # how often each attacker was the better one on the selection part
    images: int  # of both sides


def membership_inference(
    *, member: ArrayLike, nonmember: ArrayLike, member_labels: ArrayLike, nonmember_labels: ArrayLike,
    member_groups: ArrayLike | None = None, nonmember_groups: ArrayLike | None = None, splits: int = 20,
    rng: np.random.Generator, draws: int = 1000, level: float = 0.95,
) -> MembershipInference:  # fmt: skip
    """Balanced accuracy of an attacker who sees class probabilities and labels of real images.

    `member` (n, c) and `nonmember` (m, c) are probabilities that the target gives to real images, members being those
    it (or the generator behind its images) was trained on; labels (n,) and (m,) integers from 0; groups their
    patients, in one numbering. Of each side 30 % of the patients train the attackers (a threshold on the loss; a
    logistic regression on loss, entropy, confidence, margin and sorted probabilities), 10 % choose between them, 60 %
    are attacked. That is repeated for `splits` random splits: one split of a small test set errs by several points.

    The interval resamples patients, holding the attackers fixed. Raises ValueError on NaN, values that are no
    probabilities, labels that do not fit, or fewer than ten patients on a side.
    """
    sides = []
    for name, values, labels in (("member", member, member_labels), ("nonmember", nonmember, nonmember_labels)):
        sides.append(_signals(values, labels, name))
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError("member and nonmember have different numbers of classes: ask one target about both")
    signals, count = np.concatenate(sides), len(sides[0])
    inside = np.arange(len(signals)) < count
    groups = samples.joint_codes(member_groups, nonmember_groups, count, len(signals) - count)
    attacked, right = np.zeros(len(signals)), np.zeros(len(signals))
    accuracies, chosen = [], dict.fromkeys(ATTACKERS, 0)
    for _ in range(splits):
        part = _split(groups, inside, rng)
        attackers = {name: _fitted(name, signals[part == 0], inside[part == 0]) for name in ATTACKERS}
        best = max(ATTACKERS, key=lambda name: _balanced(attackers[name](signals[part == 1]), inside[part == 1]))
        chosen[best] += 1
        said, truth = attackers[best](signals[part == 2]), inside[part == 2]
        attacked[part == 2] += 1
        right[part == 2] += said == truth
        accuracies.append(_balanced(said, truth))
    found = [WeightedRatio(right * side, attacked * side) for side in (inside, ~inside)]
    accuracy = bootstrap(
        lambda weights: (found[0](weights) + found[1](weights)) / 2, groups=groups, draws=draws, rng=rng, level=level
    )
    return MembershipInference(accuracy, np.array(accuracies), chosen, len(signals))


def membership_verdict(*, released: MembershipInference, real: MembershipInference) -> str:
    """What the attack shows of a target trained on released images, beside one trained on the real images themselves.

    "leaks": the interval of `released` lies above 0.5 and its value above 0.55. "no leak found": it does not, while
    the attack works where it should (at least 0.6 against the target of real images, 0.05 above `released`).
    "inconclusive" otherwise, and always with fewer than `ENOUGH` images: never "private" (spec §9.3, B10).
    """
    value, control = released.accuracy.value, real.accuracy.value
    if min(released.images, real.images) < ENOUGH:
        return "inconclusive"
    if released.accuracy.low > 0.5 and value > 0.55:
        return "leaks"
    return "no leak found" if control >= 0.6 and control >= value + 0.05 else "inconclusive"


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
    part, shared = np.empty(len(groups), dtype=np.int64), np.unique(groups[inside])
    chosen: dict[int, int] = {}
    for side in (shared, np.setdiff1d(groups, shared)):
        if len(side) < 10:
            raise ValueError(f"{len(side)} patients on a side are too few to train an attacker: give at least ten")
        share = (np.arange(len(side)) + 0.5) / len(side)
        kinds = np.searchsorted((0.3, 0.4), share)
        chosen |= dict(zip(rng.permutation(side).tolist(), kinds.tolist(), strict=True))
    part[:] = [chosen[patient] for patient in groups.tolist()]
    return part


def _fitted(name: str, signals: np.ndarray, inside: np.ndarray):
    """An attacker: signals (n, f) -> member or not (n,)."""
    if name == "loss threshold":
        loss = signals[:, 0]
        order = np.argsort(loss, kind="stable")
        sides = inside[order]
        gain = np.cumsum(sides / inside.sum() - ~sides / (~inside).sum())  # recall − false alarms up to each loss
        whole = np.append(np.diff(loss[order]) > 0, True)  # of equal losses all are on one side of a cut
        at = int(np.argmax(np.where(whole, gain, -np.inf)))
        cut = (loss[order[at]] + loss[order[min(at + 1, len(order) - 1)]]) / 2
        return lambda seen: seen[:, 0] <= cut
    mean, sd = signals.mean(axis=0), signals.std(axis=0)
    sd = np.where(sd > 1e-9, sd, 1.0)
    design = np.column_stack([np.ones(len(signals)), (signals - mean) / sd])
    balance = np.where(inside, 0.5 / inside.mean(), 0.5 / (1 - inside.mean()))
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):  # Newton's method; the ridge keeps it finite where the sides separate
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (balance * (chance - inside)) / len(design) + _RIDGE * weights
        curvature = (design.T * (balance * chance * (1 - chance))) @ design / len(design)
        weights = weights - np.linalg.solve(curvature + _RIDGE * np.eye(len(weights)), gradient)
    return lambda seen: weights[0] + ((seen - mean) / sd) @ weights[1:] > 0


def _balanced(said: np.ndarray, inside: np.ndarray) -> float:
    return float((said[inside].mean() + (~said[~inside]).mean()) / 2)
