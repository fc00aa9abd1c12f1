"""The public benchmarks that the walks are tried on: N classes, grey or in colour, from fabricated trees."""

import json

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import aptos, nih_cxr14, shenzhen
from tests.cohorts.toy import paint
from tests.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "04_pennisi2023_walk" / "01_train.ipynb"


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """What the notebook knows at smoke once its images are declared, by the benchmark that is asked for."""
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    imports, _, first, images = ("".join(cell["source"]) for cell in cells[:4])

    def of(benchmark):
        monkeypatch.setenv("SUITE_SETTINGS", json.dumps({"benchmark": benchmark}))
        names = {"scale": "smoke", "cohort": "public", "seed": 0, "data": ""}
        for cell in (imports, first, images):
            exec(cell, names)
        return names["public_patients"]

    return of, tmp_path / "data" / "cohorts"


def test_fundus_photographs_have_five_classes_in_colour(opened, tmp_path):
    of, cohorts = opened
    grades = {f"eye{i:02d}": i % 5 for i in range(30)}
    for name in grades:
        paint(tmp_path / "aptos" / aptos.PHOTOGRAPHS / f"{name}.png", size=256, mode="RGB")
    rows = "\n".join(f"{name},{grade}" for name, grade in grades.items())
    (tmp_path / "aptos" / aptos.TABLE).write_text(f"id_code,diagnosis\n{rows}\n")
    aptos.prepare(tmp_path / "aptos", cohorts, balanced=6)
    first, second = (of("aptos_950")(number)["images"] for number in (0, 1))
    assert first.images.shape == (30, 3, 16, 16)
    assert (first.label_names, first.name) == (aptos.LABELS, "aptos_950")
    np.testing.assert_array_equal(np.bincount(first.labels), 5 * [6])
    np.testing.assert_array_equal(first.split == 2, second.split == 2)  # the same test patients


def test_the_radiographs_of_shenzhen_keep_their_two_classes(opened, tmp_path):
    of, cohorts = opened
    for number in range(1, 13):
        paint(tmp_path / "shenzhen" / shenzhen.RADIOGRAPHS / f"CHNCXR_{number:04d}_{number % 2}.png", size=256)
    shenzhen.prepare(tmp_path / "shenzhen", cohorts)
    [found] = of("shenzhen")(0).values()
    assert found.images.shape == (12, 16, 16)
    assert found.label_names == shenzhen.LABELS
    assert "Jaeger" in found.source
    np.testing.assert_array_equal(np.bincount(found.labels), [6, 6])


def test_the_radiographs_of_nih_are_pooled_by_patient_with_any_finding_or_none(opened):
    of, cohorts = opened
    rng = np.random.default_rng(0)
    for name, size, patients in (("nih_cxr14_1000", 256, range(60)), ("nih_followup", 64, np.arange(30, 90).repeat(2))):
        labels = rng.integers(0, 2, (len(patients), len(nih_cxr14.FINDINGS))) * (rng.random((len(patients), 1)) < 0.5)
        images = rng.integers(0, 256, (len(patients), size, size)).astype(np.uint8)
        view = rng.integers(0, 2, len(patients))
        of_name = {"name": name, "label_names": nih_cxr14.FINDINGS, "view": view}
        Cohort(images, patients, labels, np.zeros(len(patients)), **of_name).save(cohorts / f"{name}.h5")
    pooled, anew = (of("nih")(number)["images"] for number in (0, 1))
    assert (len(pooled), len(np.unique(pooled.patient)), pooled.label_names) == (180, 90, ("none", "finding"))
    np.testing.assert_array_equal(np.bincount(pooled.split, minlength=3) > 0, 3 * [True])
    np.testing.assert_array_equal(pooled.split == 2, anew.split == 2)
    assert (pooled.split != anew.split).any()  # Cohort itself refuses a patient in two splits
