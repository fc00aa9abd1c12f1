"""What an audit says: a verdict in plain words from its numbers, and a page that a data steward can open."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from lib.core.files import atomic

ANSWERS = ("leak flagged", "no copies found", "cannot tell")
LIMITS = (
    "It is no guarantee of privacy. Only a mechanism can give one, such as differential privacy.",
    "It looks for copies of whole images. Copies that were shifted, turned or enlarged escape more easily: the table "
    "of disguises says how often. Copied parts of an image are not looked for.",
    "Somebody who holds the generator, or knows more of a patient, can do more than compare images.",
    "Names burnt into pixels or left in file headers are not looked for.",
    "It holds for these images. Those that were left out, or not drawn, were not looked at.",
)
_REAL = {  # of what a synthetic image may be a copy, pixel by pixel
    "train": {"kind": "training", "so": "this is training data"},
    "heldout": {"kind": "held-out", "so": "this is an image of a real patient, whether trained on or not"},
}
# A browser runs no script and loads nothing but the pictures in the page, whatever a name in a table contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:auto;
padding:1rem}h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}.answer{font-size:1.3rem;font-weight:700;
padding:.6rem 1rem;
border:3px solid;border-radius:.4rem}img{max-width:100%;background:#fff}figure{margin:0}div.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem}th,td{padding:.2rem .5rem;border-bottom:1px solid #8888;
text-align:left}"""


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
    flagged_pairs: int,
    counts: Mapping[str, int],
    there: Mapping[str, int],
    smallest_seen: float | None,
    population_pvalue: float,
    positive_control_flagged: bool,
    negative_control_flagged: bool,
    alarms: tuple[int, int],
) -> Verdict:
    """The verdict of an audit.

    pvalue: of the copy test, flagged at or below `level`. exact: synthetic images identical to an image of train, of
    heldout. flagged_pairs: matches that are flagged by themselves. counts: images of train, heldout and synthetic that
    were audited; there: that there are. smallest_seen: the smallest injected share that was flagged in nine of ten
    trials, None if even copies alone were not. population_pvalue: of training and held-out images being of one
    population. positive_control_flagged, negative_control_flagged: the controls. alarms: null splits that were flagged,
    of how many.

    Images identical to real ones make "leak flagged", whatever else; otherwise a failed control, sets that differ as
    groups, or too few images for any leak to be seen, "cannot tell"; otherwise the flag decides.
    """
    n = "{train:,} training, {heldout:,} held-out and {synthetic:,} synthetic images".format(**counts)
    is_exact, is_flagged = any(exact.values()), pvalue <= level
    says = [_identical(exact[name], counts["synthetic"], **facts) for name, facts in _REAL.items() if exact[name]]
    if is_flagged:
        says.append(
            f"Synthetic images match training images more closely than chance allows (p = {pvalue:.2g}, flagged at or "
            f"below {level:g}, {n}). {_alone(flagged_pairs)}"
        )
    else:
        says.append(
            f"The synthetic images match training images no more closely than chance explains (p = {pvalue:.2g}, not "
            f"flagged above {level:g}, {n})."
        )
    part = f"{counts['train']:,} of {there['train']:,} training images"
    if counts["train"] < there["train"]:
        says.append(f"Only {part} were looked at: of the rest, no copy would be seen.")
    if counts["synthetic"] < there["synthetic"]:
        some = f"{counts['synthetic']:,} of {there['synthetic']:,} synthetic images"
        says.append(f"Only {some} were looked at: the rest may hold copies.")
    doubts = []
    if not positive_control_flagged:
        doubts.append("A set made of disguised copies of your training images was not flagged: this audit is blind.")
    if negative_control_flagged:
        doubts.append(
            "Held-out images, offered as synthetic, were flagged: they resemble training images as copies do. Look for "
            "the same patient, or the same image, under two names."
        )
    if smallest_seen is None:
        doubts.append("Even a set of copies alone was not flagged in nine of ten trials: give more images.")
    elif not (is_exact or is_flagged):
        drawn = f", copies of the {part} that were looked at," if counts["train"] < there["train"] else ","
        says.append(
            f"With these numbers a leak of {_percent(smallest_seen)} of the synthetic images or more{drawn} injected "
            "in your own set, was flagged in nine of ten trials. Whether there is a smaller one, this audit cannot see."
        )
    splits = (
        f"Of {alarms[1]:,} null splits of your own real images {alarms[0]:,} {'was' if alarms[0] == 1 else 'were'} "
        f"flagged; at {level:g} about {level * alarms[1]:.2g} are expected."
    )
    if binomtest(alarms[0], alarms[1], level, alternative="greater").pvalue < 0.01:
        doubts.append(f"{splits} That is more than chance explains: flags are not to be trusted on these images.")
    else:
        says.append(splits)
    if population_pvalue <= 0.01:
        doubts.append(
            f"Training and held-out images differ as groups (p = {population_pvalue:.2g}): the held-out images are not "
            "a random part of the same patients, so a flag may show that difference instead of a leak, or hide one."
        )
    answer = ANSWERS[0] if is_exact else ANSWERS[2] if doubts else ANSWERS[0] if is_flagged else ANSWERS[1]
    return Verdict(answer, tuple(says + doubts))


def write_report(
    path: str | Path, *, title: str, facts: str, verdict: Verdict, sections: Sequence[tuple[str, Figure | pd.DataFrame]]
) -> Path:
    """Write a self-contained HTML file: the verdict, its limits, then each heading with its figure or table."""
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(facts)}</p><p class=answer>{html.escape(verdict.answer)}</p>"
    ]
    parts += [_list(verdict.because), "<h2>What this does not prove</h2>", _list(LIMITS)]
    for heading, shown in sections:
        body = (
            _picture(shown, heading) if isinstance(shown, Figure) else shown.to_html(index=False, border=0, na_rep="")
        )
        parts.append(f"<h2>{html.escape(heading)}</h2><div class=wide>{body}</div>")
    head = '<!doctype html><html lang="en"><meta charset="utf-8">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{html.escape(title)}</title>'
    head += f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    with atomic(path) as partial:
        partial.write_text(head + "".join(parts), encoding="utf-8")
    return Path(path)


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(says)}</li>" for says in sentences) + "</ul>"


def _picture(figure: Figure, heading: str) -> str:
    stored = io.BytesIO()
    figure.savefig(stored, format="png", dpi=160)
    data = base64.b64encode(stored.getvalue()).decode()
    return f'<figure><img alt="{html.escape(heading)}" src="data:image/png;base64,{data}"></figure>'


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
