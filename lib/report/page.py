"""The result page: every declared figure, table and claim of a run, made or missing, in one HTML file.

Reads what `Run` and the runner left (`lib.report.runs` says where) and computes no result. A piece that is
missing or damaged is named on the page; it never stops the page.
"""

import os
import re
import subprocess
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.core.files import atomic
from lib.report.notebook_html import write_copies
from lib.report.records import STAGES, VERDICTS, Records, by_chance, chance, duration, moment, read_run
from lib.report.runs import find_run, parts_of
from lib.report.templates import environment


def write_page(run: str) -> Path:
    """Write index.html for all papers among a run's figures, and beside it a readable copy of each executed notebook.

    run: its tag, or reference/TAG for the committed one. Returns the page's path. ValueError for a run that is not
    there, OSError, naming the page, where it cannot be written.
    """
    folders, records = find_run(run), read_run(run)
    try:
        with ProcessPoolExecutor(min(len(records), os.cpu_count() or 1)) as pool:
            records = list(pool.map(_with_copies, records))
    except BrokenExecutor:  # a process was killed, for memory most likely: one at a time
        records = [_with_copies(record) for record in records]
    scale, cohort, seed = parts_of(folders.tag)
    papers = [record.content for record in records]
    revisions = _newest_first([made for record in records for made in record.made])
    facts: dict[str, Any] = {
        "run": str(folders),
        "scale": scale,
        "cohort": cohort,
        "seed": seed,
        "date": moment(datetime.now().isoformat()),
    }
    facts |= {"papers": papers, "total": _total(papers), "cost": {paper["name"]: _cost([paper]) for paper in papers}}
    facts["chance"] = chance(by_chance([claim for claim in facts["total"]["claims"] if claim["kind"] == "paper"]))
    arithmetic = sorted(set().union(*(record.arithmetic for record in records)))
    template = environment().get_template("page.html")
    html = template.render(facts, revisions=revisions, arithmetic=arithmetic, verdicts=VERDICTS, stages=STAGES)
    page = folders.page / "index.html"
    with atomic(page) as path:
        path.write_text(html, encoding="utf-8")
    return page


def _with_copies(records: Records) -> Records:
    write_copies(records, environment().get_template("notebook.html"))
    return records


def _total(papers: list[dict]) -> dict:
    """All papers as one, for the last row of the scorecard."""
    whole = {part: [entry for paper in papers for entry in paper[part]] for part in ("items", "claims", "notebooks")}
    whole["problems"] = [problem for paper in papers for problem in paper["problems"]]
    return whole | _cost(papers)


def _cost(papers: list[dict]) -> dict:
    """Time of all notebooks together, and the memory of the largest; empty where none was run."""
    done = [notebook for paper in papers for notebook in paper["notebooks"] if notebook["status"] == "done"]
    if not done:
        return {"time": "", "memory": ""}
    seconds = sum(notebook["seconds"] for notebook in done)
    return {"time": duration(seconds), "memory": f"{max(notebook['megabytes'] for notebook in done):,.0f} MB"}


def _newest_first(made: list[tuple[str, float]]) -> list[str]:
    """Revisions by the time of their commit where git knows them all, otherwise of their newest file.

    A revision with a + was made from files changed after that commit, hence is newer than the commit itself.
    """
    order: dict[str, float] = {}
    for revision, time in made:
        order[revision] = max(time, order.get(revision, 0.0))
    commits = [revision.removesuffix("+") for revision in order]
    if len(order) > 1 and all(re.fullmatch("[0-9a-f]{4,40}", commit) for commit in commits):
        git = ["git", "-C", str(Path(__file__).parent), "log", "--no-walk=unsorted", "--format=%ct"]
        try:
            times = [subprocess.run([*git, c], capture_output=True, text=True).stdout for c in commits]
        except OSError:  # no git: the times of the files stand
            times = [""]
        order = dict(zip(order, map(float, times), strict=True)) if all(times) else order
    return sorted(order, key=lambda revision: (order[revision], revision.endswith("+")), reverse=True)
