"""Learning curves: every row once, whatever happens between two saves, some thousand at most; events on request."""

import re
import sys
import types

import numpy as np
import pytest
import torch

from lib.training.loop.curve import LearningCurve, read_curve


def add(curve, *steps):
    for step in steps:
        if curve.has_row(step):
            curve.add(step, step / 2, 10.0, {"d": torch.tensor(1 / step), "g": step})


def test_a_row_holds_step_seconds_images_a_second_and_each_loss(tmp_path):
    curve = LearningCurve(tmp_path, 3)
    add(curve, 1, 2, 3)
    curve.flush()
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[:3] == ["step,seconds,images/s,d,g", "1,0.500,10,1,1", "2,1.000,10,0.5,2"]
    found = read_curve(tmp_path)
    assert (found.names, found.steps.tolist()) == (("d", "g"), [1, 2, 3])
    assert found.values.dtype == np.float32
    assert np.array_equal(found.values[:, 0], np.float32(1) / np.arange(1, 4, dtype=np.float32))  # bit for bit


def test_after_a_kill_no_row_is_missing_or_there_twice(tmp_path):
    curve = LearningCurve(tmp_path, 9)
    add(curve, 1, 2, 3)
    kept = curve.flush()
    add(curve, 4, 5)
    curve.flush()  # of a checkpoint that is damaged, or was not written any more
    add(curve, 6)  # lost with the process
    again = LearningCurve(tmp_path, 9, start=3, kept=kept)
    add(again, 4)
    kept = again.flush()
    add(again, 5)
    last = LearningCurve(tmp_path, 9, start=4, kept=kept)
    add(last, 5, 6, 7, 8, 9)
    last.flush()
    assert read_curve(tmp_path).steps.tolist() == [*range(1, 10)]


@pytest.mark.parametrize(
    "kept", [None, 3, {}, {"bytes": "x"}, {"bytes": -4, "sha256": ""}, {"bytes": 40, "sha256": "0"}]
)
def test_a_curve_that_is_not_the_checkpoints_begins_anew_and_is_said(tmp_path, caplog, kept):
    curve = LearningCurve(tmp_path, 9)
    add(curve, 1, 2, 3)
    curve.flush()
    again = LearningCurve(tmp_path, 9, start=3, kept=kept)
    add(again, 4)
    again.flush()
    assert read_curve(tmp_path).steps.tolist() == [4]
    assert "curve.csv: the rows up to step 3 are not known, it begins after it" in caplog.text


def test_a_long_training_has_some_thousand_rows_and_the_last_step(tmp_path):
    curve = LearningCurve(tmp_path, 700_001)
    rows = [step for step in range(1, 700_002) if curve.has_row(step)]
    assert 3_900 < len(rows) <= 4_001
    assert rows[-1] == 700_001
    assert LearningCurve(None, 10).has_row(10) is False


def test_losses_of_other_names_are_refused(tmp_path):
    curve = LearningCurve(tmp_path, 3)
    add(curve, 1)
    with pytest.raises(ValueError, match=r"\['new'\] of step 2"):
        curve.add(2, 1.0, 1.0, {"d": 1, "new": 2})


def test_a_damaged_or_absent_curve_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no learning curve"):
        read_curve(tmp_path)
    for content in ("", "step,seconds,images/s,d\n1,2", "step,seconds,images/s,d\n1,2,3,x"):
        (tmp_path / "curve.csv").write_text(content)
        with pytest.raises(ValueError, match="curve.csv is truncated or altered"):
            read_curve(tmp_path)


def test_event_files_on_request(tmp_path, monkeypatch):
    written, opened = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            opened.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    curve = LearningCurve(tmp_path, 3)
    assert not opened
    monkeypatch.setenv("SUITE_TENSORBOARD", "1")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    curve = LearningCurve(tmp_path, 3)
    add(curve, 1, 2)
    kept = curve.flush()
    LearningCurve(tmp_path, 3, start=2, kept=kept)
    assert opened == [(str(tmp_path / "tensorboard"), 1), (str(tmp_path / "tensorboard"), 3)]
    assert written == [("d", 1.0, 1), ("g", 1.0, 1), ("d", 0.5, 2), ("g", 2.0, 2)]


def test_event_files_without_the_package_are_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_TENSORBOARD", "1")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="the package tensorboard is not installed: pip install tensorboard") as told:
        LearningCurve(tmp_path, 3)
    assert not re.search("\n", str(told.value))
