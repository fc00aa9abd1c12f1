"""A claim by its values in every repetition: its numbers, and the verdict on them."""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.experiment.paper import Claim
from lib.experiment.verdict import REPETITIONS, Absence, Effect, Outcome, claimed
from lib.statistics.repetitions import Repeated, prediction_interval


def evaluate(
    name: str,
    claim: Claim,
    values: Repeated,
    *,
    nulls: Mapping[str, Repeated] = {},  # of an effect: each that paper.yaml declares
    disjoint: Repeated | None = None,  # of an absence: the same attack on disjoint patients
    leaks: Mapping[float, Repeated] = {},  # and on sets that leak: share of the members -> values
    shortfalls: Sequence[str] = (),  # of a claim about a generator: why it does not pass the gate
    is_smoke: bool,
) -> tuple[dict[str, Any], Outcome]:
    """What is recorded of the claim `name`, and its verdict (lib.experiment.verdict says how that is found).

    Recorded are the value (mean over repetitions), its 95 % interval and the sources of variation in it, the 95 %
    prediction interval of one more repetition, the values of every repetition, of the claim and of each null or
    control, and the paired difference from each null with its interval. Raises ValueError for nulls other than those
    declared, an absence without its controls, and values of another number of repetitions.
    """
    of = claimed(claim.claimed)
    if isinstance(of, Effect) and set(nulls) != set(claim.nulls):
        raise ValueError(
            f"claim {name}: nulls {sorted(nulls)} are given, and paper.yaml declares {sorted(claim.nulls)}"
        )
    if isinstance(of, Absence) and (disjoint is None or not leaks):
        raise ValueError(f"claim {name}: that nothing leaks needs the attack on disjoint patients and on leaks")
    others = dict(nulls) | ({} if disjoint is None else {"disjoint patients": disjoint})
    others |= {f"leak of {share:.0%}": found for share, found in leaks.items()}
    for other, found in others.items():
        if len(found) != len(values):
            raise ValueError(
                f"claim {name}: {other} has {len(found)} repetitions, the claim {len(values)}: measure both in each"
            )
    facts: dict[str, Any] = {"value": float(values.values.mean()), "interval": None}
    facts |= {"n": f"{len(values)} repetition{'s' * (len(values) != 1)}", "repetitions": values.values.tolist()}
    facts |= {"others": {other: found.values.tolist() for other, found in others.items()}}
    if is_smoke:
        return facts, Outcome("not testable here", "a smoke run proves the wiring only")
    if len(values) > 1:
        estimate = values.estimate()
        facts |= {"interval": list(estimate.interval()), "sources": list(estimate.sources)}
        facts |= {"prediction": list(prediction_interval(values.values))}
    if len(values) < REPETITIONS:
        return facts, Outcome("pending", f"a verdict needs {REPETITIONS} repetitions")
    if claim.generator and shortfalls:
        return facts, Outcome("not testable here", f"the generator is not faithful: {'; '.join(shortfalls)}")
    if isinstance(of, Effect):
        differences = {null: (values - found).estimate() for null, found in nulls.items()}
        facts["differences"] = {null: [d.value, *d.interval()] for null, d in differences.items()}
        return facts, of.outcome(estimate, against=differences)
    sees = {share: found.estimate() for share, found in leaks.items()}
    return facts, of.outcome(estimate, disjoint=others["disjoint patients"].estimate(), leaks=sees)
