"""The result page: all that is declared is on it, what is missing or damaged is named, and nothing leaves the file."""

import base64
import json
import os
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lib.experiment.run import Run
from lib.report import scorecard
from lib.report.__main__ import main
from lib.report.page import write_page
from lib.report.readme import parts_of_readme, scorecard_table
from lib.report.records import VERDICTS, as_text, read_run, rounded

NASTY = "<script>alert('x')</script> & \"quotes\""
PAPERS = {
    "01_first": f"""\
title: The first paper
cite: Nobody 2020, arXiv 2001.00001
cohorts: {{phantom: mass, public: nih_cxr14}}
notebooks: {{01_train: [], 04_privacy_pairs: [01_train], 05_utility: [01_train]}}
items:
  fig1_samples: {{notebook: 01_train, shows: {json.dumps(NASTY)}, published: null}}
  fig2_pairs: {{notebook: 04_privacy_pairs, shows: pairs, published: {{min: 1.5}}, source: figure 2}}
  tab1_scores: {{notebook: 05_utility, shows: scores, published: {{real: {{auroc: 0.8, f1: 0.7}}}}, source: table 1}}
claims:
  C1: {{says: one, notebook: 05_utility, value: gain, threshold: ">= 0.1", published: 0.25}}
  C2: {{says: two, notebook: 05_utility, value: gain, threshold: ">= 0.1"}}
  C3: {{says: three, notebook: 05_utility, value: {json.dumps(NASTY)}, threshold: ">= 0.1"}}
  C4: {{says: four, notebook: 04_privacy_pairs, value: gain, threshold: ">= 0.1"}}
  C5: {{says: five, notebook: 04_privacy_pairs, value: gain, threshold: ">= 0.1"}}
deviations:
  - {{where: section 2, what: {json.dumps(NASTY)}, why: a reason}}
  - {{where: section 3, what: smaller, why: time, bears_on: [05_utility]}}
""",
    "08_card": """\
title: The scorecard
cite: all of them
cohorts: {phantom: null, public: null}
closing: true
notebooks: {01_scorecard: []}
items:
  tab_counts: {notebook: 01_scorecard, shows: counts, published: null}
""",
    "02_second": """\
title: The second paper
cite: Somebody 2021
cohorts: {phantom: chest}
notebooks: {02_fidelity: []}
items:
  fig9: {notebook: 02_fidelity, shows: nothing yet, published: [1, -2], source: text}
""",
}
VOID = {"meta", "link", "img", "input", "br"}
OUTPUTS = {
    "text/plain": "a table",
    "text/html": "<table><tr><td>0.5</td></tr></table><script src='https://elsewhere.org/x.js'></script>",
    "image/png": base64.b64encode(b"\x89PNG").decode(),
}


def executed_notebook() -> str:
    """What papermill leaves: text, code, a picture, and an output that wants a script from afar."""
    outputs = [
        {"output_type": "execute_result", "data": {kind: data}, "metadata": {}, "execution_count": 1}
        for kind, data in OUTPUTS.items()
    ]
    text = {"cell_type": "markdown", "metadata": {}, "source": "# A title\n\n*words*", "id": "a"}
    code = {"cell_type": "code", "metadata": {}, "source": "a < b", "outputs": outputs, "execution_count": 1, "id": "b"}
    return json.dumps({"cells": [text, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Page(HTMLParser):
    """Tags with attributes and text; `parts` holds the text below each element with an id."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.parts, self.folder = [], [], {}, path.parent
        self.feed(path.read_text(encoding="utf-8"))
        self.parts = {part: " ".join(text.split()) for part, text in self.parts.items()}
        self.text = self.parts[None]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes.get("id")))

        self.handle_data(" ")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
        self.handle_data(" ")

    def handle_data(self, data):
        if not {"style", "script"} & {tag for tag, _ in self.open}:
            for part in {None} | {part for _, part in self.open}:
                self.parts[part] = self.parts.get(part, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def fabricate(root, tag="demo-phantom"):
    """A run in which 01_train is done, 04 left a figure and failed, and 05 is done; the second paper was not run."""
    for name, text in PAPERS.items():
        folder = root / "notebooks" / name
        folder.mkdir(parents=True)
        (folder / "paper.yaml").write_text(text)
        for notebook in ("01_train", "04_privacy_pairs", "05_utility", "02_fidelity", "01_scorecard"):
            (folder / f"{notebook}.ipynb").write_text("{}")
    scale, cohort = tag.split("-")
    run = Run("01_first", scale, cohort, 0)
    figure, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, 1])
    plt.close(figure)
    run.figure("fig2_pairs", figure, n=600)
    frame = pd.DataFrame(
        {"condition": ["real", NASTY], "auroc": [0.75, 0.5], "auroc_low": [0.7, 0.4], "auroc_high": [0.8, 0.6]}
    )
    run.table("tab1_scores", frame, n="402 of 118 patients")
    run.claim("C1", value=0.2, interval=(0.15, 0.25), n="5 seeds")
    run.claim("C2", value=0.002, interval=(-0.004, 0.0081), n="5 seeds")
    run.claim("C3", value=-1234.5, interval=(-2000, -1000), n="5 seeds")
    run.untestable("C4", f"because {NASTY}")
    executed = root / "data" / "runs" / tag / "executed" / "01_first"
    executed.mkdir(parents=True)
    for notebook, seconds in (("01_train", 192.4), ("05_utility", 7.26)):
        done = {"notebook": notebook, "seconds": seconds, "peak_memory_mb": 1422.4, "revision": "abc1234"}
        run.path(f"{notebook}/done.json").write_text(json.dumps(done | {"finished_at": "2026-11-21T12:14:09+00:00"}))
        (executed / f"{notebook}.ipynb").write_text(executed_notebook())
    error = {"output_type": "error", "ename": "ValueError", "evalue": NASTY}
    failed = json.loads(executed_notebook())
    failed["cells"][1]["outputs"] = [error | {"traceback": ["a trace"]}]
    (executed / "04_privacy_pairs.failed.ipynb").write_text(json.dumps(failed))


@pytest.fixture(scope="module")
def fabricated(tmp_path_factory):
    root = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_ROOT", str(root))
        patch.setattr("lib.experiment.run.revision", lambda: "abc1234")
        fabricate(root)
    return root


@pytest.fixture
def suite(fabricated, tmp_path, monkeypatch):
    shutil.copytree(fabricated, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def page(suite):
    return Page(write_page("demo-phantom"))


def test_every_declared_item_is_there_and_a_missing_one_names_its_notebook(page):
    items = ("01_first--fig1_samples", "01_first--fig2_pairs", "01_first--tab1_scores", "02_second--fig9")
    missing = {item: "Missing. Notebook" in page.parts[item] for item in items}
    assert list(missing.values()) == [True, False, False, True]
    assert "01_train makes it (done)" in page.parts[items[0]]
    assert "02_fidelity makes it (not run)" in page.parts[items[3]]
    assert "n = 402 of 118 patients" in page.parts[items[2]]
    assert page.parts[items[2]].count("0.750 [0.700, 0.800]") == 1
    assert "Published: table 1" in page.parts[items[2]]
    assert "1, −2" in page.parts[items[3]]


def test_claims_show_paper_ours_interval_and_verdict_in_words(page):
    assert "0.25 0.200 [0.150, 0.250] n = 5 seeds ≥ 0.1 ✓ reproduced" in page.text
    assert "0.0020 [−0.0040, 0.0081] n = 5 seeds ≥ 0.1 ≈ inconclusive" in page.text
    assert "−1,234 [−2,000, −1,000] n = 5 seeds ≥ 0.1 ✗ contradicted" in page.text
    assert "○ not testable here because" in page.text
    assert "– not run made by 04_privacy_pairs" in page.text
    for count in ("✓ 1 reproduced", "≈ 1 inconclusive", "✗ 1 contradicted", "○ 1 not testable here", "– 1 not run"):
        assert page.text.count(count) == 3  # of its paper above and below, and of all
    assert "05_utility" not in page.parts["01_first--fig2_pairs"]
    assert "C5 five gain – – ≥ 0.1 – not run made by 04_privacy_pairs deviations 1 " in page.text
    assert "○ not testable here because" in page.text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((2.9e-15, 0, -1e-16), ["2.9e−15", "0", "−1.0e−16"]), ((0.002, -0.0001), ["0.0020", "−0.0001"]),
        ((0, 0), ["0.000", "0.000"]), ((0.5, 2e-15), ["0.500", "0.000"]), ((1e-4, 5e-5), ["0.00010", "0.00005"]),
    ],
)  # fmt: skip
def test_numbers_fit_their_column(values, shown):
    assert rounded(*values) == shown


def test_what_a_paper_leaves_unknown_has_its_place_in_a_list():
    assert as_text([None, 0.125, -0.159]) == "–, 0.125, −0.159"
    assert as_text(None) == ""


def test_the_scorecard_stands_on_top_with_all_papers_together(page):
    top = page.text[: page.text.index("All papers")]
    assert "The first paper 01_first ✓ ✗ ≈ ○ – ✓ 1 reproduced" in top
    assert "All ✓ ✗ ≈ ○ – ✓ 1 reproduced" in top
    assert "2 of 3 2 of 3 3 min 20 s 1,422 MB" in top
    assert "As tables, with deviations: 08_card" in top


def test_notebooks_show_cost_status_and_the_error(page):
    assert "01_train ✓ done 3 min 12 s 1,422 MB 21 November 2026" in page.text
    assert "05_utility ✓ done 7.3 s" in page.text
    assert f"04_privacy_pairs ✗ failed ValueError: {NASTY}" in page.text
    assert "its notebook failed since" in page.parts["01_first--fig2_pairs"]


def test_texts_are_escaped(page):
    assert len(page.all("script")) == 2  # the theme's and the page's own
    assert page.text.count(NASTY) == 6  # figure, cell, quantity, reason, deviation, error
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_nothing_is_fetched_from_elsewhere_and_every_link_leads_somewhere(page):
    links = [a[key] for _, a in page.tags for key in ("href", "src", "action", "data") if key in a]
    ids = {a["id"] for _, a in page.tags if "id" in a}
    for link in links:
        if link.startswith("#"):
            assert unquote(link[1:]) in ids
        elif link != "data:,":
            assert (page.folder / unquote(link)).is_file(), link
    suffixes = {link.rsplit(".", 1)[-1] for link in links}
    assert {"png", "pdf", "csv", "tex", "ipynb", "html"} <= suffixes
    assert not re.search(r"https?:|url\(|@import", (page.folder / "index.html").read_text())


@pytest.mark.parametrize("notebook", ["01_train", "04_privacy_pairs"])
def test_an_executed_notebook_can_be_read_without_jupyter_and_without_a_network(page, notebook):
    copy = Page(page.folder / f"01_first/notebooks/{notebook}.html")
    assert copy.all("h1")
    assert "a < b" in copy.text
    assert ("a trace" in copy.text) == (notebook == "04_privacy_pairs")
    pictures = [a["src"].split(",")[0] for a in copy.all("img")]
    assert pictures == (["data:image/png;base64"] if notebook == "01_train" else [])
    source = (page.folder / f"01_first/notebooks/{notebook}.html").read_text()
    assert not re.search(r"https?:|url\(|@import|<script[^>]+src", source)
    links = [unquote(a["href"]) for _, a in copy.tags if "href" in a]
    assert (copy.folder / links[2].split("#")[0]).resolve() == page.folder / "index.html"


def test_a_copy_is_written_again_only_when_its_notebook_changed(suite):
    executed = suite / "data/runs/demo-phantom/executed/01_first/05_utility.ipynb"
    copy = write_page("demo-phantom").parent / "01_first/notebooks/05_utility.html"
    os.utime(copy, (1, 1))
    write_page("demo-phantom")
    assert copy.stat().st_mtime == 1
    executed.write_text(executed.read_text().replace("A title", "Another title"))
    write_page("demo-phantom")
    assert "Another title" in copy.read_text()
    executed.unlink()
    write_page("demo-phantom")
    assert not copy.exists()


def test_images_have_alternative_texts_and_a_size(page):
    assert [(a["alt"], int(a["width"]), int(a["height"])) for a in page.all("img")] == [("pairs", 300, 300)]


def test_an_identifier_stands_once_and_numbers_stand_right(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    source = (page.folder / "index.html").read_text()
    assert '<th scope="col" class="num">auroc</th>' in source
    assert '<th scope="col">condition</th>' in source


@pytest.mark.parametrize(
    ("tag", "drawn", "smoke"),
    [("demo-phantom", True, False), ("smoke-phantom", True, True), ("demo-public", False, False)],
)
def test_a_page_says_loudly_what_it_must_not_be_taken_for(tmp_path, monkeypatch, tag, drawn, smoke):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    fabricate(tmp_path, tag)
    text = Page(write_page(tag)).text
    assert ("Every image on this page is drawn; no patient." in text) == drawn
    assert ("the numbers on this page mean nothing" in text) == smoke
    assert ("This paper declares no public cohort" in text) == (not drawn)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("figures/demo-phantom/01_first/tab1_scores.json", '{"kind": "tab'),
        ("figures/demo-phantom/01_first/tab1_scores.json", "[1, 2]"),
        ("figures/demo-phantom/01_first/tab1_scores.json", '{"kind": "song", "n": "1", "revision": "a"}'),
        (
            "figures/demo-phantom/01_first/tab1_scores.json",
            '{"kind": "table", "n": "1", "revision": "a", "rows": {"columns": ["a"], "data": [["1", "2"]]}}',
        ),
        ("figures/demo-phantom/01_first/fig2_pairs.json", ""),
        ("data/runs/demo-phantom/01_first/claims/C1.json", '{"verdict": "splendid"}'),
        ("data/runs/demo-phantom/01_first/claims/C1.json", '{"verdict": "reproduced", "value": "0.2"}'),
        ("data/runs/demo-phantom/01_first/claims/C1.json", "\xff"),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"seconds": null}'),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"seconds": 1, "peak_memory_mb": 2}'),
    ],
)
def test_a_damaged_record_is_named_and_stops_nothing(suite, file, content):
    (suite / file).write_bytes(content.encode("latin-1"))
    page = Page(write_page("demo-phantom"))
    assert f"{file} is damaged, run its notebook again (" in page.text
    assert "The second paper" in page.text


def test_missing_broken_and_left_over_files_are_named(suite):
    products = suite / "figures/demo-phantom/01_first"
    (products / "fig2_pairs.png").write_bytes(b"not a picture")
    (products / "tab1_scores.csv").unlink()
    (products / "fig7_old.json").write_text("{}")
    (suite / "data/runs/demo-phantom/executed/01_first/04_privacy_pairs.failed.ipynb").write_text("{")
    (suite / "notebooks/02_second/paper.yaml").write_text("title: broken\nspeed: fast\n")
    text = Page(write_page("demo-phantom")).text
    assert "fig2_pairs.json is damaged, run its notebook again (fig2_pairs.png is not a PNG)" in text
    assert "tab1_scores.csv is missing" in text
    assert "04_privacy_pairs.failed.ipynb cannot be shown" in text
    assert "fig7_old.json is left over: paper.yaml does not declare it" in text
    assert "04_privacy_pairs.failed.ipynb cannot be read" in text
    assert "notebooks/02_second/paper.yaml:1: cite: Field required" in text


def test_what_older_code_made_says_so(suite):
    record = suite / "figures/demo-phantom/01_first/tab1_scores.json"
    record.write_text(record.read_text().replace("abc1234", "0ld0ld"))
    os.utime(record, (1, 1))
    page = Page(write_page("demo-phantom"))
    assert "older code, 0ld0ld" in page.parts["01_first--tab1_scores"]
    assert page.text.count("older code") == 1
    assert "abc1234, 0ld0ld (newest first)" in page.text


def test_a_threshold_that_changed_after_the_verdict_is_said(suite):
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text().replace('threshold: ">= 0.1", published', 'threshold: ">= 0.3", published'))
    text = Page(write_page("demo-phantom")).text
    assert "≥ 0.3 ✓ reproduced Evaluated by the threshold ≥ 0.1, before paper.yaml changed." in text


@pytest.mark.parametrize("tag", ["demo-public", "demo-phantom-seed3", "tiny-phantom", "../demo-phantom", ""])
def test_an_unknown_tag_is_one_sentence_and_exit_code_1(suite, monkeypatch, capsys, tag):
    monkeypatch.setattr("sys.argv", ["report", tag])
    assert main() == 1
    assert capsys.readouterr().err == f"no run {tag!r}: known are demo-phantom\n"


def test_the_command_prints_where_the_page_lies_and_opens_it(suite, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("sys.argv", ["report", "demo-phantom", "--open"])
    assert main() == 0
    page = suite / "figures/demo-phantom/index.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert opened == [page.as_uri()]


def test_a_pdf_is_missed_only_where_its_notebook_ran(suite):
    """Of a clone's committed figures there are no PDFs, and no records of notebooks."""
    (suite / "figures/demo-phantom/01_first/fig2_pairs.pdf").unlink()
    assert "fig2_pairs.pdf is missing" in Page(write_page("demo-phantom")).text
    shutil.rmtree(suite / "data")
    page = Page(write_page("demo-phantom"))
    assert "fig2_pairs.pdf" not in page.text
    assert "problem" not in page.text
    assert [a["alt"] for a in page.all("img")] == ["pairs"]


def test_what_other_settings_made_says_so(suite):
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text() + "settings: {epochs: [1, 2, 3]}\n")
    page = Page(write_page("demo-phantom"))
    assert "other settings" in page.parts["01_first--tab1_scores"]
    assert page.text.count("other settings") == 6  # two items, four claims
    card = scorecard.claims(read_run("demo-phantom"))
    assert card.remark[0] == "made with other settings than paper.yaml has now"


class TestScorecard:
    def test_has_every_claim_with_its_value_and_why_it_has_none(self, suite):
        card = scorecard.claims(read_run("demo-phantom")).set_index("claim")
        assert list(card.index) == ["C1", "C2", "C3", "C4", "C5"]
        assert card.loc["C1", ["published", "ours", "ours_low", "ours_high"]].tolist() == ["0.25", 0.2, 0.15, 0.25]
        assert card.verdict.tolist() == ["reproduced", "inconclusive", "contradicted", "not testable here", "not run"]
        assert card.remark.tolist()[:3] == ["", "", ""]
        assert card.remark["C4"] == f"because {NASTY}; its notebook failed since"
        assert card.remark["C5"] == "made by 04_privacy_pairs"
        assert card.deviations.tolist() == ["1, 2"] * 3 + ["1"] * 2

    def test_has_every_item_deviation_and_count(self, suite):
        records = read_run("demo-phantom")
        items = scorecard.items(records).set_index("item")
        assert items.state.to_dict() == {
            "fig1_samples": "missing", "fig2_pairs": "made", "tab1_scores": "made", "fig9": "missing",
        }  # fmt: skip
        assert items.loc["tab1_scores", "published"] == "real auroc 0.8; f1 0.7"
        assert scorecard.deviations(records)["bears on"].tolist() == ["the whole paper", "05_utility"]
        counts = scorecard.counts(records).set_index("paper")
        assert list(counts.index) == ["01_first", "02_second"]  # and not the paper that closes the run
        assert counts.loc["01_first", [*VERDICTS, "claims", "items made", "items"]].tolist() == [
            1,
            0,
            1,
            1,
            1,
            1,
            5,
            2,
            3,
        ]

    def test_goes_past_what_is_damaged_or_absent(self, suite):
        (suite / "data/runs/demo-phantom/01_first/claims/C1.json").write_text("{")
        (suite / "notebooks/02_second/paper.yaml").write_text("title: broken\n")
        records = read_run("demo-phantom")
        card = scorecard.claims(records)
        assert (card.verdict[0], card.remark[0]) == ("not run", "its record is damaged")
        first, second = scorecard.problems(records)
        assert first.startswith("01_first: data/runs/demo-phantom/01_first/claims/C1.json is damaged")
        assert second.startswith("02_second: notebooks/02_second/paper.yaml:1: ")

    def test_of_nothing_is_empty(self, suite):
        shutil.rmtree(suite / "notebooks")
        tables = [of(read_run("demo-phantom")) for of in (scorecard.claims, scorecard.items, scorecard.deviations)]
        assert [len(table) for table in tables] == [0, 0, 0]


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
    row = "| [01](notebooks/01_first/paper.yaml) | Nobody 2020, arXiv 2001.00001 | 1 |  | 1 | 1 | 1 | 1 | 2 of 3 |"
    assert row in shown
    assert "02_second" not in shown
    revisions = [json.loads(path.read_text())["revision"] for path in suite.glob("figures/demo-phantom/*/*.json")]
    assert len(set(revisions)) > 1
    assert f"code of its {len(revisions)} figures and tables: " in shown
    assert all(f"{revision} ({revisions.count(revision)})" in shown for revision in revisions)
    readme.write_text("# A\n")
    assert main() == 1
    assert "README.md needs the lines" in capsys.readouterr().err
