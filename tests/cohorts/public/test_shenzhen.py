"""The Shenzhen radiographs: the public layout, fabricated, and what is refused."""

import shutil

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import shenzhen
from tests.cohorts.toy import ramp

RADIOGRAPHS = {"CHNCXR_0001_0": "L", "CHNCXR_0002_0": "RGB", "CHNCXR_0400_1": "L"}


@pytest.fixture
def radiographs(tmp_path):
    root = tmp_path / "ChinaSet_AllFiles"
    (root / shenzhen.READINGS).mkdir(parents=True)
    for name, mode in RADIOGRAPHS.items():
        ramp(root / shenzhen.RADIOGRAPHS / f"{name}.png", mode=mode)
        (root / shenzhen.READINGS / f"{name}.txt").write_text("male 45yrs\n\nnormal\n")
    return root


def test_shenzhen_layout(radiographs, tmp_path):
    [path] = shenzhen.prepare(radiographs, tmp_path / "out")
    cohort = Cohort.open(path)
    assert (path.name, list(cohort.source_name), cohort.label_names) == (
        "shenzhen.h5",
        list(RADIOGRAPHS),
        ("normal", "tuberculosis"),
    )
    np.testing.assert_array_equal(cohort.labels, [0, 0, 1])
    np.testing.assert_array_equal(cohort.patient, [1, 2, 400])
    assert "2 of 326 normal and 1 of 336 tuberculosis" in cohort.source
    assert cohort.images[:].shape == (3, 256, 256)
    assert np.abs(cohort.images[:] - np.linspace(0, 255, 256)).max() <= 2
    shutil.rmtree(radiographs / shenzhen.READINGS)  # radiographs alone will do
    shenzhen.prepare(radiographs, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda r: shutil.rmtree(r / shenzhen.RADIOGRAPHS), "no CXR_png in it; give --from the folder"),
        (lambda r: [p.unlink() for p in r.glob("CXR_png/*")], "no radiograph in it"),
        (
            lambda r: ramp(r / shenzhen.RADIOGRAPHS / "MCUCXR_0001_0.png"),
            "not a radiograph of the release by its name",
        ),
        (
            lambda r: ramp(r / shenzhen.RADIOGRAPHS / "CHNCXR_0001_1.png"),
            "radiograph 0001 is there with both labels",
        ),
        (lambda r: (r / shenzhen.READINGS / "CHNCXR_0002_0.txt").unlink(), "no reading CHNCXR_0002_0.txt"),
        (lambda r: (r / shenzhen.RADIOGRAPHS / "CHNCXR_0001_0.png").write_bytes(b"no"), r"0001_0\.png: not a readable"),
        (lambda r: ramp(r / shenzhen.RADIOGRAPHS / "CHNCXR_0001_0.png", shape=(300, 200)), "fewer than 256"),
    ],
)
def test_shenzhen_refuses(radiographs, tmp_path, spoil, sentence):
    spoil(radiographs)
    with pytest.raises(ValueError, match=sentence):
        shenzhen.prepare(radiographs, tmp_path / "out")
    assert not (tmp_path / "out" / "shenzhen.h5").exists()
