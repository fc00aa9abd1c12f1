"""What the repetitions of an experiment say of a claim, beside its nulls and controls.

A claim that something is there (`Effect`) is replicated where the whole 95 % interval lies on the claimed side, and
that of the paired difference from every null too. A claim that nothing is there (`Absence`) is replicated where the
whole interval lies inside a margin, and the same attack finds a leak of a tenth and leaves disjoint patients alone.
Repetitions that all give one value decide nothing: no training does that, but one that was repeated by mistake.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a paper.yaml, as every command does, takes no statistics
    from lib.statistics.repetitions import Estimate

VERDICTS = ("replicated", "contradicted", "inconclusive", "not discriminating", "not testable here", "pending")
REPETITIONS = 5  # fewer give values and no verdict
REPETITIONS_ALONE = 10  # of a claim without a generator: classifiers alone cost little
NONMEMBERS = 500  # fewer do not tell a false-positive rate of 1 %
LEAK = 0.1  # share of the members: what an attack must see before its silence counts
BY_CHANCE = 0.025  # of claims without an effect, how often the 95 % interval lies on the claimed side

_EFFECT = re.compile(r"([<>]) (-?[0-9]+(?:\.[0-9]+)?)")
_ABSENCE = re.compile(r"within ([0-9]+(?:\.[0-9]+)?) of (-?[0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True)
class Outcome:
    """A verdict, why it is none better, and its p value: the largest over the effect and its nulls."""

    verdict: str
    why: str = ""
    p: float | None = None  # of a contradiction: of the other side
    null: str = ""  # the one that decided: with the largest p value


@dataclass(frozen=True)
class Effect:
    """The quantity lies above or below `bound`, its value without an effect."""

    above: bool
    bound: float

    def outcome(self, of: "Estimate", *, against: Mapping[str, "Estimate"]) -> Outcome:
        """The verdict of an estimate; against: null -> the paired difference, the method's value minus the null's."""
        if _is_one_value(of):
            return Outcome("inconclusive", _ONE_VALUE)
        p, worst = self._p(of, self.bound), ""
        for null, difference in against.items():
            of_null = 1.0 if _is_one_value(difference) else self._p(difference, 0.0)
            if of_null > p:
                p, worst = of_null, null
        low, high = of.interval()
        if (high < self.bound) if self.above else (low > self.bound):
            other = Effect(not self.above, self.bound)
            return Outcome("contradicted", "the interval lies on the other side", other._p(of, self.bound))
        if not self._on_side(of, self.bound):
            return Outcome("inconclusive", self._power(of, against), p, worst)
        met = [
            null for null, difference in against.items()
            if _is_one_value(difference) or not self._on_side(difference, 0.0)
        ]  # fmt: skip
        if met:
            return Outcome("not discriminating", f"not set apart from {', '.join(met)}", p, worst)
        return Outcome("replicated", "", p, worst)

    @staticmethod
    def _power(of: "Estimate", against: Mapping[str, "Estimate"]) -> str:
        """What would be found, in the claim and beside every null, with a power of 80 % or more (Boole's bound)."""
        each = 1 - 0.2 / (1 + len(against))
        size = max(estimate.detectable(power=each) for estimate in (of, *against.values()))
        beside = " beside the nulls" if against else ""
        return f"an effect of {size:.2g}{beside} would be found with 80 % power"

    def _on_side(self, of: "Estimate", bound: float) -> bool:
        low, high = of.interval()
        return low > bound if self.above else high < bound

    def _p(self, of: "Estimate", bound: float) -> float:
        return of.p_above(bound) if self.above else of.p_below(bound)


@dataclass(frozen=True)
class Absence:
    """The quantity lies within `margin` of `centre`, its value where nothing leaks."""

    margin: float
    centre: float

    @property
    def ends(self) -> tuple[float, float]:
        """Between which the whole interval must lie."""
        return self.centre - self.margin, self.centre + self.margin

    def outcome(self, of: "Estimate", *, disjoint: "Estimate", leaks: Mapping[float, "Estimate"]) -> Outcome:
        """The verdict of an estimate; disjoint, leaks: the same attack on disjoint patients, and on sets that leak.

        leaks: share of the members that leak -> estimate, 1 of a generator that memorises. A leak is seen where the
        whole interval lies above the margin. Every one of a tenth or more has to be, the larger ones too: an attack
        may see few copies and be blind to many. ValueError without a leak of a tenth.
        """
        if LEAK not in leaks:
            raise ValueError(f"no leak of {LEAK:.0%} was tried: the silence of an attack counts only where it sees one")
        unseen = [share for share, found in leaks.items() if not found.interval()[0] > self.ends[1]]
        if any(share >= LEAK for share in unseen):
            seen = [share for share in sorted(leaks) if share > max(unseen)]
            above = f"sees leaks above {seen[0]:.0%}" if seen else f"does not see a leak of {max(leaks):.0%}"
            return Outcome("not testable here", above)
        if not self._inside(disjoint):
            return Outcome("not testable here", "disjoint patients are not inside the margin")
        if _is_one_value(of):
            return Outcome("inconclusive", _ONE_VALUE)
        lowest, highest = self.ends
        p = max(of.p_above(lowest), of.p_below(highest))
        if self._inside(of):
            leaks_less = of.interval()[0] > self.centre
            some = f"and yet the whole interval lies above {self.centre:g}: something leaks, inside the margin"
            return Outcome("replicated", some if leaks_less else "", p)
        if self._outside(of):
            other = min(of.p_below(lowest), of.p_above(highest))
            return Outcome("contradicted", "the interval lies outside the margin", other)
        return Outcome(
            "inconclusive", f"an excess of {self.margin + of.detectable():.2g} would be found with 80 % power", p
        )

    def _inside(self, of: "Estimate") -> bool:
        (low, high), (lowest, highest) = of.interval(), self.ends
        return lowest < low and high < highest

    def _outside(self, of: "Estimate") -> bool:
        (low, high), (lowest, highest) = of.interval(), self.ends
        return high < lowest or low > highest


def _is_one_value(of: "Estimate") -> bool:
    """Whether all repetitions gave the same value, but for rounding."""
    return of.error <= 1e-9 * max(1.0, abs(of.value))


_ONE_VALUE = "every repetition gave the same value: see whether each was trained anew"


def claimed(text: str) -> Effect | Absence:
    """What "> 0", "< 1" or "within 0.025 of 0.5" claims. ValueError for another text."""
    if found := _EFFECT.fullmatch(text):
        return Effect(found[1] == ">", float(found[2]))
    if found := _ABSENCE.fullmatch(text):
        return Absence(float(found[1]), float(found[2]))
    raise ValueError(f"claimed {text!r} is not of the form '> 0', '< 1' or 'within 0.025 of 0.5'")
