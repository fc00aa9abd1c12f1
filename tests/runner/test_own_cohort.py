"""`--data`: a paper runs on a user's own cohort, apart from everything of ours, and nothing wrong begins."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from lib.cohorts.cohort import Cohort
from lib.cohorts.own import digest_of
from lib.experiment.own_cohort import on_cohort
from lib.experiment.paper import load_paper
from lib.experiment.run import Run
from lib.report.reference import write_reference
from lib.runner.cli import parse
from tests.cohorts.test_own import saved
from tests.runner.toy import Suite, write_notebook

PARAMETERS = 'scale = "demo"\ncohort = "phantom"\nseed = 0\ndata = ""  # a cohort of your own'
SOURCE = """
import pandas as pd
from lib import plots
from lib.experiment.own_cohort import on_cohort
from lib.experiment.run import Run
run = on_cohort(Run("01_p", scale, cohort, seed), data)
part = run.open_cohort("a") if data else None
run.save("01_train/of.csv", pd.DataFrame({"name": [part.name if data else "drawn"], "cohort": [cohort]}))
run.table("tab", pd.DataFrame({"images": [len(part) if data else 0]}), n=1)
figure, axes = plots.canvas(height=30)
run.figure("fig", figure, n=1)
print(run.unless_stored, run.tag)
"""
OWN = {"size": "side", "labels": "two classes", "patients": 10, "parts": {"a": "whole"}}


@pytest.fixture
def suite(tmp_path, monkeypatch, fork_server, pageless):
    suite = Suite(
        tmp_path / "project", {"01_p": {"01_train": ((), "")}, "02_q": {"01_train": ((), "")}}, fork_server, pageless
    )
    write_notebook(suite.source("01_p/01_train"), SOURCE, parameters=PARAMETERS)
    paper = suite.root / "notebooks/01_p/paper.yaml"
    items = {name: {"notebook": "01_train", "shows": name, "published": None} for name in ("tab", "fig")}
    content = yaml.safe_load(paper.read_text()) | {"settings": {"side": [8, 8, 8], "epochs": [1, 2, 3]}, "items": items}
    content |= {"own": OWN, "cohorts": {"phantom": "mass", "public": "cbis_ddsm"}}
    paper.write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setenv("SUITE_ROOT", str(suite.root))
    for name in ("SUITE_SETTINGS", "SUITE_TRAIN", "SUITE_DATA"):
        monkeypatch.setenv(name, "")  # put back what is set below
    suite.data = saved(tmp_path / "of the clinic.h5")
    suite.tag = f"own-smoke-{digest_of(suite.data)}-seed3"
    return suite


def files(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
def test_a_run_on_an_own_cohort_lies_apart_with_a_page_and_a_stamp_of_its_own(suite, code, pageless):
    suite.code = code
    assert suite.run("01_p")[0] == 0
    ours = [suite.folder, suite.root / "figures" / suite.folder.name]
    before, data = [files(folder) for folder in ours], suite.data.read_bytes()
    exit_code, output = suite.run("01_p", "--data", str(suite.data))
    assert exit_code == 0, output
    made = json.loads((suite.root / "figures" / suite.tag / "01_p/fig.json").read_text())
    assert made["cohort"] == "own"
    assert made["source"] == f"digest {digest_of(suite.data)}"
    row = (suite.root / "data/runs" / suite.tag / "01_p/01_train/of.csv").read_text().split()[1]
    assert row == "clinic,public"
    page = (suite.root / "figures" / suite.tag / "index.html").read_text()
    assert "your own images" in page
    assert "made with other settings" not in page
    assert [files(folder) for folder in ours] == before
    assert suite.data.read_bytes() == data
    suite.code = pageless
    moved = suite.data.rename(suite.data.with_name("moved.h5"))
    assert "1 of them finished" in suite.run("01_p", "--data", str(moved))[1]
    exit_code, output = suite.run("01_p", "--data", str(moved), "--set", "epochs=5")
    assert exit_code == 0, output
    (other,) = suite.root.glob(f"figures/{suite.tag}-set-*/01_p/fig.json")
    assert json.loads(other.read_text())["source"] == f"{made['source']}; epochs = 5"
    with pytest.raises(ValueError, match="is of a user's own images: of these nothing is published"):
        write_reference(suite.tag)


@pytest.mark.slow
def test_papermill_and_one_notebook_by_hand_have_the_same_run(suite, tmp_path):
    command = [
        sys.executable,
        "-m",
        "papermill",
        suite.source("01_p/01_train"),
        tmp_path / "out.ipynb",
        "-k",
        "python3",
    ]
    command += ["--language", "python", "-p", "scale", "smoke", "-p", "seed", "3", "-p", "data", suite.data]
    env = suite.env | {"PYTHONPATH": str(suite.code)}
    made = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert (suite.root / "figures" / suite.tag / "01_p/fig.png").exists()
    command = [sys.executable, "-m", "lib.runner", "01_p", "01_train", "--scale", "smoke", "--seed", "3"]
    made = subprocess.run([*command, "-p", "data", suite.data], cwd=suite.code, env=suite.env, capture_output=True)
    assert made.returncode == 0, made.stderr
    assert (suite.root / "data/runs" / suite.tag / "01_p/01_train/done.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": np.zeros(60)}, "cannot serve 01_p, which needs two classes: all images are 'benign'"),
        ({"split": np.tile([0, 2], 30)}, "30 patients stand in two splits; give all images of a patient one split"),
        ({"patients": 1, "each": 3, "images": np.zeros((3, 16, 16), np.uint8)}, "needs two classes: all images are"),
    ],
)
def test_a_cohort_that_cannot_serve_is_refused_before_anything_runs(suite, tmp_path, changes, says):
    path = saved(tmp_path / "bad.h5", **changes)
    code, output = suite.run("01_p", "--data", str(path))
    assert code == 2
    assert f"run_all.sh: {path}" in output
    assert says in output
    assert not (suite.root / "data/runs").exists()


@pytest.mark.slow
def test_a_paper_that_takes_no_cohort_and_masks_that_it_ignores_are_refused(suite):
    code, output = suite.run("02_q", "--data", str(suite.data))
    assert code == 2
    assert "02_q takes no --data at smoke: its paper.yaml has no entry own" in output
    code, output = suite.run("01_p", "--data", str(suite.data), "--masks", str(suite.data))
    assert code == 2
    assert "01_p looks at no masks; leave them out" in output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", __file__], "--data is the cohort of a paper, here: name the paper"),
        (["05_osuala2024_dpsgd", "--data", __file__, "--cohort", "public"], "and no --cohort"),
        (["05_osuala2024_dpsgd", "--data", __file__, "--executor", "slurm"], "no --cohort, executor"),
        (["05_osuala2024_dpsgd", "--data", "none.h5"], "none.h5: no such file"),
        (["05_osuala2024_dpsgd", "--masks", __file__], "--masks are those of a cohort: give it by --data"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(words, says):
    with pytest.raises(ValueError, match=says):
        parse(words)


def test_the_scale_paper_needs_no_cohort_beside_data():
    found = parse(["paper", "05_osuala2024_dpsgd", "--data", __file__])
    assert (found.cohort, found.data) == ("own", __file__)


def test_nothing_stored_is_used_and_a_changed_file_is_found_out(suite, monkeypatch):
    run = on_cohort(Run("01_p", "demo", "phantom", 0), suite.data)
    assert run.unless_stored is None
    assert run.tag == f"own-demo-{digest_of(suite.data)}"
    assert str(run.path("x")).startswith(str(suite.root / "data/runs" / run.tag))
    monkeypatch.setenv("SUITE_RUN_TAG", run.tag)
    Cohort.open(suite.data).replaced(name="another").save(suite.data.with_name("changed.h5"))
    with pytest.raises(ValueError, match=f"changed.h5 has changed since the run {run.tag} began"):
        on_cohort(Run("01_p", "demo", "phantom", 0), suite.data.with_name("changed.h5"))
    monkeypatch.setenv("SUITE_RUN_TAG", "demo-phantom")
    with pytest.raises(ValueError, match="own images in the run demo-phantom, which is published"):
        on_cohort(Run("01_p", "demo", "phantom", 0), suite.data)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"own": OWN | {"size": "length"}}, "own: no setting 'length'"),
        ({"own": OWN | {"pixels": 9}}, "own.pixels: unknown key"),
        ({"cohorts": {"phantom": "mass"}}, "own: a user's cohort takes the place of a public one, and there is none"),
    ],
)
def test_a_wrong_entry_of_paper_yaml_names_its_line(suite, changes, says):
    folder = suite.root / "notebooks/01_p"
    content = yaml.safe_load((folder / "paper.yaml").read_text()) | changes
    (folder / "paper.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ValueError, match=rf"01_p/paper.yaml:\d+: {says}"):
        load_paper(folder)
