"""What an audit says: a verdict in plain words from its numbers."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from scipy.stats import binomtest

from lib.audit.disguises import DECLARED
from lib.audit.same_patient import FLAGGED, POPULATION, SamePatient
from lib.cohorts.io.user_images import counted

CERTAIN = 0.001  # p, corrected for all tests, at or below which a single pair needs no other evidence
ANSWERS = ("leak flagged", "no copies found", "cannot tell")
LIMITS = (
    "It is no guarantee of privacy. Only a mechanism can give one, such as differential privacy.",
    "It looks for copies of whole images. Which disguises of a copy it would see, the table of disguises says; any "
    "other may escape. Copied parts of an image are not looked for.",
    "Whether synthetic images show training patients in other images than the given ones is asked only where they have "
    "several images, and of all of them together: images of a few may escape.",
    "Somebody who holds the generator, or knows more of a patient, can do more than compare images.",
    "Names burnt into pixels or left in file headers are not looked for.",
    "It holds for these images. Those that were left out, or not drawn, were not looked at.",
)
_REAL = {  # of what a synthetic image may be a copy, pixel by pixel
    "train": {"kind": "training", "so": "this is training data"},
    "heldout": {"kind": "held-out", "so": "this is an image of a real patient, whether trained on or not"},
}


class Verdict(NamedTuple):
    """Outcome of `verdict`."""

    answer: str  # one of `ANSWERS`
    because: tuple[str, ...]  # sentences

    def table(self) -> pd.DataFrame:
        """Verdict, reasons and limits, a row each."""
        rows = [("verdict", self.answer), *(("because", says) for says in self.because)]
        return pd.DataFrame(rows + [("not proved", says) for says in LIMITS], columns=["", "says"])

    def _repr_markdown_(self) -> str:
        lines = [f"## Verdict: {self.answer}", *(f"* {says}" for says in self.because)]
        return "\n".join([*lines, "", "**What this does not prove**", "", *(f"* {says}" for says in LIMITS)])


def verdict(
    *,
    pvalue: float,
    level: float,
    exact: Mapping[str, int],
    pairs: Mapping[str, int],
    certain: int,
    counts: Mapping[str, int],
    there: Mapping[str, int],
    doubles: Mapping[str, int],
    unseen: Mapping[str, float],
    injected: str,
    smallest_seen: float | None,
    population_pvalue: float,
    positive_control_flagged: bool,
    negative_control_flagged: bool,
    alarms: tuple[int, int],
    same_patient: SamePatient,
    has_heldout: bool = True,
    without_patient: int = 0,
) -> Verdict:
    """The verdict of an audit.

    pvalue: of the copy test, flagged at or below `level`. exact: synthetic images identical to an image of train, of
    heldout. pairs: matches with either that are flagged by themselves; certain: those at or below CERTAIN. counts:
    images of train, heldout and synthetic that were audited; there: that there are. doubles: real images merged with a
    near-double ("merged"), held-out ones left out for one among the training images ("trained on"). unseen: of the
    declared disguises, those of which `injected` copies ("2 %") were flagged in less than nine of ten runs, and the
    share of the runs. smallest_seen: the smallest share of copies in declared disguises that was flagged in nine of
    ten, None if even copies alone were not. population_pvalue: of training and held-out images being of one
    population. positive_control_flagged, negative_control_flagged: the controls. alarms: null splits that were flagged,
    of how many. same_patient: the test of the same patient. has_heldout: whether any real image is known not to have
    been trained on. without_patient: real images whose patient is not known.

    Identical images and single certain pairs make "leak flagged", whatever else; otherwise a failed control or sets
    that differ as groups, "cannot tell"; otherwise the flag decides, and without one, a declared disguise that would
    not be seen makes "cannot tell". Without held-out images a flag without a certain pair does too. A flag of the same
    patient makes "leak flagged" as well, unless the sides differ as groups; without one it changes no answer, since
    each answer but that one is about copies.
    """
    held = "{heldout:,} held-out and " if has_heldout else "no held-out and "
    n = ("{train:,} training, " + held + "{synthetic:,} synthetic images").format(**counts)
    is_exact, is_flagged = any(exact.values()), pvalue <= level
    says = [_identical(exact[name], counts["synthetic"], **facts) for name, facts in _REAL.items() if exact.get(name)]
    if is_flagged:
        says.append(
            f"Synthetic images match real images more closely than chance allows (p = {pvalue:.2g}, flagged at or "
            f"below {level:g}, {n}). {_alone(pairs['train'] + pairs['heldout'])}"
        )
    else:
        says.append(
            f"The synthetic images match real images no more closely than chance explains (p = {pvalue:.2g}, not "
            f"flagged above {level:g}, {n})."
        )
    if has_heldout and (pairs["heldout"] or exact["heldout"]):
        copied = max(pairs["heldout"], exact["heldout"])
        says.append(
            f"Copies of held-out images, as it seems: {counted(copied, 'synthetic image')}. So the held-out images "
            "seem to have been trained on, and cannot be the yardstick of this audit. Ask who made the split."
        )
    part = f"{counts['train']:,} of {there['train']:,} training images"
    if counts["train"] < there["train"]:
        says.append(f"Only {part} were looked at: of the rest, no copy would be seen.")
    if counts["synthetic"] < there["synthetic"]:
        some = f"{counts['synthetic']:,} of {there['synthetic']:,} synthetic images"
        says.append(f"Only {some} were looked at: the rest may hold copies.")
    if doubles["merged"]:
        says.append(
            f"Merged with a near-double, as of a file stored twice: {counted(doubles['merged'], 'real image')}."
        )
    if doubles["trained on"]:
        says.append(
            "Left out, since a near-double of an image of their patient is among the training images: "
            f"{counted(doubles['trained on'], 'held-out image')}."
        )
    doubts = _doubts(
        level, smallest_seen, population_pvalue, positive_control_flagged, negative_control_flagged, without_patient
    )
    if not has_heldout and is_flagged:
        doubts.append(
            "Without held-out images nobody can say how close a generator comes that copies nobody: give images of "
            "people of the same group who were not trained on."
        )
    elif not has_heldout:
        says.append(
            "Without held-out images only a synthetic image that stands out by itself is seen, and not that training "
            "images are too frequent among the closest ones."
        )
    splits = (
        f"Of {alarms[1]:,} null splits of your own real images {alarms[0]:,} {'was' if alarms[0] == 1 else 'were'} "
        f"flagged; at {level:g} about {level * alarms[1]:.2g} are expected."
    )
    if binomtest(alarms[0], alarms[1], level, alternative="greater").pvalue < 0.01:
        doubts.append(f"{splits} That is more than chance explains: flags are not to be trusted on these images.")
    else:
        says.append(splits)
    is_blind = bool(unseen) and not is_flagged
    if is_blind:
        least = ", ".join(f"{name} ({100 * share:.0f} % of runs)" for name, share in unseen.items())
        doubts.append(
            f"Were {injected} of the images copies in one of these disguises, they might not be seen: {least}. "
            "Give more images, of more patients."
        )
    elif smallest_seen is not None and not (is_exact or is_flagged):
        says.append(
            f"With these numbers {injected} of copies in any declared disguise ({', '.join(DECLARED)}) were flagged in "
            f"nine of ten trials, and {_percent(smallest_seen)} of copies in all of them mixed. Whether there are "
            "fewer, this audit cannot see."
        )
    says.append(same_patient.says)
    is_shown = same_patient.answer == FLAGGED and population_pvalue > POPULATION
    if certain and doubts:
        says.append(f"Certain by themselves, whatever is said against this audit below: {counted(certain, 'pair')}.")
    is_leak = is_exact or certain or is_shown or (is_flagged and not doubts)
    answer = ANSWERS[0] if is_leak else ANSWERS[2] if doubts else ANSWERS[1]
    return Verdict(answer, tuple(says + doubts))


def _doubts(
    level: float,
    smallest_seen: float | None,
    population_pvalue: float,
    positive_control_flagged: bool,
    negative_control_flagged: bool,
    without_patient: int,
) -> list[str]:
    """Why the flag, or its absence, may not be trusted, in sentences."""
    doubts = []
    if not positive_control_flagged:
        doubts.append("A set made of disguised copies of your training images was not flagged: this audit is blind.")
    if negative_control_flagged:
        doubts.append(
            "Held-out images, offered as synthetic, were flagged: they resemble real images as copies do. Look for "
            "the same patient, or the same image, under two names."
        )
    if smallest_seen is None:
        doubts.append("Even a set of copies alone was not flagged in nine of ten trials: give more images.")
    if population_pvalue <= POPULATION:
        why = (
            f"Training and held-out images keep to their own side (p = {population_pvalue:.2g}): they are not random "
            "parts of one group of patients, so a flag may show that difference instead of a leak, or hide one."
        )
        if without_patient:
            why += (
                f" Or images whose patient is not known ({without_patient:,}) are of the same patients: name them, by "
                "--patients or --patient-from."
            )
        doubts.append(why)
    return doubts


def _identical(count: int, n: int, *, kind: str, so: str) -> str:
    if count == n:
        return f"Every synthetic image is identical to a {kind} image: {so}. Do not share it."
    which = "image is" if n == 1 else "images is" if count == 1 else "images are"
    return f"{count:,} of {n:,} synthetic {which} identical to a {kind} image: {so}."


def _alone(flagged_pairs: int) -> str:
    if flagged_pairs == 0:
        return "No match is too close by itself; look at the first of the ranked pairs."
    if flagged_pairs == 1:
        return "1 match is too close by itself; look at this pair first."
    return f"{flagged_pairs:,} matches are too close by themselves; look at these pairs first."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "100 %"
