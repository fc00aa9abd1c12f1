"""The command line: what it writes, what it keeps to itself, and its exit codes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.audit import __main__ as command
from lib.audit.verdict import ANSWERS
from tests.audit.toy import masses

QUICK = command.THOROUGH._replace(permutations=99, copies=2, shares=(0.2, 1), repeats=2, splits=5)


@pytest.fixture
def folders(tmp_path) -> list[str]:
    """Training, held-out and synthetic images; one of the latter is a copy."""
    images, other = masses(), masses(seed=1)
    parts = {"train": images[:14], "heldout": images[14:26], "synthetic": np.concatenate([images[:1], other[:11]])}
    for name, part in parts.items():
        for number, image in enumerate(part):
            path = tmp_path / name / f"{name}-{number}" / "Miller.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(image).save(path)
    (tmp_path / "train" / "notes.txt").write_text("of Mr Miller")
    return [str(tmp_path / name) for name in parts]


def _run(folders, *more) -> tuple[int, Path]:
    out = Path(folders[0]).parent / "out" / "report.html"
    return command.main([*folders, "--out", str(out), *more]), out


@pytest.mark.slow
def test_a_copy_is_flagged_and_everything_is_written(folders, monkeypatch, capsys):
    monkeypatch.setattr(command, "THOROUGH", QUICK)
    code, out = _run(folders, "--patient-from", "folder")
    assert code == 4
    page, record = out.read_text(encoding="utf-8"), json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["answer"] == "leak flagged"
    assert record["facts"]["train"] == folders[0]
    assert "embeds images of real patients" in page
    assert "notes.txt" in page
    pairs = pd.read_csv(out.with_suffix(".pairs.csv"))
    assert len(pairs) == 12
    assert pairs["real image"][0] == "train-0/Miller.png"
    assert pairs["ratio"][0] == 0
    said = capsys.readouterr()
    assert "looking for copies" in said.err
    assert "1 of 12 synthetic images is identical to a training image" in said.out
    (row,) = record["same patient"]
    assert row["found"] == "cannot say"
    assert "The same patient, not the same image" in page
    assert "fewer than 20 training patients have two images (0)" in said.out


@pytest.mark.slow
def test_without_images_no_name_and_no_picture_leaves(folders, monkeypatch):
    monkeypatch.setattr(command, "THOROUGH", QUICK)
    code, out = _run(folders, "--no-images")
    assert code == 4
    assert {path.name for path in out.parent.iterdir()} == {"report.html", "report.json"}
    for path in out.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("Miller", "notes.txt", str(Path(folders[0]).parent)))
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/png") == 1  # ratios and power
    assert "embeds images" not in page


def test_a_dry_run_describes_and_writes_nothing(folders, capsys):
    code, out = _run(folders, "--dry-run", "--patient-from", "folder")
    assert code == 0
    assert not out.parent.exists()
    said = capsys.readouterr().out
    assert "folder" in said
    assert "passed over" in said


def test_each_answer_has_its_exit_code():
    assert command.EXIT == {"no copies found": 0, "cannot tell": 3, "leak flagged": 4}
    assert set(command.EXIT) == set(ANSWERS)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--strict"], "notes.txt: no image; read strictly, so take it out"),
        (["--patient-from", "moon"], "unknown patient_from 'moon': choose table, folder or name:REGEX"),
        (["--level", "7"], "--level is 7.0: give a share between 0 and 1"),
    ],
)
def test_what_is_refused_is_one_sentence(folders, more, sentence, capsys):
    code, out = _run(folders, *more)
    assert code == 1
    assert sentence in capsys.readouterr().err
    assert not out.parent.exists()
