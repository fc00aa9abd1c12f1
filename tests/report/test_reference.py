"""What is committed: made from a finished phantom run of committed code, whole, and of nothing else."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lib.experiment.paper import Item
from lib.report import reference
from lib.report.__main__ import main
from lib.report.records import read_run
from lib.report.reference import write_reference
from tests.paths import ROOT
from tests.runner.toy import Suite

CLAIM = "data/runs/demo-phantom/01_first/claims/C1.json"
TABLE = "figures/demo-phantom/01_first/tab1_scores.json"
FOLDER = "figures/reference/demo-phantom"
SOURCE = """\
import matplotlib.pyplot as plt
import pandas as pd
from lib.experiment.run import Run
run = Run("01_p", scale, cohort, seed)
run.figure("fig", plt.figure(figsize=(1, 1)), n=1)
run.table("tab", pd.DataFrame({"a": [1]}), n=1)
run.claim("C", value=0.0, interval=(0, 0), n="1")
"""
ITEMS = """\
items:
  fig: {notebook: 01_train, shows: a figure, published: null}
  tab: {notebook: 01_train, shows: a table, published: null}
claims:
  C: {kind: own, says: something, notebook: 01_train, value: gain, claimed: "> 0"}
deviations:
  - {where: all of it, what: a toy, why: a test}
"""


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_the_products_and_their_records_and_no_executed_notebook(finished):
    old = finished / FOLDER / "09_gone"
    old.mkdir(parents=True)
    (old / "fig.png").write_bytes(b"")
    assert write_reference("demo-phantom") == finished / FOLDER
    made = files(finished / FOLDER)
    figures = [f"01_first/{name}.{s}" for name in ("fig1_samples", "fig2_pairs") for s in ("png", "json")]
    figures += ["02_second/fig9.png", "02_second/fig9.json"]
    tables = [f"{name}.{s}" for name in ("01_first/tab1_scores", "08_card/tab_counts") for s in ("csv", "tex", "json")]
    claims = [f"01_first/claims/{name}.json" for name in ("C1", "C2", "C3", "C4", "C5", "P1")]
    done = ["01_first/01_train", "01_first/04_privacy_pairs", "01_first/05_utility", "02_second/02_fidelity"]
    done = [f"{'/done/'.join(name.split('/'))}.json" for name in (*done, "08_card/01_scorecard")]
    assert sorted(made) == sorted([*figures, *tables, *claims, *done])
    for name in (*figures, *tables):
        assert made[name] == (finished / "figures/demo-phantom" / name).read_bytes()
    assert made["01_first/claims/C1.json"] == (finished / CLAIM).read_bytes()
    assert set(json.loads(made[done[0]])) <= set(reference._SHOWN)
    assert list((finished / "figures/reference").iterdir()) == [finished / FOLDER]
    ignored = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=finished, capture_output=True, text=True, check=True
    )
    assert {line[3 + len(FOLDER) + 1 :] for line in ignored.stdout.splitlines()} == set(made)


def test_of_a_notebook_that_declares_nothing_nothing_is_committed_or_asked(finished):
    """A release: its folder is the user's own, so that adding one outdates no committed result."""
    notebooks = finished / "notebooks/01_first"
    shutil.copy(notebooks / "05_utility.ipynb", notebooks / "06_release.ipynb")
    paper = notebooks / "paper.yaml"
    with_release = paper.read_text().replace("05_utility: [01_train]}", "05_utility: [01_train], 06_release: []}")
    paper.write_text(with_release)
    git = ["git", "-C", finished, "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["add", "-A"], ["commit", "-qm", "a release"]):
        subprocess.run([*git, *words], check=True)
    write_reference("demo-phantom")
    assert not (finished / FOLDER / "01_first/done/06_release.json").exists()
    of_run, committed = (
        {of["name"]: of["status"] for of in next(r for r in read_run(run) if r.name == "01_first").content["notebooks"]}
        for run in ("demo-phantom", "reference/demo-phantom")
    )
    assert of_run["06_release"] == "not run"
    assert committed == {"01_train": "done", "04_privacy_pairs": "done", "05_utility": "done"}


def test_it_can_be_made_again_before_it_is_committed(finished):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    (finished / FOLDER).with_name(".demo-phantom.7.partial").mkdir()  # of a command that was killed
    write_reference("demo-phantom")
    assert files(finished / FOLDER) == before
    assert list((finished / "figures/reference").iterdir()) == [finished / FOLDER]


def test_of_one_paper_it_is_made_anew_and_the_others_stay_as_they_are_committed(finished):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    done = finished / "data/runs/demo-phantom/02_second/02_fidelity/done.json"
    done.write_text("{}")  # by older code, say
    with pytest.raises(ValueError, match="02_second/02_fidelity"):
        write_reference("demo-phantom")
    changed(finished / CLAIM, n="9 patients")
    write_reference("demo-phantom", ["01_first"])
    after = files(finished / FOLDER)
    assert {name for name in after if after[name] != before[name]} == {"01_first/claims/C1.json"}
    assert after.keys() == before.keys()
    changed(finished / CLAIM, n="8 patients")  # which the scorecard counts
    with pytest.raises(ValueError, match="01_first/C1 of this run is not the committed one"):
        write_reference("demo-phantom", ["02_second"])
    with pytest.raises(ValueError, match="unknown paper '03_third': known are 01_first"):
        write_reference("demo-phantom", ["03_third"])
    assert files(finished / FOLDER) == after


def test_on_a_new_machine_one_paper_is_run_and_the_others_come_from_what_is_committed(finished, monkeypatch, capsys):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    for folder in ("figures/demo-phantom", "data/runs/demo-phantom"):
        shutil.rmtree(finished / folder / "02_second")
    kept = files(finished / "data/runs/demo-phantom")
    with pytest.raises(ValueError, match="02_second/"):
        write_reference("demo-phantom", ["01_first"])
    monkeypatch.setattr("sys.argv", ["report", "restore", "demo-phantom"])
    assert main() == 0
    assert capsys.readouterr().out == "Put back: 02_second\n"
    assert kept.items() <= files(finished / "data/runs/demo-phantom").items()
    write_reference("demo-phantom", ["01_first"])
    assert files(finished / FOLDER) == before
    assert main() == 0
    assert capsys.readouterr().out == "Put back: nothing, the run has records of every paper\n"
    monkeypatch.setattr("sys.argv", ["report", "restore", "study-phantom"])
    assert main() == 1
    assert capsys.readouterr().err == "nothing is committed of study-phantom: figures/reference has no such folder\n"


def changed(path, **facts):
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: (s / "notebooks/01_first/new.txt").touch(), "new.txt differs from the last commit"),
        (lambda s: shutil.rmtree(s / ".git"), "is no git checkout"),
        (lambda s: changed(s / CLAIM, revision="abc1234+"), "01_first/C1 was made by code that is not committed"),
        (lambda s: changed(s / TABLE, revision="unknown"), "01_first/tab1_scores was made by code that is not"),
        (lambda s: changed(s / CLAIM, settings_sha256="0"), "01_first/C1 was made with other settings"),
        (lambda s: changed(s / TABLE, cohort="own"), "tab1_scores.json is of another run (demo, own, 0)"),
        (lambda s: changed(s / CLAIM, seed=3), "C1.json is of another run (demo, phantom, 3)"),
        (lambda s: (s / CLAIM).write_text("[]"), "claims/C1.json is damaged"),
        (lambda s: (s / CLAIM).unlink(), "01_first/C1 was not made"),
        (lambda s: (s / TABLE).with_suffix(".csv").unlink(), "tab1_scores.csv is missing"),
        (lambda s: (s / TABLE).with_name("fig2_pairs.png").write_bytes(b""), "fig2_pairs.png is not a PNG"),
        (lambda s: (s / "data/runs/demo-phantom/01_first/01_train/done.json").unlink(), "01_first/01_train was not"),
        (lambda s: (s / "data/runs/demo-phantom/executed/01_first/01_train.failed.ipynb").write_text("{}"), "01_train"),
    ],
)
def test_it_is_refused_and_the_old_one_stays(finished, monkeypatch, capsys, spoil, says):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    spoil(finished)
    monkeypatch.setattr("sys.argv", ["report", "reference", "demo-phantom"])
    assert main() == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert files(finished / FOLDER) == before


@pytest.mark.parametrize("run", ["demo-public", "own-demo-12ab", "reference/demo-phantom", "demo-phantom-seed4", "a"])
def test_no_real_image_and_no_other_folder_is_published(finished, run):
    for folder in ("demo-public", "own-demo-12ab"):
        shutil.copytree(finished / "figures/demo-phantom", finished / "figures" / folder)
    with pytest.raises(ValueError, match="real images|no run"):
        write_reference(run)
    assert not (finished / "figures/reference").exists()


@pytest.mark.parametrize(("cohort", "published"), [("phantom", {"fig", "tab"}), ("public", {"tab"})])
def test_what_shows_a_real_image_is_left_out(tmp_path, cohort, published):
    items = {name: Item(notebook="01_train", shows="", published=None, images=name == "fig") for name in ("fig", "tab")}
    entries = [{"name": "fig", "kind": "figure"}, {"name": "tab", "kind": "table"}]
    records = SimpleNamespace(
        name="01_p",
        cohort=cohort,
        page=tmp_path,
        paper=SimpleNamespace(items=items),
        content={"items": entries, "claims": []},
    )
    assert {path.stem for path in reference._files(records)} == published


@pytest.mark.parametrize(("recorded", "expected"), [
    (("demo",), {"01_train/0/gate.npz": b"0", "01_train/7/gate.npz": b"7"}), (("study",), {}),
])  # fmt: skip
def test_what_was_measured_in_each_repetition_of_a_study_comes_with_it(finished, monkeypatch, recorded, expected):
    monkeypatch.setattr(reference, "_RECORDED", recorded)
    declared = finished / "notebooks/01_first/paper.yaml"
    declared.write_text(declared.read_text() + "records: {01_train/gate: 1}\n")
    git = ["git", "-C", finished, "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "commit", "-qam", "records"], check=True)
    for number in (0, 7):
        kept = finished / f"data/runs/demo-phantom/01_first/01_train/{number}"
        kept.mkdir()
        (kept / "gate.npz").write_bytes(b"%d" % number)
        (kept / "other.npz").write_bytes(b"")
    write_reference("demo-phantom")
    assert files(finished / FOLDER / "01_first/records") == expected


def test_what_is_too_large_is_refused_and_the_old_one_stays(finished, monkeypatch):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    for limit in ("LARGEST", "LARGEST_FILE"):
        with monkeypatch.context() as patch:
            patch.setattr(reference, limit, 5)
            with pytest.raises(ValueError, match="too large to be committed: 0.0 MiB"):
                write_reference("demo-phantom")
    assert files(finished / FOLDER) == before
    assert list((finished / "figures/reference").iterdir()) == [finished / FOLDER]


def test_a_write_that_fails_leaves_the_old_one(finished, monkeypatch):
    write_reference("demo-phantom")
    before = files(finished / FOLDER)
    rename = type(finished).rename

    def refuse(path, target):
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(type(finished), "rename", refuse)
    with pytest.raises(OSError, match="No space"):
        write_reference("demo-phantom")
    assert files(finished / FOLDER) == before
    assert list((finished / "figures/reference").iterdir()) == [finished / FOLDER]


@pytest.mark.slow
def test_a_run_changes_no_committed_file_and_becomes_the_reference(tmp_path):
    """From the clone to the commit: what a run leaves is ignored; a stale notebook is refused, a current one taken."""
    for name in ("run_all.sh", "Snakefile", "pyproject.toml", "constraints.txt", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), SOURCE)}}, None, tmp_path)
    declared = tmp_path / "notebooks/01_p/paper.yaml"
    declared.write_text(declared.read_text() + ITEMS)

    def git(*words):
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    def publish():
        command = [sys.executable, "-m", "lib.report", "reference", "smoke-phantom-seed3"]
        made = subprocess.run(command, cwd=tmp_path, env=suite.env, capture_output=True, text=True)
        return made.returncode, made.stdout + made.stderr

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    assert publish()[0] == 1
    exit_code, output = suite.run(script=True)
    assert exit_code == 0, output
    assert git("status", "--porcelain") == ""
    folder = tmp_path / "figures/reference/smoke-phantom-seed3"
    assert publish() == (0, f"{folder}\n")
    made = ["claims/C.json", "done/01_train.json", "fig.json", "fig.png", "tab.csv", "tab.json", "tab.tex"]
    assert git("status", "--porcelain", "-uall").split() == [
        word for name in made for word in ("??", f"figures/reference/smoke-phantom-seed3/01_p/{name}")
    ]
    source = suite.source("01_p/01_train")
    source.write_text(source.read_text().replace("value=0.0", "value=0"))
    assert "01_train.ipynb differs from the last commit" in publish()[1]
    git("add", "-A")
    git("commit", "-qm", "another")
    assert publish() == (
        1, "smoke-phantom-seed3 cannot become the reference: 01_p/01_train (changed: its cells)\n"
    )  # fmt: skip
