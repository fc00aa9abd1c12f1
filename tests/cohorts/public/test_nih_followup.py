"""NIH radiographs with follow-ups: a fabricated tree, and the known numbers of the real one."""

import shutil

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import nih_cxr14, nih_followup
from tests.cohorts.public.nih_release import RADIOGRAPHS, release
from tests.cohorts.toy import paint
from tests.paths import shared


@pytest.fixture
def followup(tmp_path, monkeypatch):
    """The first three radiographs of a fabricated release, of two patients, the second of `nih_cxr14_1000` too."""
    folder = tmp_path / "nih_followup_64"
    for name, part in zip(RADIOGRAPHS[:3], ("train/1_abnormal", "valid/0_normal", "test/1_abnormal"), strict=True):
        (folder / nih_followup.TREE / part).mkdir(parents=True)
        paint(folder / nih_followup.TREE / part / name, 64)
    shutil.copy(release(tmp_path / "nih") / "Data_Entry_2017_v2020.csv", folder)
    known = nih_cxr14.sources()
    known[0].manifest[f"{nih_cxr14.SUBSET}/No_findings/{RADIOGRAPHS[1]}"] = "0" * 32
    monkeypatch.setattr(nih_cxr14, "sources", lambda: known)
    return folder


def test_findings_and_split_are_those_of_the_table_and_no_radiograph_of_the_other_cohort(followup, tmp_path):
    for given in (followup, followup.parent, followup / nih_followup.TREE):
        [path] = nih_followup.prepare(given, tmp_path / "out", count=3)
    radiographs = Cohort.open(path)
    assert (path.name, list(radiographs.source_name)) == ("nih_followup.h5", [RADIOGRAPHS[0], RADIOGRAPHS[2]])
    assert (radiographs.images.shape, radiographs.labels.shape) == ((2, 64, 64), (2, 14))
    assert [np.flatnonzero(row).tolist() for row in radiographs.labels] == [[0, 13], [6]]
    assert list(radiographs.split) == [nih_cxr14.split_of(patient) for patient in radiographs.patient]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda tree: (tree / "test/1_abnormal" / RADIOGRAPHS[2]).unlink(), "2 radiographs of 2 names where 3 were"),
        (
            lambda tree: (tree / "test/1_abnormal" / RADIOGRAPHS[2]).rename(tree / "test/1_abnormal" / RADIOGRAPHS[0]),
            "3 radiographs of 2 names where 3 were published; fetch the folder again",
        ),
        (
            lambda tree: (tree / "test/1_abnormal" / RADIOGRAPHS[2]).rename(tree / "test/1_abnormal/00000009_000.png"),
            "00000009_000.png: no row in",
        ),
        (lambda tree: paint(tree / "test/1_abnormal" / RADIOGRAPHS[2], 90), "90×90 pixels cannot be box-averaged"),
        (lambda tree: (tree.parent / "Data_Entry_2017_v2020.csv").unlink(), "no label table; put NIH's"),
        (shutil.rmtree, "no folder NIH1000 in it; expected are NIH1000/"),
    ],
)
def test_a_spoilt_tree_is_refused_in_one_sentence(followup, tmp_path, spoil, sentence):
    spoil(followup / nih_followup.TREE)
    with pytest.raises(ValueError, match=sentence) as caught:
        nih_followup.prepare(followup, tmp_path / "out", count=3)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_the_real_ones_have_the_known_numbers(tmp_path):
    """Counts of the data's README, less the seven radiographs that the other cohort has."""
    folder = shared("nih_followup_64").parent
    assert all(nih_followup.sources()[0].holds(name, folder / "nih_followup_64" / name) for name in MANIFEST)
    radiographs = Cohort.open(nih_followup.prepare(folder, tmp_path)[0])
    assert radiographs.digest == nih_followup.DIGESTS["nih_followup"]
    _, of_each = np.unique(radiographs.patient, return_counts=True)
    assert (len(radiographs), len(of_each), of_each.max()) == (993, 264, 66)
    assert not set(radiographs.source_name) & {name.rpartition("/")[2] for name in nih_cxr14.sources()[0].manifest}


MANIFEST = nih_followup.sources()[0].manifest
