"""The scorecard of the README, between two marker comments: verdicts of the papers' claims, and the code behind."""

import collections
from pathlib import Path

import pandas as pd

from lib.core.files import atomic, is_partial
from lib.core.json_objects import read_object
from lib.report.records import DAMAGE, VERDICTS, chance, what
from lib.report.runs import RunFolders, find_run, parts_of

_START, _END = "<!-- scorecard: python -m lib.report {run} --readme -->", "<!-- /scorecard -->"


def scorecard_table(run: str) -> str:
    """Markdown: one row a paper that has claims of its own, one column a verdict, from the table tab_counts of `run`.

    Papers of which it made nothing, as a study of one paper, are named below the table and not counted in it.
    FileNotFoundError where the scorecard's notebook did not run, ValueError for a damaged table or record.
    """
    folders = find_run(run)
    found = sorted(folders.page.glob("*/tab_counts.csv"))
    if not found:
        raise FileNotFoundError(f"{run} has no tab_counts.csv: run ./run_all.sh, which ends with the scorecard")
    try:
        return _table(folders, pd.read_csv(found[0]))
    except DAMAGE as error:
        raise ValueError(f"a table or record of {run} is damaged, run the scorecard again ({what(error)})") from error


def _table(folders: RunFolders, counts: pd.DataFrame) -> str:
    counts = counts[counts.claims > 0]
    is_missing = (counts["items made"] == 0) & (counts["not run"] == counts.claims)
    missing, counts = counts[is_missing], counts[~is_missing]
    shown = [verdict for verdict in VERDICTS if counts[verdict].sum() or verdict != "not run"]
    headings = [f"{VERDICTS[verdict][0]} {verdict}" for verdict in shown]
    lines = [
        " | ".join(["", "", *headings, "with a published number", "figures and tables"]),
        "|".join(["---", "---", *["--:"] * (len(shown) + 2)]),
    ]
    for row in counts.to_dict("records"):
        name = f"[{row['paper'].split('_')[0]}](notebooks/{row['paper']}/paper.yaml)"
        numbers = [f"{row[verdict]}" if row[verdict] else "" for verdict in shown]
        given, made = f"{row['with a published number']} of {row['claims']}", f"{row['items made']} of {row['items']}"
        lines.append(" | ".join([name, row["cite"].split(";")[0], *numbers, given, made]))
    sums = [f"{counts[verdict].sum()}" for verdict in shown]
    given = f"{counts['with a published number'].sum()} of {counts.claims.sum()}"
    whole = f"{counts['items made'].sum()} of {counts['items'].sum()}"
    lines.append(" | ".join(["", f"**{counts.claims.sum()} claims**", *sums, given, whole]))
    table = "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)
    made = f"Run `{folders.tag}`, seed {parts_of(folders.tag)[2]}; {_revisions(folders.page)}."
    absent = f"Not run: {', '.join(name.split('_')[0] for name in missing.paper)}." if len(missing) else ""
    sentences = [_contradicted(folders), chance(counts["replicated by chance"].sum()), made, absent]
    return f"{table}\n\n{' '.join(filter(None, sentences))}"


def _contradicted(folders: RunFolders) -> str:
    """Names what the table does not count and the run contradicts: a copying generator is not to be read past."""
    found = []
    for path in sorted(folders.records.glob("*/claims/*.json")):
        record = read_object(path)
        if record["kind"] != "paper" and record["verdict"] == "contradicted":
            found.append(f"{path.parts[-3].split('_')[0]} {record['claim']} ({record['says']})")
    return f"Contradicted, of preconditions and our own claims: {'; '.join(found)}." if found else ""


def _revisions(page: Path) -> str:
    """The code that the figures and tables of a run are stamped with, most of them first."""
    paths = (path for path in page.glob("*/*.json") if not is_partial(path))
    records = (read_object(path) for path in paths)
    stamped = collections.Counter(record["revision"] for record in records)
    made = [f"{revision} ({count})" for revision, count in stamped.most_common()]
    return f"code of its {stamped.total()} figures and tables: {', '.join(made)}"


def write_readme(path: Path, run: str) -> None:
    """Put the scorecard of `run` between the markers of the README at `path`. ValueError where it has none."""
    before, _, after = parts_of_readme(path, run)
    table = scorecard_table(run)
    with atomic(path) as partial:
        partial.write_text(f"{before}\n{table}\n{after}", encoding="utf-8")


def parts_of_readme(path: Path, run: str) -> tuple[str, str, str]:
    """The README up to its first marker, what stands between them, and the rest. ValueError where it has none."""
    text, start = path.read_text(encoding="utf-8"), _START.format(run=run)
    head, begun, rest = text.partition(start)
    between, ended, tail = rest.partition(_END)
    if not ended or start in tail or _START.partition("{run}")[0] in between:
        raise ValueError(f"{path.name} needs the lines {start} and {_END}, the first once, the other after it")
    return head + begun, between.strip("\n"), ended + tail
