"""The result page: all that is declared is on it, what is missing or damaged is named, and nothing leaves the file."""

import base64
import hashlib
import json
import os
import re
import shutil
from urllib.parse import unquote

import matplotlib.pyplot as plt
import pytest

from lib.core.manifest import describe
from lib.experiment.run import Run
from lib.report import scorecard
from lib.report.__main__ import main
from lib.report.page import write_page
from lib.report.records import read_run
from lib.report.reference import write_reference
from tests.report.toy import NASTY, Page, fabricate


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
    assert (
        "0.25 0.200 [0.153, 0.247] n = 5 repetitions 0.800 [0.611, 0.989] of the published "
        "the published value lies inside our 95 % prediction interval > 0 ✓ replicated p = 0.00056, 0.00" in page.text
    )
    assert " after Holm (noise): survives Holm deviations 1, 2 C2 two" in page.text
    assert page.text.count("of the published") == 1
    assert "0.0020 [−0.0033, 0.0073] n = 5 repetitions > 0 ≈ inconclusive" in page.text
    assert "−1,234 [−1,466, −1,003] n = 5 repetitions > 0 ✗ contradicted" in page.text
    assert "○ not testable here because" in page.text
    assert "– not run made by 04_privacy_pairs" in page.text
    for count in ("✓ 1 replicated", "≈ 1 inconclusive", "✗ 1 contradicted", "○ 1 not testable here", "– 1 not run"):
        assert page.text.count(count) == 3  # of its paper above and below, and of all
    assert "05_utility" not in page.parts["01_first--fig2_pairs"]
    assert re.search(
        "after Holm: (survives|does not survive) Holm the interval lies on the other side", page.text
    )  # C3
    assert len(re.findall("survives? Holm", page.text)) == 2
    assert "C5 five text gain – – > 0 – not run made by 04_privacy_pairs deviations 1 " in page.text
    assert "○ not testable here because" in page.text


def test_a_demo_s_value_stands_beside_the_verdict_of_the_committed_study(suite):
    record = json.loads((suite / "data/runs/demo-phantom/01_first/claims/C1.json").read_text())
    study = suite / "figures/reference/study-phantom/01_first/claims"
    study.mkdir(parents=True)

    def said(name, **facts):
        (study / f"{name}.json").write_text(json.dumps(record | {"claim": name} | facts))
        write_page("demo-phantom")
        return Page(suite / "figures/demo-phantom/index.html").text

    says = "the study: {}; this value lies {} its 95 % prediction interval"
    near = [9.0, 0.15, 0.2, 0.25, 0.2]  # the first repetition is the demo's own, and is left out of the interval
    assert says.format("contradicted", "inside") in said("C1", verdict="contradicted", repetitions=near)
    text = said("C2", verdict="replicated", repetitions=near)  # this run has 0.002
    assert says.format("contradicted", "inside") in text
    assert says.format("replicated", "outside") in text
    assert "the study" not in said("C1", claimed="> 0.1", repetitions=near).partition("C2 two")[0]
    assert "C1.json is damaged" in said("C1", repetitions="wide")


def test_the_scorecard_stands_on_top_with_all_papers_together(page):
    top = page.text[: page.text.index("All papers")]
    assert "The first paper 01_first ✓ ✗ ≈ ○ – ✓ 1 replicated" in top
    assert "All ✓ ✗ ≈ ○ – ✓ 1 replicated" in top
    assert "2 of 3 2 of 3 3 min 20 s 1,422 MB" in top
    assert "As tables, with deviations: 08_card" in top
    assert "5 claims of the papers, 1 with a published number, are counted here. " in top
    assert "Of the 3 effects with a verdict at most 0.075 would be replicated by chance, were there none." in top
    assert "Preconditions and our own claims, 1, stand" in top


def test_each_kind_of_claims_has_a_table_of_its_own(page, suite):
    text = page.parts["01_first"]
    assert re.findall("Claims of the paper|Preconditions|Our own claims|C1 one|C5 five|P1 six", text) == [
        "Claims of the paper", "C1 one", "C5 five", "Preconditions", "P1 six",
    ]  # fmt: skip
    assert "Claims of the paper" not in page.parts["02_second"]
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text().replace("kind: paper", "kind: own"))
    page = Page(write_page("demo-phantom"))
    text = page.parts["01_first"]
    assert re.findall("Claims of the paper|Preconditions|Our own claims|C1 one|P1 six", text) == [
        "Preconditions", "P1 six", "Our own claims", "C1 one",
    ]  # fmt: skip
    assert "by chance" not in page.text  # none of the papers' claims has a verdict
    assert "after Holm" not in page.text
    assert (
        "0 claims of the papers, 0 with a published number, are counted here. Preconditions and our own claims, 6,"
        in (page.text)
    )


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
    shutil.rmtree(tmp_path / "data" / "runs" / tag / "executed")  # showing notebooks takes most of the time
    text = Page(write_page(tag)).text
    assert ("Every image on this page is drawn; no patient." in text) == drawn
    assert ("the numbers on this page mean nothing" in text) == smoke
    assert ("This paper declares no public cohort" in text) == (not drawn)


RECORDS = (
    "figures/demo-phantom/01_first/tab1_scores.json",
    "data/runs/demo-phantom/01_first/claims/C1.json",
    "data/runs/demo-phantom/01_first/01_train/done.json",
)
DONE = '{"seconds": SECONDS, "peak_memory_mb": 2, "finished_at": "2026-01-01T00:00:00+14:00", "revision": "a"}'
CLAIM = '{"verdict": "replicated", "value": VALUE, "interval": [0, 1], "n": "", "claimed": "> 0", "revision": "a"}'


@pytest.mark.slow
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
        ("data/runs/demo-phantom/01_first/claims/C1.json", '{"verdict": "replicated", "value": "0.2"}'),
        ("data/runs/demo-phantom/01_first/claims/C1.json", "\xff"),
        ("data/runs/demo-phantom/01_first/claims/C1.json", "null"),
        ("data/runs/demo-phantom/01_first/claims/C1.json", "[" * 100_000),
        (
            "data/runs/demo-phantom/01_first/claims/C1.json",
            '{"verdict": "replicated", "value": null, "claimed": ' + "[" * 400 + "]" * 400 + "}",
        ),
        ("data/runs/demo-phantom/01_first/01_train/done.json", "[]"),
        ("data/runs/demo-phantom/01_first/01_train/done.json", "null"),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"a":' * 100_000),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"seconds": Infinity, "peak_memory_mb": 1}'),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"seconds": null}'),
        ("data/runs/demo-phantom/01_first/01_train/done.json", '{"seconds": 1, "peak_memory_mb": 2}'),
        *((file, content) for file in RECORDS for content in ("[]", "null", "0", '"a"', "{}", "[" * 100_000)),
        ("data/runs/demo-phantom/01_first/01_train/done.json", DONE.replace("SECONDS", "1e999")),
        ("data/runs/demo-phantom/01_first/01_train/done.json", DONE.replace("SECONDS", "1").replace("2026", "0001")),
        ("data/runs/demo-phantom/01_first/claims/C1.json", CLAIM.replace("VALUE", "1" + "0" * 400)),
        *((RECORDS[1], CLAIM.replace("VALUE", f'1, "p": {p}')) for p in ("1.5", "-1", "NaN")),
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
    (products / ".fig8.0.7.partial.json").write_text("{}")  # of a killed writer, which the next run removes
    (suite / "data/runs/demo-phantom/executed/01_first/04_privacy_pairs.failed.ipynb").write_text("{")
    (suite / "notebooks/02_second/paper.yaml").write_text("title: broken\nspeed: fast\n")
    text = Page(write_page("demo-phantom")).text
    assert "fig2_pairs.json is damaged, run its notebook again (fig2_pairs.png is not a PNG)" in text
    assert "tab1_scores.csv is missing" in text
    assert "04_privacy_pairs.failed.ipynb cannot be shown" in text
    assert "fig7_old.json is left over: paper.yaml does not declare it" in text
    assert ".partial" not in text
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


def test_a_claim_that_changed_after_the_verdict_is_said(suite):
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text().replace('claimed: "> 0", published', 'claimed: "> 0.5", published'))
    text = Page(write_page("demo-phantom")).text
    assert "Evaluated for the claim > 0, before paper.yaml changed." in text


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


def test_the_page_of_the_reference_has_its_records_and_misses_no_pdf(finished):
    (finished / "figures/demo-phantom/01_first/fig2_pairs.pdf").unlink()
    assert "fig2_pairs.pdf is missing" in Page(write_page("demo-phantom")).text
    plt.close(picture := plt.figure(figsize=(1, 1)))
    Run("01_first", "demo", "phantom", 0).figure("fig2_pairs", picture, n=1)
    write_reference("demo-phantom")
    shutil.rmtree(finished / "data")
    shutil.rmtree(finished / "figures/demo-phantom")
    page = Page(write_page("reference/demo-phantom"))
    assert page.folder == finished / "figures/reference/demo-phantom"
    assert "with what this run left" not in page.text
    assert "Missing." not in page.text
    assert "✓ replicated" in page.text
    assert "01_train ✓ done 3 min 12 s 1,422 MB" in page.text
    assert len(page.all("img")) == 3


def test_what_other_settings_made_says_so(suite):
    paper = suite / "notebooks/01_first/paper.yaml"
    paper.write_text(paper.read_text() + "settings: {epochs: [1, 2, 3]}\n")
    page = Page(write_page("demo-phantom"))
    assert "other settings" in page.parts["01_first--tab1_scores"]
    assert page.text.count("other settings") == 7  # two items, five claims
    card = scorecard.claims(read_run("demo-phantom"))
    assert card.remark[0] == "made with other settings than paper.yaml has now"


def test_an_executed_copy_that_is_not_that_of_its_record_is_not_shown(suite):
    """Somebody ran it on images of their own, and their path stands in it."""
    executed = suite / "data/runs/demo-phantom/executed/01_first/01_train.ipynb"
    record = suite / "data/runs/demo-phantom/01_first/01_train/done.json"
    facts = json.loads(record.read_text()) | {"files": describe([executed], suite)}
    record.write_text(json.dumps(facts))
    page = Page(write_page("demo-phantom"))
    assert (page.folder / "01_first/notebooks/01_train.html").exists()
    executed.write_text(executed.read_text().replace("words", "/home/somebody/patients"))
    page = Page(write_page("demo-phantom"))
    assert not (page.folder / "01_first/notebooks/01_train.html").exists()
    assert "01_train.ipynb is damaged" in page.text
    for file in page.folder.rglob("*"):
        assert file.is_dir() or b"/home/somebody" not in file.read_bytes()


def test_a_page_that_cannot_be_written_is_one_sentence_and_exit_code_1(suite, monkeypatch, capsys):
    page = suite / "figures/demo-phantom/index.html"
    page.unlink()
    page.mkdir()
    monkeypatch.setattr("sys.argv", ["report", "demo-phantom"])
    assert main() == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"{page}: could not be written" in err


@pytest.mark.parametrize(
    "name", ["index.html", "01_first/notebooks/01_train.html", "01_first/notebooks/05_utility.html"]
)
def test_a_browser_runs_no_script_but_ours_and_loads_nothing_from_elsewhere(page, name):
    path = page.folder / name
    shown, source = Page(path), path.read_text(encoding="utf-8")
    [policy] = [a["content"] for a in shown.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    digests = [hashlib.sha256(text.encode()).digest() for text in re.findall(r"<script>(.*?)</script>", source, re.S)]
    assert rules == {
        "default-src": ["'none'"],
        "script-src": [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert source.index("Content-Security-Policy") < source.index("<style") < source.index("<script")
    assert source.count("<script") == len(digests)
    assert {"name": "referrer", "content": "no-referrer"} in shown.all("meta")
