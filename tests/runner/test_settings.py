"""Settings given on the command line: checked before anything runs, stamped, in a run of their own."""

import json

import pytest
import yaml

from lib.report.__main__ import main as report
from lib.report.reference import write_reference
from lib.runner.cli import parse
from lib.runner.settings import check_settings
from tests.runner.toy import Suite

SOURCE = """
import pandas as pd
from lib.experiment.run import Run
run = Run("01_p", scale, cohort, seed)
run.table("tab", pd.DataFrame({"epochs": [run.settings.epochs]}), n=1)
print(run.unless_stored, run.tag)
"""
SETTINGS = {
    "epochs": [1, 2, 3], "rate": [0.1, 0.1, 0.1], "sizes": [[8], [8], [8]], "way": ["a", "b", "c"],
    "decay": [None, None, None], "deep": [True, False, True],
}  # fmt: skip


@pytest.fixture
def suite(tmp_path, monkeypatch):
    suite = Suite(tmp_path, {"01_p": {"01_train": ((), SOURCE)}}, None)
    paper = tmp_path / "notebooks/01_p/paper.yaml"
    item = {"tab": {"notebook": "01_train", "shows": "epochs", "published": None}}
    content = yaml.safe_load(paper.read_text()) | {"settings": SETTINGS, "items": item}
    paper.write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    monkeypatch.setenv("SUITE_SETTINGS", "")  # which a page of such a run sets, and which is put back
    return suite


@pytest.mark.slow
def test_a_setting_is_used_stamped_and_has_a_run_of_its_own(suite, fork_server, pageless, code, monkeypatch, capsys):
    suite.code, suite.env["SUITE_FORK_SERVER"] = pageless, fork_server
    assert suite.run("01_p")[0] == 0
    suite.code = code
    exit_code, output = suite.run("01_p", "--set", "epochs=7", "--set", "way=a b")
    assert exit_code == 0, output
    (folder,) = suite.root.glob("figures/smoke-phantom-seed3-set-*")
    made = json.loads((folder / "01_p/tab.json").read_text())
    assert made["rows"]["data"] == [["7"]]
    assert made["source"] == "mass; epochs = 7; way = a b"
    plain = json.loads((suite.root / "figures/smoke-phantom-seed3/01_p/tab.json").read_text())
    assert plain["rows"]["data"] == [["1"]]
    assert plain["settings_sha256"] != made["settings_sha256"]
    assert "epochs = 7" in (folder / "index.html").read_text()
    assert "1 of them finished" in suite.run("01_p", "--set", "epochs=7", "--set", "way=a b", "--dry-run")[1]
    with pytest.raises(ValueError, match="is of other settings than paper.yaml has: of these nothing is published"):
        write_reference(folder.name)
    monkeypatch.setattr("sys.argv", ["report", folder.name])  # a page is written again by the settings of its run
    assert report() == 0
    capsys.readouterr()
    assert "made with other settings" not in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epoch": 7}, "01_p/paper.yaml has no setting 'epoch': choose of epochs, rate, sizes, way, decay, deep"),
        ({"epochs": 0.5}, "epochs=0.5: notebooks/01_p/paper.yaml has 1 at smoke; give a whole number"),
        ({"epochs": 0}, "give one above 0"),
        ({"epochs": "many"}, "give a number"),
        ({"rate": -1.0}, "give one above 0"),
        ({"sizes": 8}, "give a list"),
        ({"sizes": [8, "x"]}, "give a number"),
        ({"way": 3}, "give a text"),
        ({"deep": 1}, "give True or False"),
        ({"epochs": True}, "give True or False"),
    ],
)
def test_what_is_no_setting_or_no_value_of_its_kind_is_refused(suite, given, says):
    with pytest.raises(ValueError, match=says):
        check_settings(given, ["01_p"], "smoke")


def test_values_of_their_kind_are_taken(suite):
    fine = {"epochs": 9, "rate": 1, "sizes": [4, 16], "way": "z", "decay": 0.9, "deep": False}
    check_settings(fine, ["01_p"], "smoke")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "epochs"], "setting 'epochs': give NAME=VALUE"),
        (["--set", "epochs=3"], "--set replaces settings of a paper, here: name the paper"),
        (["05_osuala2024_dpsgd", "--set", "a=3", "--executor", "slurm"], "name the paper, and no executor"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(words, says):
    with pytest.raises(ValueError, match=says):
        parse(words)


def test_values_are_read_as_python_and_else_as_text():
    words = ["05_osuala2024_dpsgd", "--set", "a=[1, 6]", "--set", "b=bf16", "--set", "c=2e-4"]
    assert parse(words).settings == {"a": [1, 6], "b": "bf16", "c": 2e-4}
