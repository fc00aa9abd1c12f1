"""APTOS 2019: the official layout, a balanced subset, and what is refused."""

import shutil

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import aptos
from tests.cohorts.toy import ramp

GRADES = {"00a1": 0, "0b-2": 3, "0c_3": 4}


@pytest.fixture
def retinas(tmp_path):
    root = tmp_path / "aptos2019"
    for name in GRADES:
        ramp(root / aptos.PHOTOGRAPHS / f"{name}.png", mode="RGB")
    table(root, *(f"{name},{grade}" for name, grade in GRADES.items()))
    return root


def table(root, *rows):
    (root / aptos.TABLE).write_text("\n".join(("id_code,diagnosis", *rows)) + "\n")


def test_aptos_layout(retinas, tmp_path):
    [path] = aptos.prepare(retinas, tmp_path / "out")
    cohort = Cohort.open(path)
    assert (path.name, list(cohort.source_name)) == ("aptos.h5", list(GRADES))
    np.testing.assert_array_equal(cohort.labels, [0, 3, 4])
    images = cohort.images[:]
    assert images.shape == (3, 3, 256, 256)
    assert images[:, :, :30].max() == images[:, :, -30:].max() == 0  # 400 x 300 in a square: a band above and below
    assert np.abs(images[:, :, 128] - np.linspace(0, 255, 256)).max() <= 2


def test_aptos_balanced_subset(retinas, tmp_path):
    graded = GRADES | {"1": 1, "2": 2, "3": 1, "4": 0}
    for name in graded:
        ramp(retinas / aptos.PHOTOGRAPHS / f"{name}.png", mode="RGB")
    table(retinas, *(f"{name},{grade}" for name, grade in graded.items()), "without_photograph,2")
    whole, part = (Cohort.open(path) for path in aptos.prepare(retinas, tmp_path / "out", balanced=1))
    assert (len(whole), len(part), part.name) == (7, 5, "aptos_950")
    assert sorted(part.labels) == [0, 1, 2, 3, 4]
    assert set(part.source_name) < set(whole.source_name)
    for cohort in (whole, part):  # a photograph keeps its number and split
        splits, expected = (dict(zip(of.source_name, of.split, strict=True)) for of in (cohort, whole))
        assert all(splits[name] == expected[name] for name in part.source_name)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda r: (r / aptos.TABLE).unlink(), "no train.csv in it; give --from the folder"),
        (lambda r: shutil.rmtree(r / aptos.PHOTOGRAPHS), "no train_images in it"),
        (lambda r: [p.unlink() for p in r.glob("*/*.png")], "no photograph in it"),
        (lambda r: table(r, "00a1,0", "0b-2,3"), r"0c_3\.png: no row in train\.csv"),
        (lambda r: table(r, "00a1,5"), "line 2: '00a1', grade '5': give an id_code and a grade"),
        (lambda r: table(r, "../x,1"), r"line 2: '\.\./x'"),
        (lambda r: table(r, "00a1,0", "00a1,1"), "line 3: 00a1 has another grade"),
        (lambda r: (r / aptos.TABLE).write_text("id\n"), "no column id_code, diagnosis"),
        (lambda r: (r / aptos.PHOTOGRAPHS / "00a1.png").write_bytes(b"no"), r"00a1\.png: not a readable PNG"),
    ],
)
def test_aptos_refuses(retinas, tmp_path, spoil, sentence):
    spoil(retinas)
    with pytest.raises(ValueError, match=sentence):
        aptos.prepare(retinas, tmp_path / "out")
    assert not (tmp_path / "out" / "aptos.h5").exists()
