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
from lib.report.runs import parts_of
from tests.paths import ROOT

KINDS = ({"png", "json"}, {"csv", "tex", "json"})


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z", "figures/reference"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / file for file in listed.stdout.split("\0") if file]


class Reference:
    """A committed run, `tag`: its `files`, the papers of its scale and cohort, and the items that are committed.

    Of a study, which takes a night for each paper, the papers are those that are there.
    """

    def __init__(self, tag: str):
        self.tag, self.run, self.folder = tag, f"reference/{tag}", ROOT / "figures/reference" / tag
        self.scale, self.cohort, self.seed = parts_of(tag)
        self.files = [path for path in tracked() if path.is_relative_to(self.folder)]
        papers = {name: load_paper(ROOT / "notebooks" / name) for name in known_papers()}
        self.papers = {
            name: paper
            for name, paper in papers.items()
            if self.scale in paper.scales and self.cohort in paper.cohorts
            if self.scale != "study" or (self.folder / name).is_dir()
        }
        self.items = [
            (name, item)
            for name, paper in self.papers.items()
            for item, of in paper.items.items()
            if self.cohort in of.cohorts and not (of.images and self.cohort != "phantom")
        ]

    def suffixes(self, paper: str, item: str) -> set[str]:
        return {path.suffix[1:] for path in self.files if path.parent.name == paper and path.stem == item}

    def record(self, paper: str, item: str) -> dict:
        return json.loads((self.folder / paper / f"{item}.json").read_text(encoding="utf-8"))

    def table_of_claims(self) -> Path:
        (table,) = (path for path in self.files if path.name == "tab_scorecard.csv")
        return table


REFERENCES = {tag: Reference(tag) for tag in sorted({path.relative_to(ROOT).parts[2] for path in tracked()})}
ITEMS = [(tag, paper, item) for tag, of in REFERENCES.items() for paper, item in of.items]
each_run = pytest.mark.parametrize("of", REFERENCES.values(), ids=REFERENCES.keys())


def test_the_demo_of_phantoms_is_committed():
    assert "demo-phantom" in REFERENCES


@pytest.mark.parametrize(("tag", "paper", "item"), ITEMS, ids=lambda name: name)
class TestItem:
    def test_is_committed(self, tag, paper, item):
        assert REFERENCES[tag].suffixes(paper, item) in KINDS

    def test_is_not_older_than_its_settings(self, tag, paper, item):
        of = REFERENCES[tag]
        made, declared = of.record(paper, item), of.papers[paper]
        assert (made["scale"], made["cohort"], str(made["seed"])) == (of.scale, of.cohort, of.seed)
        assert made["settings_sha256"] == declared.settings_digest(of.scale, of.cohort)
        says = json.loads(declared.items[item].model_dump_json())
        keys = ("notebook", "shows", "published")
        assert {key: made[key] for key in keys} == {key: says[key] for key in keys}

    def test_a_picture_is_that_of_its_record(self, tag, paper, item):
        made = REFERENCES[tag].record(paper, item)
        if made["kind"] == "figure":
            with Image.open(REFERENCES[tag].folder / paper / f"{item}.png") as png:
                facts = json.loads(png.info["Description"])
            assert facts == {key: value for key, value in made.items() if key in facts}


@each_run
def test_the_records_behind_them_are_committed_and_nothing_else(of):
    items = {f"{name}/{item}.{suffix}" for name, item in of.items for suffix in of.suffixes(name, item)}
    claims = {f"{name}/claims/{claim}.json" for name, paper in of.papers.items() for claim in paper.claims}
    notebooks = [(name, of) for name, paper in of.papers.items() for of in paper.notebooks if paper.declares(of)]
    done = {f"{name}/done/{notebook}.json" for name, notebook in notebooks}
    of_repetitions = [path for path in of.files if path.suffix == ".npz"]
    for path in of_repetitions:
        paper, _, notebook, number, label = path.relative_to(of.folder).with_suffix("").parts
        assert f"{notebook}/{label}" in of.papers[paper].records
        assert number.isdecimal()
    others = {path.relative_to(of.folder).as_posix() for path in of.files if path not in of_repetitions}
    assert others == items | claims | done


@each_run
def test_all_together_is_small(of):
    sizes = [path.stat().st_size for path in of.files]
    assert sum(sizes) <= LARGEST
    assert max(sizes) <= LARGEST_FILE


@each_run
def test_a_fresh_clone_shows_every_claim_and_notebook(of):
    records = [records for records in read_run(of.run) if records.name in of.papers]
    assert [problem for of in records for problem in of.problems] == []
    assert {claim["verdict"] for of in records for claim in of.content["claims"]}.isdisjoint({"not run"})
    assert {notebook["status"] for of in records for notebook in of.content["notebooks"]} == {"done"}


@each_run
def test_the_table_of_the_scorecard_has_the_values_of_the_records(of):
    shown = pd.read_csv(of.table_of_claims()).set_index(["paper", "claim"])
    for records in (records for records in read_run(of.run) if records.name in of.papers):
        for claim in records.content["claims"]:
            row = shown.loc[(records.name, claim["name"])]
            assert row.verdict == claim["verdict"]
            expected = [float("nan") if claim[key] is None else claim[key] for key in ("value", "low", "high")]
            assert [row.ours, row.ours_low, row.ours_high] == pytest.approx(expected, rel=1e-12, nan_ok=True)


@each_run
def test_the_scorecard_has_every_claim_and_what_it_says(of):
    columns = ["paper", "claim", "says", "measured", "claimed"]
    table = pd.read_csv(of.table_of_claims(), keep_default_na=False)
    others = ~table.paper.isin(list(of.papers))  # of a study, papers that are not studied yet
    assert set(table.verdict[others]) <= {"not run"}
    shown = table[~others][columns].astype(str).to_numpy().tolist()
    papers = ((name, paper) for name, paper in of.papers.items() if not paper.closing)
    declared = [(name, claim, c) for name, paper in papers for claim, c in paper.claims.items()]
    assert shown == [[name, claim, c.says, c.value, as_text(c.claimed)] for name, claim, c in declared]


@each_run
def test_the_readme_says_what_the_committed_records_say(of):
    _, shown, _ = parts_of_readme(ROOT / "README.md", of.run)
    assert shown == scorecard_table(of.run)


def test_the_pictures_of_the_readme_are_committed():
    shown = re.findall(r"\((figures/reference/[^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown
    assert set(shown) <= {str(path.relative_to(ROOT)) for path in tracked()}
