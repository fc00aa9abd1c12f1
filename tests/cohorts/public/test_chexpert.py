"""CheXpert: the official layout, the policy for uncertain labels, and what is refused."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.public import chexpert, raw_folder
from lib.core.paths import published
from tests.cohorts.toy import ramp

HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chexpert.FINDINGS)
NAME = "CheXpert-v1.0-small"
# Path, side, view, and the labels that are not blank.
ROWS = [
    ("train/patient00001/study1/view1_frontal.jpg", "AP", {"No Finding": "1.0", "Support Devices": "1.0"}),
    (
        "train/patient00001/study2/view1_frontal.jpg",
        "PA",
        {"Edema": "-1.0", "Consolidation": "-1.0", "Fracture": "0.0"},
    ),
    ("train/patient00001/study2/view2_lateral.jpg", "", {"Edema": "-1.0"}),
    ("train/patient00002/study1/view1_frontal.jpg", "LL", {"Pneumonia": "-1.0", "Lung Opacity": "1.0"}),
]
TEST = [("valid/patient64541/study1/view1_frontal.jpg", "AP", {"Cardiomegaly": "1.0"})]


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for radiograph, view, labels in rows:
            side = "Lateral" if "lateral" in radiograph else "Frontal"
            row = [f"{NAME}/{radiograph}", "Female", 68, side, view]
            writer.writerow(row + [labels.get(finding, "") for finding in chexpert.FINDINGS])


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "download" / NAME
    for number, (name, *_) in enumerate(ROWS + TEST):
        ramp(root / name, (300 + 20 * number, 390), 20, 220)
    write_table(root / "train.csv", ROWS)
    write_table(root / "valid.csv", TEST)
    return root


@pytest.mark.parametrize("given", [".", ".."])
def test_the_official_layout(release, tmp_path, given):
    [path] = chexpert.prepare(release / given, tmp_path / "out")
    radiographs = Cohort.open(path)
    assert path.name == "chexpert.h5"
    assert list(radiographs.source_name) == [ROWS[0][0], ROWS[1][0], ROWS[3][0], TEST[0][0]]
    np.testing.assert_array_equal(radiographs.patient, [1, 1, 2, 64541])
    np.testing.assert_array_equal(radiographs.view, [1, 0, 2, 1])
    assert radiographs.split[3] == 2
    assert set(radiographs.split[:3]) <= {0, 1}
    assert "4 of 4 frontal radiographs" in radiographs.source
    assert "no redistribution" in radiographs.licence
    assert [[chexpert.FINDINGS[k] for k in np.flatnonzero(row)] for row in radiographs.labels] == [
        ["No Finding", "Support Devices"],
        ["Edema"],
        ["Lung Opacity", "Pneumonia"],
        ["Cardiomegaly"],
    ]


def test_radiographs_of_any_shape_are_squeezed_and_stretched(release, tmp_path):
    [path] = chexpert.prepare(release, tmp_path / "out")
    images = Cohort.open(path).images[:]
    assert (images.shape, images.dtype) == ((4, 256, 256), np.uint8)
    expected = np.linspace(0, 255, 256)
    for image in images:
        assert (image.min(), image.max()) == (0, 255)
        assert np.abs(image.mean(axis=0) - expected).max() < 5


def test_a_part_of_the_release_can_be_prepared(release, tmp_path):
    (release / ROWS[0][0]).unlink()
    [path] = chexpert.prepare(release, tmp_path / "out")
    assert "3 of 4 frontal radiographs" in Cohort.open(path).source


def test_the_policy_for_uncertain_labels():
    certain = {"Cardiomegaly", "Edema", "Atelectasis", "Pleural Effusion", "Pneumothorax", "Lung Opacity"}
    assert {finding for finding, value in chexpert.UNCERTAIN.items() if value == 0} == {"Consolidation"}
    assert set(chexpert.ASSUMED) == set(chexpert.FINDINGS) - certain - {"Consolidation"}
    assert tuple(chexpert.UNCERTAIN) == chexpert.FINDINGS


def change(release, finding="Edema", value="1.0", view="AP", name=ROWS[0][0], table="train.csv"):
    write_table(release / table, [(name, view, {finding: value}), *ROWS[1:]])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda r: change(r, value="2.0"), r"train\.csv, line 2: Edema is '2\.0'; known labels are 1, 0, -1 and blank"),
        (lambda r: change(r, view="XX"), "line 2: unknown view 'XX'; known are PA, AP, LL, RL"),
        (lambda r: change(r, name=ROWS[1][0]), "line 3: train/patient00001/study2/.* stands in the table twice"),
        (lambda r: change(r, name="train/patient1/view1_frontal.jpg"), "line 2: .* is not a Frontal of this release"),
        (lambda r: write_table(r / "train.csv", ROWS[1:]), r"view1_frontal\.jpg: no row in train\.csv or valid\.csv"),
        (lambda r: (r / "train.csv").write_text("Path,Edema\n"), "no column Frontal/Lateral, AP/PA, No Finding"),
        (lambda r: (r / "train.csv").write_bytes(b"\xff\xfe\x00"), "train.csv: not a readable table"),
        (lambda r: (r / "valid.csv").unlink(), r"valid\.csv is missing beside the other table; give --from"),
        (
            lambda r: [shutil.rmtree(r / part) for part in ("train", "valid")],
            "no radiograph in it; give --from the folder",
        ),
        (lambda r: shutil.rmtree(r), "no train.csv in it; give --from the folder CheXpert"),
        (lambda r: ramp(r / ROWS[0][0], (300, 200)), r"200×300 pixels are fewer than 256×256"),
        (
            lambda r: Image.new("I;16", (300, 300)).save(r / ROWS[0][0], format="PNG"),
            "mode I;16 is not 8-bit grey or colour",
        ),
        (
            lambda r: (r / ROWS[0][0]).write_bytes((r / ROWS[0][0]).read_bytes()[:900]),
            r"view1_frontal\.jpg: truncated or damaged JPEG or PNG",
        ),
        (lambda r: (r / ROWS[0][0]).write_bytes(b""), "not a readable JPEG or PNG"),
    ],
)
def test_a_spoilt_release_is_refused_in_one_sentence(release, tmp_path, spoil, sentence):
    spoil(release)
    with pytest.raises(ValueError, match=sentence) as caught:
        chexpert.prepare(release.parent, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_it_is_prepared_by_hand_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    assert chexpert.sources() == []
    assert main(["prepare", "chexpert"]) == 1
    assert "give --from the folder CheXpert-v1.0" in capsys.readouterr().err


def test_the_label_vectors_that_were_printed():
    """E7. The table of CheXpert is given out on request, so this runs where it is: CHEXPERT names its folder."""
    folder = Path(os.environ.get("CHEXPERT") or raw_folder("chexpert"))
    path = next((p for p in (folder / "train.csv", *folder.glob("*/train.csv")) if p.is_file()), None)
    if path is None:
        pytest.skip("no train.csv of CheXpert here; set CHEXPERT to the folder that holds it")
    printed = np.loadtxt(published("han2019/chexpert_label_vectors.csv"), delimiter=",", skiprows=1, dtype=int)
    labels = [findings for _, findings, _ in list(chexpert.read_table(path).values())[:20]]
    np.testing.assert_array_equal(labels, printed)
