"""The scorecard: every claim and item of every paper as tables. Papers that close a run, as this does, are left out."""

from collections.abc import Sequence

import pandas as pd

from lib.experiment.paper import KINDS
from lib.report.records import VERDICTS, Records, as_text, by_chance

_STATES = ("made", "missing")


def claims(records: Sequence[Records]) -> pd.DataFrame:
    """One row a declared claim, in the papers' order.

    The columns are paper, claim, kind, says, published (text), ours, ours_low, ours_high (float, NaN where not
    evaluated), ratio, ratio_low, ratio_high (ours over the published number), claimed, verdict, p (the largest over
    effect and nulls; where contradicted, of the other side), p_holm (after Holm's correction over all claims that the
    paper states), survives Holm (replicated and contradicted ones: yes, no), null (which has the largest p), published
    inside (the 95 % prediction interval: yes, no), deviations (numbers of `deviations`), remark (why the verdict is
    none better; what its record is too old for), n, measured.
    """
    rows = []
    for paper in _papers(records):
        for claim in paper.content["claims"]:
            row = {"paper": paper.name, "claim": claim["name"], "kind": claim["kind"], "says": claim["says"]}
            row |= {"measured": claim["quantity"], "published": claim["published"], "ours": claim["value"]}
            row |= {"ours_low": claim["low"], "ours_high": claim["high"], "published inside": claim["within"]}
            row |= dict(zip(("ratio", "ratio_low", "ratio_high"), claim["ratio"], strict=False))
            row |= {"survives Holm": claim["survives"]}
            row |= {key: claim[key] for key in ("n", "claimed", "verdict", "p", "p_holm", "null", "deviations")}
            rows.append(row | {"remark": _remark(claim)})
    ours, ratio = ["ours", "ours_low", "ours_high"], ["ratio", "ratio_low", "ratio_high"]
    columns = [*"paper claim kind says published".split(), *ours, *ratio, *"claimed verdict p p_holm".split()]
    columns += ["survives Holm", "null", "published inside", *"deviations remark n measured".split()]
    numbers = dict.fromkeys((*ours, *ratio, "p", "p_holm"), float)
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def items(records: Sequence[Records]) -> pd.DataFrame:
    """One row a figure or table that is declared for this cohort.

    The columns are paper, item, shows, published, source of it, state (made or missing), n, remark, deviations.
    """
    rows = []
    for paper in _papers(records):
        for item in paper.content["items"]:
            row = {"paper": paper.name, "item": item["name"], "shows": item["shows"]}
            row |= {"published": as_text(item["given"]), "source": item["source"]}
            row |= {"state": _STATES[item["kind"] == "missing"], "n": item["n"], "remark": _remark(item)}
            rows.append(row | {"deviations": item["deviations"]})
    return pd.DataFrame(rows, columns="paper item shows published source state n remark deviations".split())


def deviations(records: Sequence[Records]) -> pd.DataFrame:
    """One row a deviation: paper, number (from 1, as the other tables cite it), where, what, why, bears on."""
    rows = []
    for paper in _papers(records):
        for number, deviation in enumerate(paper.content["deviations"], 1):
            row = {"paper": paper.name, "number": number, "where": deviation.where, "what": deviation.what}
            rows.append(row | {"why": deviation.why, "bears on": ", ".join(deviation.bears_on) or "the whole paper"})
    return pd.DataFrame(rows, columns="paper number where what why".split() + ["bears on"])


def counts(records: Sequence[Records], kind: str = "paper") -> pd.DataFrame:
    """One row a paper: the verdicts of its claims of this kind counted.

    The columns are paper, the verdicts, claims, with a published number, replicated by chance (how many of the effects
    with a verdict would be, were there none), items made, items, problems with its records, cite. Raises ValueError for
    an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r} of claims: choose one of {', '.join(KINDS)}")
    rows = []
    for paper in _papers(records):
        of_kind = [claim for claim in paper.content["claims"] if claim["kind"] == kind]
        evaluated = [claim["verdict"] for claim in of_kind]
        made = [item for item in paper.content["items"] if item["kind"] != "missing"]
        row = {"paper": paper.name, "cite": paper.content["cite"]} | {v: evaluated.count(v) for v in VERDICTS}
        row |= {"claims": len(of_kind), "with a published number": sum(c["given"] is not None for c in of_kind)}
        row |= {"replicated by chance": by_chance(of_kind)}
        row |= {"items made": len(made), "items": len(paper.content["items"])}
        rows.append(row | {"problems": len(paper.problems)})
    columns = ["paper", *VERDICTS, "claims", "with a published number", "replicated by chance"]
    return pd.DataFrame(rows, columns=[*columns, "items made", "items", "problems", "cite"])


def problems(records: Sequence[Records]) -> list[str]:
    """A sentence for each record that cannot be used."""
    return [f"{paper.name}: {problem}" for paper in _papers(records) for problem in paper.problems]


def _papers(records: Sequence[Records]) -> list[Records]:
    return [paper for paper in records if not (paper.paper and paper.paper.closing)]


def _remark(entry: dict) -> str:
    failed = "its notebook failed since" if entry["notebook"]["status"] == "failed" and entry["revision"] else ""
    why = entry.get("why") or ("" if entry["revision"] else f"made by {entry['notebook']['name']}")
    return "; ".join(text for text in (why.strip(), entry["stale"], failed) if text)
