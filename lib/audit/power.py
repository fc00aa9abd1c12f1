"""What an audit would have seen, had there been copies: injections into a set of real images that copy nobody.

Not into the synthetic set as it was given: a leak that is there would be taken for the injected one. A set without
copies, of as many images, is drawn from the null, each real image matched with those of the other patients.
"""

from collections.abc import Iterable

import numpy as np

from lib.audit.copies import GIVEN, Audit, closest_of_each
from lib.audit.disguises import DISGUISES, disguised
from lib.audit.matching import Candidates, Progress, matches, search, usual_distance
from lib.metrics.privacy.copying.copy_test import Matches, copy_test
from lib.metrics.privacy.copying.copy_test_power import InjectionPower, injected_as, injection_power
from lib.statistics.proportions import proportion

PERMUTATIONS = 199  # of a test that is one of many
POWER = 0.9  # share of injections, at least, that are flagged of what would be seen


def would_be_seen(
    audit: Audit, copies: Matches, source: np.ndarray, *, shares: Iterable[float], repeats: int, level: float
) -> list[InjectionPower]:
    """How often copies are flagged, by share, `repeats` injections each, among as many images as were given."""
    size, rng = len(audit.sets[GIVEN].matches.nearest), audit.test["rng"]
    rounds = -(-size // len(audit.null.nearest))
    drawn = np.concatenate([rng.permutation(len(audit.null.nearest)) for _ in range(rounds)])[:size]
    of_query = {name: getattr(audit.null, name)[drawn] for name in Matches._fields[:-1]}
    base = Matches(**of_query, reached=audit.null.reached)
    test = audit.test | {"permutations": PERMUTATIONS}
    return injection_power(base, copies, source, shares=shares, repeats=repeats, level=level, **test)


def disguise_rows(
    audit: Audit,
    real: np.ndarray,
    *,
    names: Iterable[str] = tuple(DISGUISES),
    shares: tuple[float, ...] = (0.0, 0.02, 0.05),
    repeats: int,
    level: float,
    progress: Progress = lambda done, of: None,
) -> list[dict]:
    """A row for each disguise: is one copy alone flagged, are shares of copies?

    real: uint8 (m, H, H), training, then held-out images. A share of 0 injects one copy. Intervals are binomial;
    columns are named by the share that was injected.
    """
    rows, size, rng = [], len(audit.sets[GIVEN].matches.nearest), audit.test["rng"]
    for name in names:
        of = audit.copies.get(name)
        if of is None:
            changed = disguised(real[audit.row[audit.copied]], name, rng=rng)
            searched = search(audit.gallery, changed, progress=progress)
            of = matches(searched, audit.gallery.patient, usual=audit.usual)
        row = {
            "disguise": name,
            "source named": (of.nearest == audit.copied).mean(),
            "median ratio": np.median(of.ratio),
        }
        for trial in would_be_seen(audit, of, audit.copied, shares=shares, repeats=repeats, level=level):
            column = "one copy flagged" if trial.share == 0 else f"{injected_as(trial.share, size)[1]} flagged"
            seen = proportion(trial.flagged, repeats)
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), seen, strict=True))
        rows.append(row | {f"{injected_as(trial.share, size)[1]} ranked first": trial.first.mean()})
    return rows


def null_flags(real: Candidates, patient: np.ndarray, *, splits: int, level: float, rng: np.random.Generator) -> int:
    """How many of `splits` random thirds of the patients, offered as synthetic against the two others, are flagged.

    real: the real images searched in themselves; patient: codes (n,). No copy can be among them.
    """
    flagged = 0
    for _ in range(splits):
        third = (rng.permutation(int(patient.max()) + 1) % 3)[patient]
        kept = np.flatnonzero(third > 0)
        among, code = real.within(kept), patient[kept]
        among_real, offered = among.only(kept), among.only(third == 0)
        usual = usual_distance(among_real, code)
        ratio = matches(among_real, code, own=code, usual=usual).ratio
        null = closest_of_each(ratio, np.unique(code, return_inverse=True)[1])
        sides = {"member": third[kept] == 1, "groups": code, "null": null}
        test = copy_test(matches(offered, code, usual=usual), **sides, permutations=PERMUTATIONS, rng=rng)
        flagged += test.pvalue <= level
    return flagged
