"""A claim by its values in every repetition: its numbers, and the verdict on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.experiment.paper import Claim
from lib.experiment.verdict import LEAK, REPETITIONS, REPETITIONS_ALONE, Effect, Outcome, claimed
from lib.statistics.repetitions import Repeated, prediction_interval

NOT_SAID = ("not said",)  # whether the generator passes the gate
_FEWEST = 0.5  # of the resamples, that must have a value


def evaluate(
    name: str,
    claim: Claim,
    values: Repeated,
    *,
    nulls: Mapping[str, Repeated] = {},  # of an effect: each that paper.yaml declares
    disjoint: Repeated | None = None,  # of an absence: the same attack on disjoint patients
    leaks: Mapping[float, Repeated] = {},  # and on sets that leak: share of the members -> values
    shortfalls: Sequence[str] | None = NOT_SAID,  # of a claim about a generator: why it does not pass the gate
    is_smoke: bool,
) -> tuple[dict[str, Any], Outcome]:
    """What is recorded of the claim `name`, and its verdict (lib.experiment.verdict says how that is found).

    Recorded are the value (mean over repetitions), its 95 % interval and the sources of variation in it, the 95 %
    prediction interval of one more repetition, the values of every repetition, of the claim and of each null or
    control, and the paired difference from each null with its interval.

    shortfalls: empty where the generator passes the gate, and None to leave the gate open: then its nulls alone decide
    on an effect, and that nothing leaks is not testable, for noise leaks nobody. Raises ValueError for nulls other than
    those declared, an absence without its controls or an effect with them, values of another number of repetitions,
    infinite draws, and a claim about a generator of which the gate is not said. Resamples of the patients on which the
    claim or what stands beside it has no value (NaN: a class was not drawn) are left out of all, and the record says
    how many; where that is more than half, as in `lib.statistics.bootstrap`, the claim is not testable.
    """
    of = claimed(claim.claimed)
    others = _others(name, claim, values, nulls, disjoint, leaks)
    kept = _defined([values, *others.values()])
    values, others = _on(kept, values), {other: _on(kept, found) for other, found in others.items()}
    if claim.generator and shortfalls is NOT_SAID:
        raise ValueError(f"claim {name} is about a generator: say its shortfalls= from the gate, none where it passes")
    is_list = isinstance(shortfalls, list | tuple) and all(isinstance(why, str) and why for why in shortfalls)
    if not (is_list or shortfalls is None):
        raise ValueError(f"claim {name}: shortfalls= is {shortfalls!r}: give a list of reasons, none where it passes")
    facts: dict[str, Any] = {"value": float(values.values.mean()), "interval": None}
    facts |= {"n": f"{len(values)} repetition{'s' * (len(values) != 1)}", "repetitions": values.values.tolist()}
    if kept is not None and not kept.all():
        facts["n"] += f", {(~kept).sum():,} of {len(kept):,} resamples of the patients without a value left out"
    facts |= {"others": {other: found.values.tolist() for other, found in others.items()}}
    if is_smoke:
        return facts, Outcome("not testable here", "a smoke run proves the wiring only")
    if kept is not None and kept.mean() < _FEWEST:
        return facts, Outcome("not testable here", "most resamples of the patients have no value: give more patients")
    if len(values) > 1:
        estimate = values.estimate()
        facts |= {"interval": list(estimate.interval()), "sources": list(estimate.sources)}
        facts |= {"prediction": list(prediction_interval(values.values))}
    enough = REPETITIONS if claim.generator else REPETITIONS_ALONE
    if len(values) < enough:
        return facts, Outcome("pending", f"a verdict needs {enough} repetitions")
    if claim.generator and shortfalls:
        return facts, Outcome("not testable here", f"the generator is not faithful: {'; '.join(shortfalls)}")
    if isinstance(of, Effect):
        differences = {null: (values - others[null]).estimate() for null in nulls}
        facts["differences"] = {null: [d.value, *d.interval()] for null, d in differences.items()}
        return facts, of.outcome(estimate, against=differences)
    if claim.generator and shortfalls is None:
        return facts, Outcome("not testable here", "without a gate silence says nothing: noise leaks nobody")
    sees = {share: others[_leak(share)].estimate() for share in leaks}
    return facts, of.outcome(estimate, disjoint=others["disjoint patients"].estimate(), leaks=sees)


def _leak(share: float) -> str:
    return f"leak of {100 * share:g}%"


def _defined(measured: Sequence[Repeated]) -> np.ndarray | None:
    """On which resamples (b,) all have a value in every repetition; None where there are no resamples."""
    drawn = [of.draws for of in measured if of.draws is not None]
    if not drawn or len({of.shape for of in drawn}) > 1:  # which is refused where they are subtracted
        return None
    return ~np.any([np.isnan(of).any(axis=0) for of in drawn], axis=0)


def _on(resamples: np.ndarray | None, of: Repeated) -> Repeated:
    if resamples is None or of.draws is None or resamples.all():
        return of
    return Repeated(of.values, draws=of.draws[:, resamples], patients=of.patients)


def _others(
    name: str,
    claim: Claim,
    values: Repeated,
    nulls: Mapping[str, Repeated],
    disjoint: Repeated | None,
    leaks: Mapping[float, Repeated],
) -> dict[str, Repeated]:
    """What was measured beside the claim, by what it is called; ValueError where that does not fit the claim."""
    others = dict(nulls)
    if isinstance(claimed(claim.claimed), Effect):
        if set(nulls) != set(claim.nulls):
            raise ValueError(
                f"claim {name}: nulls {sorted(nulls)} are given, and paper.yaml declares {sorted(claim.nulls)}"
            )
        if disjoint is not None or leaks:
            raise ValueError(f"claim {name} is that something is there: it has nulls=, and no disjoint= or leaks=")
    else:
        if nulls:
            raise ValueError(f"claim {name} is that nothing is there: it has disjoint= and leaks=, and no nulls=")
        if strange := [share for share in leaks if not 0 < share <= 1]:
            raise ValueError(f"claim {name}: a leak of {strange[0]:g}: give shares of the members, above 0 and up to 1")
        if disjoint is None or LEAK not in leaks:
            raise ValueError(
                f"claim {name}: that nothing leaks needs the attack on disjoint patients and on a leak of {LEAK:.0%}"
            )
        others = {"disjoint patients": disjoint} | {_leak(share): found for share, found in leaks.items()}
    for other, found in {"the claim": values, **others}.items():
        if not isinstance(found, Repeated):
            raise ValueError(f"claim {name}: {other} is {type(found).__name__}: give a Repeated, a value a repetition")
        if len(found) != len(values):
            raise ValueError(
                f"claim {name}: {other} has {len(found)} repetitions, the claim {len(values)}: measure both in each"
            )
        if not np.isfinite(found.values).all():
            first = int(np.flatnonzero(~np.isfinite(found.values))[0])
            raise ValueError(
                f"claim {name}: {other} has no finite value in repetition {first}: mend what gives "
                f"{found.values[first]}; a repetition may not be left out"
            )
        if found.draws is not None and np.isinf(found.draws).any():
            raise ValueError(f"claim {name}: draws of {other} are infinite: give NaN where one has no value")
        if (found.draws is None) != (values.draws is None):
            raise ValueError(
                f"claim {name}: {other} and the claim are not resampled alike: give both draws, or neither"
            )
    return others
