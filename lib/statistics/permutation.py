"""Permutation tests in which a patient is permuted as a whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics import roc

_CELLS = 2**22  # labels held at a time


def permutation_pvalue(
    *,
    member: ArrayLike,
    nonmember: ArrayLike,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
    statistic: Callable[[np.ndarray, np.ndarray], Any] = roc.auroc,
    permutations: int = 1000,
    rng: np.random.Generator,
) -> float:
    """Chance that null scores separate members (n,) from nonmembers (m,) at least as well as these do.

    Under the null hypothesis a patient's images would have scored the same on the other side. So membership is randomly
    permuted among the patients `member_groups` (n,) and `nonmember_groups` (m,), in one numbering, as many being
    members as are; all images of a patient are permuted together, so that their similarity is not mistaken for
    memorisation. None: every image is its own patient. `statistic` takes labels (n + m, permutations), True for a
    member, and scores (n + m,), and returns one value per column, larger meaning better separated; those of
    `lib.statistics.roc` do. One-sided; p = (1 + permutations at least as good) / (1 + permutations), which is never 0
    (Phipson and Smyth 2010) and, with few patients, never small either.

    Raises ValueError on NaN, or a patient on both sides, whose images cannot be assigned together.
    """
    scores = np.concatenate([samples.scores(member, "member"), samples.scores(nonmember, "nonmember")])
    labels = np.arange(len(scores)) < len(np.asarray(member))
    code = samples.joint_codes(member_groups, nonmember_groups, int(labels.sum()), int((~labels).sum()))
    images = np.bincount(code)
    members = np.bincount(code, weights=labels)
    if np.any((members > 0) & (members < images)):
        raise ValueError("a patient is both member and nonmember: leave the patient out, or give each side its own")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}: draw at least one")
    observed = statistic(labels[:, None], scores)[0]
    step, reached = max(1, _CELLS // len(scores)), 0
    for start in range(0, permutations, step):
        permuted = np.tile(members > 0, (min(step, permutations - start), 1))
        permuted = rng.permuted(permuted, axis=1, out=permuted)
        # Equal separations by other patients differ in their last digits.
        reached += int((statistic(permuted.T[code], scores) >= observed - 1e-12).sum())
    return (1 + reached) / (1 + permutations)
