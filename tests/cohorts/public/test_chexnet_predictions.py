"""Public predictions for real radiographs: joined with the label table, verified, refused when they do not fit."""

import csv
import gzip

import numpy as np
import pytest

from lib.cohorts import public as datasets
from lib.cohorts.__main__ import main
from lib.cohorts.public import chexnet_predictions, nih_cxr14
from lib.cohorts.public.chexnet_predictions import FINDINGS, Predictions
from lib.cohorts.public.sets import open_prepared
from tests.paths import SHARED

LABELS = "Image Index,Finding Labels,Patient ID,View Position\n"
RADIOGRAPHS = {"00000001_000.png": "Hernia|Edema", "00000001_001.png": "No Finding", "00000002_000.png": "Mass"}
HEADER = ["Image Index", *(f"prob_{finding}" for finding in FINDINGS)]


def write(folder, radiographs=tuple(RADIOGRAPHS), score="0.25", header=HEADER, place="pretrained"):
    (folder / place).mkdir(parents=True, exist_ok=True)
    with open(folder / place / "preds.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *([radiograph, score, *["0.5"] * 13] for radiograph in radiographs)])
    rows = [f"{radiograph},{findings},{int(radiograph[:8])},PA" for radiograph, findings in RADIOGRAPHS.items()]
    table = folder / "torchxrayvision" / "data" / "Data_Entry_2017_v2020.csv.gz"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(gzip.compress((LABELS + "\n".join(rows)).encode()))
    return folder


@pytest.mark.parametrize("place", [".", "pretrained", "reproduce_chexnet"])
def test_scores_stand_beside_their_labels(tmp_path, place):
    folder = write(tmp_path / "in", ("00000002_000.png", "00000001_000.png"), place=place)
    [path] = chexnet_predictions.prepare(folder, tmp_path, count=2)
    read = Predictions.open(path)
    assert list(read.radiograph) == ["00000002_000.png", "00000001_000.png"]
    np.testing.assert_array_equal(read.patient, [2, 1])
    np.testing.assert_array_equal(read.scores, [[0.25, *[0.5] * 13]] * 2)
    assert [[FINDINGS[k] for k in np.flatnonzero(row)] for row in read.labels] == [["Mass"], ["Edema", "Hernia"]]
    assert str(read) == "chexnet_predictions: 14 probabilities for 2 radiographs of 2 patients"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"radiographs": ["00000009_000.png"]},
            "line 2: '00000009_000.png' has no row in .*v2020.csv.gz; give NIH's whole",
        ),
        ({"radiographs": list(RADIOGRAPHS)[:1] * 2}, "line 3: 00000001_000.png stands in the table twice"),
        ({"radiographs": list(RADIOGRAPHS)[:2]}, "preds.csv: 2 radiographs where 3 were published"),
        ({"score": "1.5"}, "line 2: a probability of 00000001_000.png is not a number from 0 to 1"),
        ({"score": "nan"}, "line 2: a probability of 00000001_000.png is not a number"),
        ({"score": ""}, "line 2: a probability of 00000001_000.png is not a number"),
        (
            {"header": ["Image Index", *HEADER[2:], "x"]},
            "no column prob_Atelectasis; give preds.csv of github.com/jrzech",
        ),
        ({"place": "elsewhere"}, "no preds.csv in it; give the folder of github.com/jrzech"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        chexnet_predictions.prepare(write(tmp_path / "in", **options), tmp_path / "out", count=3)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_label_table_is_named(tmp_path):
    (write(tmp_path) / "torchxrayvision/data/Data_Entry_2017_v2020.csv.gz").unlink()
    with pytest.raises(ValueError, match="no label table; put NIH's Data_Entry_2017_v2020"):
        chexnet_predictions.prepare(tmp_path, tmp_path / "out", count=3)


def test_the_command_prepares_and_lists_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run `python -m lib.cohorts prepare chexnet_predictions`"):
        open_prepared("chexnet_predictions")
    monkeypatch.setattr(chexnet_predictions.prepare, "__kwdefaults__", {"count": 3})
    assert main(["prepare", "chexnet_predictions", "--from", str(write(tmp_path / "in"))]) == 0
    assert "differs from what was published" in capsys.readouterr().err
    assert len(open_prepared("chexnet_predictions").radiograph) == 3
    with pytest.raises(ValueError, match="chexnet_predictions is a table"):
        datasets.open_public("chexnet_predictions")
    assert main(["list"]) == 0
    assert "14 probabilities for 3 radiographs of 2 patients" in capsys.readouterr().out


def test_the_sources_are_pinned():
    predictions, labels = chexnet_predictions.sources()
    assert list(predictions.manifest) == ["pretrained/preds.csv"]
    assert labels == nih_cxr14.sources()[1]
    shared = SHARED / "reproduce_chexnet" / "preds.csv"
    if not shared.exists():
        pytest.skip("no ../shared/data/reproduce_chexnet")
    assert predictions.holds("pretrained/preds.csv", shared)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("patient", "1.5", "patient holds 1.5"),
        ("patient", "nan", "patient holds nan"),
        ("patient", "x", "could not convert string to float"),
        ("Mass", "0.9", "the labels holds 0.9"),
        ("Mass", "2", "a label is not 0 or 1"),
        ("prob_Mass", "nan", "a score not from 0 to 1"),
    ],
)
def test_a_prepared_table_is_not_believed(tmp_path, column, value, sentence):
    """A label of 0.9 became 0."""
    names = ["radiograph", "patient", *FINDINGS, *(f"prob_{finding}" for finding in FINDINGS)]
    row = dict.fromkeys(names, "1") | {column: value}
    path = tmp_path / "p.csv.gz"
    path.write_bytes(gzip.compress("\n".join([",".join(names), ",".join(row.values())]).encode()))
    with pytest.raises(ValueError, match=rf"p\.csv\.gz: .*{sentence}.*; prepare the table again"):
        Predictions.open(path)
    path.write_bytes(gzip.compress(",".join(names).encode()))
    with pytest.raises(ValueError, match="no row below the header"):
        Predictions.open(path)
