"""What the copy test would have detected: injected copies for its power, null splits for its false alarms."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.metrics.privacy.copying.copy_test import (
    CopyTest,
    Matches,
    copy_test,
    rank_by_ratio,
)
from lib.statistics.proportions import proportion


class InjectionPower(NamedTuple):
    """How `injection_power` fared at one share."""

    share: float
    copies: int  # injected each time
    images: int  # among which they were injected
    flagged: int  # of `repeats`
    repeats: int
    first: np.ndarray  # (repeats,) share of the injected pairs that are among the `copies` highest-ranked ones
    right: np.ndarray  # (repeats,) share of the injected pairs whose training image was named rightly


def injected_as(share: float, images: int) -> tuple[int, str]:
    """How many of `images` a share injects, one at least, and its name: "5 %", or what was injected if a tenth off."""
    count = max(1, round(share * images))
    named = share if abs(count / images - share) <= share / 10 else count / images
    return count, f"{100 * named:.3g} %"


def injected_matches(
    base: Matches, copies: Matches, count: int, *, rng: np.random.Generator
) -> tuple[Matches, np.ndarray, np.ndarray]:
    """`base` (s) with `count` rows replaced by as many of `copies`, at random: matches, rows (count,), which copies.

    A row of a match depends on no other row, so what stands there is what matching the injected set would give.
    """
    if not 1 <= count <= len(base.nearest):
        raise ValueError(f"{count} copies cannot be injected among {len(base.nearest)} images")
    at = rng.permutation(len(base.nearest))[:count]
    rounds = -(-count // len(copies.nearest))
    which = np.concatenate([rng.permutation(len(copies.nearest)) for _ in range(rounds)])[:count]
    columns = {name: getattr(base, name).copy() for name in Matches._fields if name != "reached"}
    for name, column in columns.items():
        column[at] = getattr(copies, name)[which]
    return base._replace(**columns), at, which


def injection_power(
    base: Matches,
    copies: Matches,
    source: ArrayLike,
    *,
    shares: Iterable[float],
    repeats: int,
    level: float,
    rng: np.random.Generator,
    **test,
) -> list[InjectionPower]:
    """How often `copy_test` flags `base` when a share of its images is replaced by copies, `repeats` times each.

    `copies` are the matches of altered training images, `source` (c,) the rows of the real images that they were
    made of. `test`: what `copy_test` takes besides. A share of less than one image injects one;
    shares that inject as many as the one before take its result.
    """
    source = np.asarray(source)
    found: list[InjectionPower] = []
    for share in shares:
        count, _ = injected_as(share, len(base.nearest))
        if found and found[-1].copies == count:
            found.append(found[-1]._replace(share=float(share)))
            continue
        flagged, first, right = 0, [], []
        for _ in range(repeats):
            injected, at, which = injected_matches(base, copies, count, rng=rng)
            flagged += copy_test(injected, rng=rng, **test).pvalue <= level
            first.append(np.isin(rank_by_ratio(injected, test["member"])[:count], at).sum() / count)
            right.append((injected.nearest[at] == source[which]).mean())
        found.append(
            InjectionPower(
                share=float(share),
                copies=count,
                images=len(base.nearest),
                flagged=flagged,
                repeats=repeats,
                first=np.array(first),
                right=np.array(right),
            )
        )
    return found


def pvalue_interval(test: CopyTest, permutations: int) -> tuple[float, float, float, str]:
    """The p-value of a copy test, its interval over `permutations`, and what that is over.

    Where the tail test gives the p-value, by a fit, nothing was permuted: the interval is the value itself.
    """
    if test.is_by_tail:
        return (test.pvalue,) * 3 + ("the tail test: a fit, without permutations or interval",)
    found = proportion(round(test.count_pvalue * (permutations + 1)), permutations + 1)
    value, low, high = (min(1.0, bound * test.pvalue / found[0]) for bound in found)
    return value, low, high, f"{permutations} permutations"


def smallest_seen(injections: list[InjectionPower], *, power: float = 0.9) -> float | None:
    """The smallest share from which on every one was flagged in at least `power` of its repeats; None: not even all.

    It is what was injected: one copy among ten images is 10 %, whatever share was asked for.
    """
    seen = None
    for injection in sorted(injections, key=lambda p: -p.share):
        if injection.flagged < power * injection.repeats:
            break
        seen = injection.copies / injection.images
    return seen
