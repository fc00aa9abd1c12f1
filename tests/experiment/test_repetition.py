"""Records of whole repetitions: measured once, found again under the same settings alone, and never mistaken."""

import json
import shutil

import numpy as np
import pytest

from lib.core.paths import root
from lib.experiment.repetition import is_recorded, recorded
from lib.experiment.run import Run

PAPER = """\
title: Nobody's paper
cite: Nobody 2020
cohorts: {phantom: mass}
notebooks: {01_train: [], 02_fidelity: [01_train]}
settings: {width: [1, 2, 3], repetitions: [1, 2, 3]}
records: {02_fidelity/gate: 1}
"""
NAME, VALUES = "02_fidelity/gate", {"coverage": np.float64(0.1 + 0.2), "draws": np.arange(6.0).reshape(2, 3) / 7}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    monkeypatch.delenv("SUITE_TRAIN", raising=False)
    folder = tmp_path / "notebooks" / "09_nobody"
    folder.mkdir(parents=True)
    for name in ("01_train", "02_fidelity"):
        (folder / f"{name}.ipynb").write_text("{}")

    def write(text=PAPER, **run):
        (folder / "paper.yaml").write_text(text)
        return Run(**{"paper": "09_nobody", "scale": "demo", "cohort": "phantom", "seed": 0} | run)

    return write


def never():
    raise AssertionError("measured again")


def commit():
    """What `python -m lib.report reference` does with the records of the run, which then is forgotten."""
    own = root() / "data/runs/demo-phantom/09_nobody"
    committed = root() / "figures/reference/demo-phantom/09_nobody/records/02_fidelity/3/gate.npz"
    committed.parent.mkdir(parents=True)
    shutil.copyfile(own / "02_fidelity/3/gate.npz", committed)
    shutil.rmtree(own)
    return committed


def assert_same(found):
    assert found.keys() == VALUES.keys()
    for name, value in VALUES.items():
        assert np.array_equal(found[name], value)


def test_it_is_measured_once(write):
    assert_same(recorded(write(), NAME, 3, lambda: VALUES))
    assert_same(recorded(write(), NAME, 3, never))
    with pytest.raises(AssertionError, match="measured again"):
        recorded(write(), NAME, 4, never)


@pytest.mark.parametrize(
    ("text", "run"),
    [
        (PAPER.replace("[1, 2, 3], rep", "[1, 9, 3], rep"), {}),
        (PAPER.replace("gate: 1", "gate: 2"), {}),
        (PAPER.replace("mass", "chest"), {}),
    ],
)
def test_other_settings_version_or_images_are_measured(write, text, run):
    recorded(write(), NAME, 3, lambda: VALUES)
    with pytest.raises(AssertionError, match="measured again"):
        recorded(write(text, **run), NAME, 3, never)


def test_more_repetitions_or_another_scale_s_settings_change_nothing(write):
    recorded(write(), NAME, 3, lambda: VALUES)
    recorded(write(PAPER.replace("repetitions: [1, 2, 3]", "repetitions: [4, 5, 6]")), NAME, 3, never)
    recorded(write(PAPER.replace("width: [1, 2, 3]", "width: [9, 2, 9]")), NAME, 3, never)


def test_what_is_committed_is_found_said_and_trained_by_nobody(write, capsys):
    run = write()
    recorded(run, NAME, 3, lambda: VALUES)
    assert not is_recorded(run, [NAME], 3)  # this run's own, whose trainings are there
    commit()
    assert is_recorded(run, [NAME], 3)
    assert not is_recorded(run, [NAME], 4)
    assert_same(recorded(run, NAME, 3, never))
    assert "repetition 3: 02_fidelity/gate as measured by revision" in capsys.readouterr().out
    assert_same(recorded(run, NAME, 3, never))
    assert capsys.readouterr().out == ""


def test_asked_to_train_it_measures_what_was_committed_but_not_its_own(write, monkeypatch):
    run = write()
    recorded(run, NAME, 3, lambda: VALUES)
    commit()
    recorded(run, NAME, 3, never)
    monkeypatch.setenv("SUITE_TRAIN", "1")
    assert not is_recorded(run, [NAME], 3)
    with pytest.raises(AssertionError, match="measured again"):
        recorded(run, NAME, 3, never)
    recorded(run, NAME, 3, lambda: VALUES)
    recorded(run, NAME, 3, never)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half", b"{}"])
def test_a_damaged_record_is_named(write, content):
    run = write()
    recorded(run, NAME, 3, lambda: VALUES)
    committed = commit()
    committed.write_bytes(content)
    with pytest.raises(ValueError, match=r"The record .*gate\.npz is damaged: delete it"):
        recorded(run, NAME, 3, never)


def test_pickled_arrays_are_refused(write):
    run = write()
    recorded(run, NAME, 3, lambda: VALUES)
    about = {"key": "", "made": {}}
    np.savez(commit(), coverage=np.array([{}], object), about=np.array(json.dumps(about)))
    with pytest.raises(ValueError, match="is damaged"):
        recorded(run, NAME, 3, never)


@pytest.mark.parametrize(
    ("name", "number", "says"),
    [
        ("02_fidelity/frd", 0, "declares no record '02_fidelity/frd': 02_fidelity/gate"),
        (NAME, -1, "repetition -1: give a whole number from 0"),
        (NAME, True, "repetition True: give a whole number"),
    ],
)
def test_what_cannot_be_recorded_is_refused(write, name, number, says):
    with pytest.raises(ValueError, match=says):
        recorded(write(), name, number, lambda: VALUES)


def test_an_array_may_not_take_the_place_of_how_it_was_made(write):
    with pytest.raises(ValueError, match="an array is called 'about'"):
        recorded(write(), NAME, 0, lambda: {"about": np.zeros(2)})


def test_a_record_is_named_after_its_notebook(write):
    for name in ("gate", "03_other/gate", "02_fidelity/gate/more"):
        with pytest.raises(ValueError, match="name it NOTEBOOK/NAME"):
            write(PAPER.replace("02_fidelity/gate", name))
