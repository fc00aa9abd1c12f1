"""Who is on an image: tables, headers, folders and names, in order, and what was used is told."""

import numpy as np
import pytest

from tests.cohorts.io.test_user_images import dicom, opened
from tests.cohorts.toy import folder, noise


def by_patient(path, people=10, images=2):
    for i in range(people):
        folder(path / f"p{i:02d}" / "study", noise(images, seed=i))
    return path


def test_ten_folders_are_patients_by_themselves(tmp_path):
    found = opened(by_patient(tmp_path / "f"))
    assert list(found.patients) == [f"p{i:02d}" for i in range(10) for _ in range(2)]
    assert found.patients_from == {"folder": 20}
    assert "patients by folder" in found.rules
    assert list(found.everyone) == [f"p{i:02d}" for i in range(10)]


def test_few_folders_are_kinds_of_images_unless_it_is_said(tmp_path):
    path = by_patient(tmp_path / "f", people=3)
    found = opened(path)
    assert len(set(found.patients)) == 6
    assert found.patients_from == {"file": 6}
    assert list(opened(path, patient_from="folder").patients) == ["p00", "p00", "p01", "p01", "p02", "p02"]
    folder(path, noise(1, seed=99))
    with pytest.raises(ValueError, match=r"f/00000\.png: lies in no folder of a patient within .*f; move it into one"):
        opened(path, patient_from="folder")


def test_an_image_outside_of_ten_folders_means_that_folders_are_no_patients(tmp_path):
    path = by_patient(tmp_path / "f")
    folder(path, noise(1, seed=99))
    assert len(set(opened(path).patients)) == 21


@pytest.mark.parametrize("pattern", ["name:^(p\\d+)_", "name:^p\\d+"])
def test_a_part_of_the_name(tmp_path, pattern):
    path = folder(tmp_path / "f", noise(4))
    for i in range(4):
        (path / f"0000{i}.png").rename(path / f"p{i // 2}_{i}.png")
    found = opened(path, patient_from=pattern)
    assert list(found.patients) == ["p0", "p0", "p1", "p1"]
    assert found.patients_from == {"name": 4}
    assert "patients by file name" in found.rules
    (path / "other.png").write_bytes((path / "p0_0.png").read_bytes())
    with pytest.raises(ValueError, match=r"f/other\.png: patient_from finds no patient in this name by"):
        opened(path, patient_from=pattern)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("name:", "unknown patient_from 'name:': choose table, folder or name:REGEX"),
        ("folders", "unknown patient_from 'folders'"),
        ("folder:2", "unknown patient_from 'folder:2'"),
        ("name:(", "is no regular expression"),
        ("table", "no table is given"),
    ],
)
def test_an_unknown_way_is_refused(tmp_path, how, sentence):
    with pytest.raises(ValueError, match=sentence):
        opened(folder(tmp_path / "f", noise(1)), patient_from=how)


def test_a_table_beside_another_way_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("file,patient\n00000.png,p\n")
    path = folder(tmp_path / "f", noise(1))
    assert list(opened(path, patients=tmp_path / "t.csv", patient_from="table").patients) == ["p"]
    with pytest.raises(ValueError, match="patient_from is folder, and a table is given as well; give one of them"):
        opened(path, patients=tmp_path / "t.csv", patient_from="folder")


def studied(path, study, **options):
    dicom(path, noise(1, seed=50)[0], bits=8, **options)
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(path)
    header.StudyInstanceUID = study
    header.save_as(path)


def test_the_order_of_headers_and_folders(tmp_path):
    root = tmp_path / "f"
    for i in range(10):
        dicom(root / f"f{i}" / "a.dcm", noise(1, seed=i)[0], bits=8, patient="")
    studied(root / "f1" / "b.dcm", "1.2.1", patient="ann")
    studied(root / "f2" / "b.dcm", "1.2.2", patient="")
    studied(root / "f3" / "b.dcm", "1.2.2", patient="ANONYMOUS")
    found = opened(root)
    who = dict(zip(found.names.tolist(), found.patients.tolist(), strict=True))
    assert (who["f1/b.dcm"], who["f2/b.dcm"], who["f3/b.dcm"]) == ("ann", "1.2.2", "1.2.2")
    assert who["f1/a.dcm"] == "f1"
    assert found.patients_from == {"folder": 10, "PatientID": 1, "StudyInstanceUID": 2}
    told = [rule for rule in found.rules if rule.startswith("patients by")]
    assert told == ["patients by folder (10), by PatientID (1), by StudyInstanceUID (2)"]
    assert set(opened(root, patient_from="folder").patients) == {f"f{i}" for i in range(10)}


def test_frames_of_a_file_without_a_patient_are_one_patient(tmp_path):
    found = opened(dicom(tmp_path / "many.dcm", noise(3), bits=8, frames=3, patient=""))
    assert len(found.images) == 3
    assert len(set(found.patients)) == 1
    assert "3 images without a patient, each file its own: intervals may be too narrow" in found.rules


def test_a_patients_number_in_a_header_stays_as_it_is(tmp_path):
    assert list(opened(dicom(tmp_path / "a.dcm", noise(1)[0], bits=8, patient="007")).patients) == ["007"]


def test_a_table_need_not_name_what_is_no_image(tmp_path):
    path = folder(tmp_path / "f", noise(2))
    dicom(path / "report.dcm", noise(1)[0], bits=8)
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(path / "report.dcm")
    del header.PixelData
    header.save_as(path / "report.dcm")
    (tmp_path / "t.csv").write_text("file,patient\n00000.png,a\n00001.png,b\n")
    found = opened(path, patients=tmp_path / "t.csv")
    assert list(found.patients) == list(found.everyone) == ["a", "b"]
    assert [note.name for note in found.passed] == ["report.dcm"]


def test_whole_folders_are_drawn(tmp_path):
    found = opened(by_patient(tmp_path / "f", people=20, images=5), most=25)
    assert np.unique(found.patients, return_counts=True)[1].tolist() == [5] * 5
    assert found.found == 100
    assert len(found.everyone) == 20
