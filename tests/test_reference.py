"""The committed reference: all that is declared, by today's settings, nothing else, and small."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lib.experiment.paper import known_papers, load_paper
from lib.report.readme import parts_of_readme, scorecard_table
from lib.report.records import as_text, read_run
from lib.report.reference import LARGEST, LARGEST_FILE
from tests.paths import ROOT

RUN = "reference/demo-phantom"
FOLDER = f"figures/{RUN}"
KINDS = ({"png", "json"}, {"csv", "tex", "json"})


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", FOLDER], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / file for file in listed.stdout.split("\0") if file]


FILES = tracked()
PAPERS = {name: load_paper(ROOT / "notebooks" / name) for name in known_papers()}
PAPERS = {name: paper for name, paper in PAPERS.items() if "phantom" in paper.cohorts}
ITEMS = [(name, item) for name, paper in PAPERS.items() for item, i in paper.items.items() if "phantom" in i.cohorts]


def suffixes(paper: str, item: str) -> set[str]:
    return {path.suffix[1:] for path in FILES if path.parent.name == paper and path.stem == item}


def record(paper: str, item: str) -> dict:
    return json.loads((ROOT / FOLDER / paper / f"{item}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("paper", "item"), ITEMS, ids=lambda name: name)
class TestItem:
    def test_is_committed(self, paper, item):
        assert suffixes(paper, item) in KINDS

    def test_is_not_older_than_its_settings(self, paper, item):
        made = record(paper, item)
        assert (made["scale"], made["cohort"], made["seed"]) == ("demo", "phantom", 0)
        assert made["settings_sha256"] == PAPERS[paper].settings_digest("demo", "phantom")
        declared = json.loads(PAPERS[paper].items[item].model_dump_json())
        assert {key: made[key] for key in ("notebook", "shows", "published")} == {
            key: declared[key] for key in ("notebook", "shows", "published")
        }

    def test_a_picture_is_that_of_its_record(self, paper, item):
        if record(paper, item)["kind"] == "figure":
            with Image.open(ROOT / FOLDER / paper / f"{item}.png") as png:
                facts = json.loads(png.info["Description"])
            assert facts == {key: value for key, value in record(paper, item).items() if key in facts}


def test_the_records_behind_them_are_committed_and_nothing_else():
    items = {f"{name}/{item}.{suffix}" for name, item in ITEMS for suffix in suffixes(name, item)}
    claims = {f"{name}/claims/{claim}.json" for name, paper in PAPERS.items() for claim in paper.claims}
    done = {f"{name}/done/{notebook}.json" for name, paper in PAPERS.items() for notebook in paper.notebooks}
    of_repetitions = [path for path in FILES if path.suffix == ".npz"]
    records = {name: set(paper.records) for name, paper in PAPERS.items()}
    for path in of_repetitions:
        paper, _, notebook, number, label = path.relative_to(ROOT / FOLDER).with_suffix("").parts
        assert f"{notebook}/{label}" in records[paper]
        assert number.isdecimal()
    others = {path.relative_to(ROOT / FOLDER).as_posix() for path in FILES if path not in of_repetitions}
    assert others == items | claims | done


def test_all_together_is_small():
    sizes = [path.stat().st_size for path in FILES]
    assert sum(sizes) <= LARGEST
    assert max(sizes) <= LARGEST_FILE


def test_a_fresh_clone_shows_every_claim_and_notebook():
    records = read_run(RUN)
    assert [problem for of in records for problem in of.problems] == []
    assert {claim["verdict"] for of in records for claim in of.content["claims"]}.isdisjoint({"not run"})
    assert {notebook["status"] for of in records for notebook in of.content["notebooks"]} == {"done"}


def test_the_table_of_the_scorecard_has_the_values_of_the_records():
    (table,) = (path for path in FILES if path.name == "tab_scorecard.csv")
    shown = pd.read_csv(table).set_index(["paper", "claim"])
    for of in read_run(RUN):
        for claim in of.content["claims"]:
            row = shown.loc[(of.name, claim["name"])]
            assert row.verdict == claim["verdict"]
            expected = [float("nan") if claim[key] is None else claim[key] for key in ("value", "low", "high")]
            assert [row.ours, row.ours_low, row.ours_high] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_the_scorecard_has_every_claim_and_what_it_says():
    (table,) = (path for path in FILES if path.name == "tab_scorecard.csv")
    columns = ["paper", "claim", "says", "measured", "claimed"]
    shown = pd.read_csv(table, keep_default_na=False)[columns].astype(str).to_numpy().tolist()
    papers = ((name, paper) for name, paper in PAPERS.items() if not paper.closing)
    declared = [(name, claim, of) for name, paper in papers for claim, of in paper.claims.items()]
    assert shown == [[name, claim, of.says, of.value, as_text(of.claimed)] for name, claim, of in declared]


def test_the_readme_says_what_the_committed_records_say():
    _, shown, _ = parts_of_readme(ROOT / "README.md", RUN)
    assert shown == scorecard_table(RUN)


def test_the_pictures_of_the_readme_are_committed():
    shown = re.findall(rf"\(({FOLDER}/[^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert set(shown) <= {str(path.relative_to(ROOT)) for path in FILES}
