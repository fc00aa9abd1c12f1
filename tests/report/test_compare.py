"""Claims of several runs side by side, and which verdicts differ."""

import json
import shlex
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from lib.report.__main__ import main
from lib.report.compare import compare
from lib.report.reference import write_reference
from tests.paths import ROOT
from tests.report.toy import NASTY, Page, fabricate

CLAIMS = "01_first/claims"


@pytest.fixture
def other(tmp_path_factory, suite):
    """Another checkout with the same run, of which claim C1 came out otherwise and C5 has another threshold."""
    folder = tmp_path_factory.mktemp("other checkout")
    shutil.copytree(suite, folder, dirs_exist_ok=True)
    records = folder / "data/runs/demo-phantom" / CLAIMS
    first = json.loads((records / "C1.json").read_text())
    changed = {"value": -0.5, "interval": [-0.75, -0.25], "verdict": "contradicted", "revision": "fff9999"}
    (records / "C1.json").write_text(json.dumps(first | changed))
    (records / "C2.json").write_text(
        json.dumps(json.loads((records / "C2.json").read_text()) | {"threshold": ">= 0.3"})
    )
    (records / "C4.json").unlink()
    (records / "C9.json").write_text(json.dumps(first | {"claim": "C9"}))  # of another revision's paper.yaml
    return folder


def said(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["report", "compare", *map(str, words)])
    exit_code = main()
    out, err = capsys.readouterr()
    return exit_code, out, err


def test_values_intervals_and_verdicts_stand_side_by_side(other, monkeypatch, capsys):
    exit_code, out, err = said(monkeypatch, capsys, "demo-phantom", other / "demo-phantom")
    assert (exit_code, err) == (0, "")
    rows = {line[3:].split()[0]: line.split() for line in out.split("\n\n")[0].splitlines()[1:]}
    assert list(rows) == [f"01_first/{c}" for c in ("C1", "C2", "C3", "C4", "C9")]
    values = "✓ 0.200 [0.150, 0.250] ✗ −0.500 [−0.750, −0.250]".split()
    assert rows["01_first/C1"] == ["≠", "01_first/C1", *values]
    assert rows["01_first/C3"] == ["01_first/C3", *("✗ −1,234 [−2,000, −1,000]".split() * 2)]
    assert rows["01_first/C4"] == ["01_first/C4", "○", "–"]
    assert rows["01_first/C9"] == ["01_first/C9", "–", "✓", "0.200", "[0.150,", "0.250]"]
    assert "3 claims were evaluated by all runs; the verdicts of 1 differ (≠)." in out
    assert "The threshold differs of 01_first/C2." in out
    assert f"{other}/demo-phantom: 4 of 5 claims, code abc1234 (3), fff9999 (1)" in out
    assert "demo-phantom: 4 of 5 claims, code abc1234 (4)" in out


def test_a_run_is_named_by_its_tag_by_its_folder_or_as_the_reference(finished, monkeypatch):
    write_reference("demo-phantom")
    monkeypatch.chdir(finished)
    (finished / "data/runs/demo-phantom-seed1").mkdir()
    shutil.copytree(finished / "data/runs/demo-phantom/01_first", finished / "data/runs/demo-phantom-seed1/01_first")
    names = ["demo-phantom", "demo-phantom-seed1", "reference/demo-phantom", "figures/reference/demo-phantom"]
    names += [f"{finished}/{part}demo-phantom" for part in ("", "data/runs/", "figures/", "figures/reference/")]
    names += ["figures/demo-phantom/", "./data/runs/demo-phantom"]
    found = compare(names).found
    assert list(found) == names
    assert {len(claims) for claims in found.values()} == {5}
    assert len({json.dumps(list(claims.values())) for claims in found.values()}) == 1


@pytest.mark.parametrize("name", ["demo-phantom-seed7", "reference/demo-phantom", "nothing", "", "../demo-phantom"])
def test_an_unknown_run_is_one_sentence_with_the_known_ones(suite, monkeypatch, capsys, name):
    exit_code, out, err = said(monkeypatch, capsys, "demo-phantom", name)
    assert (exit_code, out, err) == (1, "", f"no run {name!r}: known are demo-phantom\n")


def test_an_unknown_run_of_another_checkout_names_those_that_it_has(other, monkeypatch, capsys):
    for name in (other, other / "demo-phantom-seed2", other / "data/runs/smoke-phantom"):
        exit_code, _, err = said(monkeypatch, capsys, name)
        assert (exit_code, err) == (1, f"no run '{name}': known are {other}/demo-phantom\n")


def test_the_csv_keeps_every_digit_and_the_page_runs_nothing(other, tmp_path, monkeypatch, capsys):
    csv, html = tmp_path / "claims.csv", tmp_path / "claims.html"
    runs = ("demo-phantom", f"{other}/demo-phantom")
    assert said(monkeypatch, capsys, *runs, "--csv", csv, "--html", html)[0] == 0
    frame = pd.read_csv(csv).set_index("claim")
    assert frame.loc["C1", [f"{run} value" for run in runs]].tolist() == [0.2, -0.5]
    assert frame.loc["C3", f"{runs[0]} low"] == -2000
    assert frame.differs.tolist() == [True, False, False, False, False]
    assert frame[f"{runs[1]} verdict"]["C4"] == "not run"
    page = Page(html)
    assert "C1 reproduced ✓ 0.200 [0.150, 0.250] contradicted ✗ −0.500 [−0.750, −0.250]" in page.text
    assert len(page.all("script")) == 1
    assert [a.get("class") for a in page.all("tr")].count("differs") == 1


@pytest.mark.parametrize("content", ["[]", "null", "{", "", '{"verdict": "splendid"}', "[" * 100_000, "\xff", NASTY])
def test_a_damaged_record_is_named_and_stops_nothing(suite, monkeypatch, capsys, content):
    record = suite / "data/runs/demo-phantom" / CLAIMS / "C1.json"
    record.write_bytes(content.encode("latin-1"))
    record.with_name(".C2.0.1.partial.json").write_text("")  # of a killed writer
    exit_code, out, err = said(monkeypatch, capsys, "demo-phantom")
    assert (exit_code, err) == (0, "")
    assert out.count("is damaged") == 1
    assert f"{record} is damaged, run its notebook again (" in out
    assert "01_first/C2" in out


def test_a_file_that_cannot_be_written_is_one_sentence_and_exit_code_1(suite, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    exit_code, _, err = said(monkeypatch, capsys, "demo-phantom", "--csv", tmp_path / "file" / "claims.csv")
    assert exit_code == 1
    assert "claims.csv: could not be written" in err
    assert err.count("\n") == 1


def test_runs_of_other_scales_are_compared_as_well(suite, tmp_path_factory, monkeypatch, capsys):
    folder = tmp_path_factory.mktemp("paper")
    with monkeypatch.context() as patch:
        patch.setenv("SUITE_ROOT", str(folder))
        fabricate(folder, "demo-public")
    exit_code, out, _ = said(monkeypatch, capsys, "demo-phantom", folder / "demo-public")
    assert exit_code == 0
    assert "4 claims were evaluated by all runs; the verdicts of 0 differ (≠)." in out


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(suite):
    command = f"{shlex.quote(sys.executable)} -m lib.report compare demo-phantom"
    piped = f"({command}; echo ended $? >&2) | true"
    ended = subprocess.run(["bash", "-c", piped], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == "ended 0\n"
