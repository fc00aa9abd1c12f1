"""What `lib.metrics.privacy.copying.copy_test` would have seen: planted copies for its power, innocent splits for its false alarms."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.distances import full_precision
from lib.metrics.privacy.copying.copy_test import (
    CopyTest,
    Matches,
    copy_test,
    patient_codes,
    singular_matches,
    suspicion,
)
from lib.statistics.proportions import proportion


class Planting(NamedTuple):
    """How `planting_power` fared at one share."""

    share: float
    copies: int  # planted each time
    images: int  # among which they were planted
    flagged: int  # of `repeats`
    repeats: int
    first: np.ndarray  # (repeats,) share of the planted pairs that are among the `copies` most suspicious ones
    right: np.ndarray  # (repeats,) share of the planted pairs whose training image was named rightly


def planted_as(share: float, images: int) -> tuple[int, str]:
    """How many of `images` a share plants, one at least, and its name: "5 %", or what was planted if a tenth off."""
    count = max(1, round(share * images))
    named = share if abs(count / images - share) <= share / 10 else count / images
    return count, f"{100 * named:.3g} %"


def planted_matches(
    base: Matches, copies: Matches, count: int, *, rng: np.random.Generator
) -> tuple[Matches, np.ndarray, np.ndarray]:
    """`base` (s) with `count` rows replaced by as many of `copies`, at random: matches, rows (count,), which copies.

    A row of a match depends on no other row, so what stands there is what matching the planted set would give.
    """
    if not 1 <= count <= len(base.nearest):
        raise ValueError(f"{count} copies cannot be planted among {len(base.nearest)} images")
    at = rng.permutation(len(base.nearest))[:count]
    rounds = -(-count // len(copies.nearest))
    which = np.concatenate([rng.permutation(len(copies.nearest)) for _ in range(rounds)])[:count]
    columns = [column.copy() for column in base[:4]]
    for column, other in zip(columns, copies[:4], strict=True):
        column[at] = other[which]
    return Matches(*columns, base.reached), at, which


def planting_power(
    base: Matches,
    copies: Matches,
    source: ArrayLike,
    *,
    shares: ArrayLike,
    repeats: int,
    level: float,
    rng: np.random.Generator,
    **test,
) -> list[Planting]:
    """How often `copy_test` flags `base` when a share of its images is replaced by copies, `repeats` times each.

    `copies` are the matches of altered training images, `source` (c,) the rows of the real images that they were
    made of. `test`: what `copy_test` takes besides. A share of less than one image plants one;
    shares that plant as many as the one before take its result.
    """
    source, found = np.asarray(source), []
    for share in shares:
        count, _ = planted_as(share, len(base.nearest))
        if found and found[-1].copies == count:
            found.append(found[-1]._replace(share=float(share)))
            continue
        flagged, first, right = 0, [], []
        for _ in range(repeats):
            planted, at, which = planted_matches(base, copies, count, rng=rng)
            flagged += copy_test(planted, rng=rng, **test).pvalue <= level
            first.append(np.isin(suspicion(planted, test["member"])[:count], at).sum() / count)
            right.append((planted.nearest[at] == source[which]).mean())
        of = {"share": float(share), "copies": count, "images": len(base.nearest), "repeats": repeats}
        found.append(Planting(**of, flagged=flagged, first=np.array(first), right=np.array(right)))
    return found


def pvalue_interval(test: CopyTest, permutations: int) -> tuple[float, float, float, str]:
    """The p-value of a copy test, its interval over `permutations`, and what that is over.

    Where the tail test gives the p-value, by a fit, nothing was permuted: the interval is the value itself.
    """
    if test.is_by_tail:
        return (test.pvalue,) * 3 + ("the tail test: a fit, without permutations or interval",)
    found = proportion(round(test.count_pvalue * (permutations + 1)), permutations + 1)
    return *(min(1.0, bound * test.pvalue / found[0]) for bound in found), f"{permutations} permutations"


def false_alarms(
    details: torch.Tensor, groups: ArrayLike, *, splits: int, level: float, permutations: int, rng: np.random.Generator
) -> int:
    """How many of `innocent_splits` are flagged by `copy_test` at `level`."""
    tests = (
        copy_test(found, member=member, groups=code, innocent=innocent, permutations=permutations, rng=rng)
        for found, member, code, innocent in innocent_splits(details, groups, splits=splits, rng=rng)
    )
    return sum(test.pvalue <= level for test in tests)


def smallest_seen(plantings: list[Planting], *, power: float = 0.9) -> float | None:
    """The smallest share from which on every one was flagged in at least `power` of its repeats; None: not even all.

    It is what was planted: one copy among ten images is 10 %, whatever share was asked for.
    """
    seen = None
    for planting in sorted(plantings, key=lambda p: -p.share):
        if planting.flagged < power * planting.repeats:
            break
        seen = planting.copies / planting.images
    return seen


def innocent_splits(
    details: torch.Tensor, groups: ArrayLike, *, splits: int, rng: np.random.Generator
) -> Iterator[tuple[Matches, np.ndarray, np.ndarray, np.ndarray]]:
    """Random thirds of the patients: offered as synthetic, as training, as held out. No copy can be among them.

    details (n, H, W) of real images of the patients `groups` (n,). Yields what `copy_test` takes: matches, member,
    groups and innocent. Holds all n² similarities. Raises ValueError with fewer than nine patients.
    """
    code = patient_codes(groups, len(details), 9)
    with full_precision(details.device.type):
        alike = (details.flatten(1) @ details.flatten(1).T).cpu().numpy()
        for mirrored in (details.flip(2), details.flip(1), details.flip(1, 2)):
            np.maximum(alike, (details.flatten(1) @ mirrored.flatten(1).T).cpu().numpy(), out=alike)
    for _ in range(splits):
        third = (rng.permutation(code.max() + 1) % 3)[code]
        offered, kept = np.flatnonzero(third == 0), np.flatnonzero(third > 0)
        among = alike[np.ix_(offered, kept)]
        reached = among.max(axis=0)
        nearest, similarity, ratio = singular_matches(among, code[kept], None)
        innocent = singular_matches(alike[np.ix_(kept, kept)], code[kept], code[kept])[2]
        matches = Matches(nearest, similarity, np.zeros(len(nearest), int), ratio, reached)
        yield matches, third[kept] == 1, code[kept], innocent
