"""The scorecard: every claim and item of every paper as tables. Papers that close a run, as this does, are left out."""

from collections.abc import Sequence

import pandas as pd

from lib.report.records import VERDICTS, Records, as_text

_STATES = ("made", "missing")


def claims(records: Sequence[Records]) -> pd.DataFrame:
    """One row a declared claim, in the papers' order.

    The columns are paper, claim, says, published (text), ours, ours_low, ours_high (float, NaN where not evaluated),
    threshold, verdict, deviations (numbers of `deviations`), remark (why not evaluated; what its record is too old
    for), n, measured.
    """
    rows = []
    for paper in _papers(records):
        for claim in paper.content["claims"]:
            row = {"paper": paper.name, "claim": claim["name"], "says": claim["says"], "measured": claim["quantity"]}
            row |= {"published": claim["published"], "ours": claim["value"], "ours_low": claim["low"]}
            row |= {
                "ours_high": claim["high"],
                "n": claim["n"],
                "threshold": claim["threshold"],
                "verdict": claim["verdict"],
            }
            rows.append(row | {"remark": _remark(claim), "deviations": claim["deviations"]})
    columns = (
        "paper claim says published ours ours_low ours_high threshold verdict deviations remark n measured".split()
    )
    return pd.DataFrame(rows, columns=columns).astype({"ours": float, "ours_low": float, "ours_high": float})


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


def counts(records: Sequence[Records]) -> pd.DataFrame:
    """One row a paper: each verdict counted, claims, items made, items, problems with its records; its citation."""
    rows = []
    for paper in _papers(records):
        evaluated = [claim["verdict"] for claim in paper.content["claims"]]
        made = [item for item in paper.content["items"] if item["kind"] != "missing"]
        row = {"paper": paper.name, "cite": paper.content["cite"]} | {v: evaluated.count(v) for v in VERDICTS}
        row |= {"claims": len(evaluated), "items made": len(made), "items": len(paper.content["items"])}
        rows.append(row | {"problems": len(paper.problems)})
    columns = ["paper", *VERDICTS, "claims", "items made", "items", "problems", "cite"]
    return pd.DataFrame(rows, columns=columns)


def problems(records: Sequence[Records]) -> list[str]:
    """A sentence for each record that cannot be used."""
    return [f"{paper.name}: {problem}" for paper in _papers(records) for problem in paper.problems]


def _papers(records: Sequence[Records]) -> list[Records]:
    return [paper for paper in records if not (paper.paper and paper.paper.closing)]


def _remark(entry: dict) -> str:
    failed = "its notebook failed since" if entry["notebook"]["status"] == "failed" and entry["revision"] else ""
    why = entry.get("why") or ("" if entry["revision"] else f"made by {entry['notebook']['name']}")
    return "; ".join(text for text in (why.strip(), entry["stale"], failed) if text)
