"""NIH ChestX-ray14: the official release, a subset beside its table, and the known numbers of the real files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import image_files as png
from lib.cohorts.public import nih_cxr14
from tests.cohorts.public.nih_release import RADIOGRAPHS, ROWS, release, subset
from tests.cohorts.toy import paint
from tests.paths import shared


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("layout", ["images_001/images/{}", "images_001/{}", "images/{}", "{}"])
def test_the_official_release(tmp_path, layout):
    [path] = nih_cxr14.prepare(release(tmp_path / "nih", layout), tmp_path / "out")
    radiographs = Cohort.open(path)
    assert path.name == "nih_cxr14.h5"
    assert list(radiographs.source_name) == RADIOGRAPHS
    np.testing.assert_array_equal(radiographs.images[:][:, 7, 9], [0, 40, 80, 120])
    np.testing.assert_array_equal(radiographs.patient, [1, 1, 2, 3])
    np.testing.assert_array_equal(radiographs.view, [0, 1, 1, 0])
    assert [[nih_cxr14.FINDINGS[k] for k in np.flatnonzero(row)] for row in radiographs.labels] == [
        ["Atelectasis", "Hernia"],
        [],
        ["Pneumonia"],
        [],
    ]
    assert (radiographs.images.shape, radiographs.labels.shape, radiographs.split[3]) == ((4, 256, 256), (4, 14), 2)
    assert set(radiographs.split[:3]) <= {0, 1}
    assert "4 of 4 radiographs" in radiographs.source


def test_hashed_splits_keep_their_shares_and_agree():
    patients = range(20_000)
    split = np.array([nih_cxr14.split_of(patient) for patient in patients])
    np.testing.assert_allclose(np.bincount(split) / len(split), [0.7, 0.1, 0.2], atol=0.01)
    kept = np.array([nih_cxr14.split_of(patient, held_out=False) for patient in patients])
    np.testing.assert_allclose(np.bincount(kept) / len(kept), [0.875, 0.125], atol=0.01)
    assert [nih_cxr14.split_of(patient) for patient in (1, 7, 10, 21, 25)] == [0, 2, 1, 2, 1]


def add_row(folder, row):
    with open(folder / "Data_Entry_2017_v2020.csv", "a") as file:
        file.write(row + "\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda nih: paint(nih / "images_001/images/00000009_000.png", 256),
            r"00000009_000\.png: no row in .*v2020\.csv",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Cough,0,4,1,F,PA"),
            "line 6: unknown finding 'Cough'; known are No",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass|No Finding,0,4,1,F,PA"),
            "line 6: No Finding stands beside",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass,0,4,1,F,LL"),
            "line 6: unknown view 'LL'; known are PA, AP",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass,0,5,1,F,PA"),
            "line 6: patient '5' does not fit radiograph",
        ),
        (lambda nih: add_row(nih, ROWS[0]), "line 6: 00000001_000.png stands in the table twice"),
        (lambda nih: add_row(nih, "00000004_000.png"), "line 6: unknown view ''"),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").write_text("radiograph,label\n"),
            "no column Image Index, Finding",
        ),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").unlink(),
            "no label table; put NIH's Data_Entry_2017_v2020",
        ),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").rename(nih / "Data_Entry_2017.csv.gz"),
            "not a readable table",
        ),
        (lambda nih: (nih / "test_list.txt").unlink(), "train_val_list.txt is there without test_list.txt"),
        (
            lambda nih: (nih / "test_list.txt").write_text(""),
            "00000003_000.png: in neither of train_val_list.txt",
        ),
        (
            lambda nih: (nih / "train_val_list.txt").write_text("\n".join(RADIOGRAPHS)),
            "00000003_000.png: in both of",
        ),
        (
            lambda nih: (nih / "test_list.txt").write_text("\n".join(RADIOGRAPHS[1:])),
            "00000001_001.png: in both of",
        ),
        (lambda nih: cut(nih / "images_001/images" / RADIOGRAPHS[0]), "00000001_000.png: truncated or damaged PNG"),
        (
            lambda nih: paint(nih / "images_001/images" / RADIOGRAPHS[0], 300),
            "300×300 pixels cannot be box-averaged",
        ),
        (lambda nih: paint(nih / "images" / RADIOGRAPHS[0], 256), "the same radiograph is also"),
        (lambda nih: shutil.rmtree(nih / "images_001"), "no radiograph in it; expected are radiographs"),
    ],
)
def test_a_spoilt_release_is_refused_in_one_sentence(tmp_path, spoil, sentence):
    folder = release(tmp_path / "nih")
    spoil(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        nih_cxr14.prepare(folder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_the_subset_beside_its_table(tmp_path):
    folder = subset(tmp_path / "nih_cxr14_1000")
    counts = {"No_findings": 2, "Pneumonia": 1}
    for given in (folder, tmp_path, folder / nih_cxr14.SUBSET):
        [path] = nih_cxr14.prepare(given, tmp_path / "out", counts=counts)
    radiographs = Cohort.open(path)
    assert (radiographs.name, list(radiographs.source_name)) == ("nih_cxr14_1000", RADIOGRAPHS[1:])
    assert list(radiographs.split) == [nih_cxr14.split_of(patient) for patient in radiographs.patient]
    with pytest.raises(ValueError, match="No_findings: 2 radiographs where 500 were published, missing"):
        nih_cxr14.prepare(folder, tmp_path / "out")
    (folder / nih_cxr14.SUBSET / "Pneumonia" / RADIOGRAPHS[2]).unlink()
    paint(folder / nih_cxr14.SUBSET / "Pneumonia" / RADIOGRAPHS[0], 256)
    with pytest.raises(ValueError, match="00000001_000.png: the label table contradicts its folder Pneumonia"):
        nih_cxr14.prepare(folder, tmp_path / "out", counts=counts)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    [path] = nih_cxr14.prepare(shared("nih_cxr14_1000"), tmp_path_factory.mktemp("radiographs"))
    return Cohort.open(path)


@pytest.mark.slow
def test_real_radiographs_have_the_known_numbers(thousand):
    """Counts of the data's README; the patients with two radiographs or more are 164, with 482 radiographs."""
    assert thousand.images.shape == (1000, 256, 256)
    assert thousand.digest == nih_cxr14.DIGESTS["nih_cxr14_1000"]
    _, radiographs = np.unique(thousand.patient, return_counts=True)
    assert (len(radiographs), (radiographs > 1).sum(), radiographs[radiographs > 1].sum()) == (682, 164, 482)
    assert tuple(np.bincount(thousand.view)) == (433, 567)
    counts = dict(zip(nih_cxr14.FINDINGS, thousand.labels.sum(0), strict=True))
    assert (~thousand.labels.any(1)).sum() == counts["Pneumonia"] == 500
    assert [counts[name] for name in ("Infiltration", "Atelectasis", "Edema", "Effusion")] == [
        187,
        113,
        96,
        90,
    ]


@pytest.mark.slow
def test_real_radiographs_reduce_to_the_copies_exactly(thousand):
    """The 1024-pixel originals, through our preparation, equal the 256-pixel copies and their manifest."""
    originals = sorted((shared("nih_cxr14_1000") / "raw_1024_sample").glob("*.png"))
    assert len(originals) == 12
    radiographs, _ = nih_cxr14.sources()
    marks = {Path(name).name: mark for name, mark in radiographs.manifest.items()}
    for path in originals:
        reduced = png.read_reduced(path, 256)
        [row] = np.flatnonzero(thousand.source_name == path.name)
        np.testing.assert_array_equal(reduced, thousand.images[row])
        assert nih_cxr14.radiograph_fingerprint(path) == marks[path.name]
        mean = np.asarray(Image.open(path)).reshape(256, 4, 256, 4).mean((1, 3))
        assert np.abs(reduced - mean).max() <= 1
