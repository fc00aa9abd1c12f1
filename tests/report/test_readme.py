"""The README shows the counts of the scorecard."""

import json

import pandas as pd
import pytest

from lib.experiment.run import Run
from lib.report import scorecard
from lib.report.__main__ import main
from lib.report.readme import parts_of_readme, scorecard_table
from lib.report.records import VERDICTS, read_run
from lib.report.runs import find_run


def test_the_readme_shows_the_counts(suite, monkeypatch, capsys):
    counts = scorecard.counts(read_run("demo-phantom"))
    Run("08_card", "demo", "phantom", 0).table("tab_counts", counts, n=5)
    readme = suite / "README.md"
    readme.write_text(
        "# A\n<!-- scorecard: python -m lib.report demo-phantom --readme -->\nold\n<!-- /scorecard -->\nZ\n"
    )
    monkeypatch.setattr("sys.argv", ["report", "demo-phantom", "--readme"])
    assert main() == 0
    assert readme.read_text().startswith("# A\n<!-- scorecard")
    assert readme.read_text().endswith("-->\nZ\n")
    _, shown, _ = parts_of_readme(readme, "demo-phantom")
    assert shown == scorecard_table("demo-phantom")
    row = "| [01](notebooks/01_first/paper.yaml) | Nobody 2020, arXiv 2001.00001 "
    row += "| 1 | 1 | 1 |  | 1 |  | 1 | 1 of 5 | 2 of 3 |"
    assert row in shown
    assert "02_second" not in shown
    assert (
        "\n\nOf the 3 effects with a verdict at most 0.075 would be replicated by chance, were there none. Run `"
        in shown
    )
    assert " Run `demo-phantom`, seed 0; " in shown
    revisions = [json.loads(path.read_text())["revision"] for path in suite.glob("figures/demo-phantom/*/*.json")]
    assert len(set(revisions)) > 1
    assert f"code of its {len(revisions)} figures and tables: " in shown
    assert all(f"{revision} ({revisions.count(revision)})" in shown for revision in revisions)
    other = "<!-- scorecard: python -m lib.report reference/study-phantom --readme -->\nits own\n<!-- /scorecard -->\n"
    before = readme.read_text()
    for text in (other + before, before + other):  # a table of another run stays as it is
        readme.write_text(text)
        assert main() == 0
        assert readme.read_text() == text
    for text in ("# A\n", before.replace("<!-- /scorecard -->", ""), before + before):
        readme.write_text(text)
        assert main() == 1
        assert "README.md needs the lines" in capsys.readouterr().err


def test_nothing_is_said_of_chance_where_no_claim_has_a_verdict(suite):
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text().replace("kind: paper", "kind: own"))
    Run("08_card", "demo", "phantom", 0).table("tab_counts", scorecard.counts(read_run("demo-phantom")), n=5)
    assert "\n\nRun `demo-phantom`, seed 0; " in (shown := scorecard_table("demo-phantom"))
    assert "chance" not in shown


def test_a_paper_of_which_nothing_was_made_is_named_and_not_counted(suite):
    counts = scorecard.counts(read_run("demo-phantom"))
    another = counts[counts.claims > 0].iloc[:1].copy()
    verdicts = [*VERDICTS, "with a published number", "items made", "replicated by chance"]
    another[verdicts] = 0
    another["paper"], another["not run"] = "07_another", another.claims
    Run("08_card", "demo", "phantom", 0).table("tab_counts", pd.concat([counts, another]), n=5)
    assert "**5 claims**" in (shown := scorecard_table("demo-phantom"))
    assert "07_another" not in shown
    assert shown.endswith(" Not run: 07.")


def test_what_the_table_does_not_count_is_named_where_it_is_contradicted(suite):
    Run("08_card", "demo", "phantom", 0).table("tab_counts", scorecard.counts(read_run("demo-phantom")), n=5)
    assert "Contradicted, of" not in scorecard_table("demo-phantom")
    record = find_run("demo-phantom").claims("01_first") / "P1.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"verdict": "contradicted", "kind": "own"}))
    shown = scorecard_table("demo-phantom")
    assert "Contradicted, of preconditions and our own claims: 01 P1 (six). " in shown
    record.write_text(json.dumps(content | {"verdict": "contradicted", "kind": "paper"}))
    assert "Contradicted, of" not in scorecard_table("demo-phantom")


@pytest.mark.parametrize(
    ("file", "content"),
    [("tab_counts.csv", ""), ("tab_counts.csv", "paper\n1\n"), ("tab_counts.json", "[]"), ("tab_counts.json", "null")],
)
def test_a_damaged_table_is_one_sentence_and_the_readme_stays(finished, monkeypatch, capsys, file, content):
    readme = finished / "README.md"
    readme.write_text("<!-- scorecard: python -m lib.report demo-phantom --readme -->\n<!-- /scorecard -->\n")
    before = readme.read_text()
    (finished / "figures/demo-phantom/08_card" / file).write_text(content)
    monkeypatch.setattr("sys.argv", ["report", "demo-phantom", "--readme"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("a table or record of demo-phantom is damaged, run the scorecard again (")
    assert readme.read_text() == before
