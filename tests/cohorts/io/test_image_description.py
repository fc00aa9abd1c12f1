"""A dry read says of every file what a real one does, and decodes nothing."""

import numpy as np
import pytest
from PIL import Image, ImageFile

from lib.cohorts.io import dicom_files
from lib.cohorts.io.image_description import OUTCOMES, describe_images
from tests.cohorts.io.test_user_images import dicom, opened
from tests.cohorts.toy import cohort, folder, noise


def mixed(path):
    folder(path, noise(2))
    folder(path / ".ipynb_checkpoints", noise(1))
    Image.fromarray(noise(1, 40)[0][:, :20].astype(np.uint16) * 100).save(path / "deep.png")
    (path / "notes.txt").write_text("x")
    (path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (path / "volume.nrrd").write_text("x")
    return path


def test_every_file_has_a_row_with_its_outcome(tmp_path, monkeypatch):
    path = mixed(tmp_path / "f")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    rows = {row.name: row for row in describe_images(path)}
    assert {name: row.outcome for name, row in rows.items()} == {
        "00000.png": "read", "00001.png": "read", "deep.png": "read", "notes.txt": "passed over",
        ".ipynb_checkpoints": "passed over", "volume.nrrd": "passed over", "broken.jpg": "refused",
    }  # fmt: skip
    assert {row.outcome for row in rows.values()} == set(OUTCOMES)
    deep = rows["deep.png"]
    assert (deep.kind, deep.images, deep.pixels, deep.bits) == ("picture", 1, "20×40", 16)
    assert rows["broken.jpg"].why.endswith("repair the file, save it as PNG or take it out")
    assert deep.patient_from == "file"


def test_all_that_is_refused_is_told_at_once_and_is_refused(tmp_path):
    path = folder(tmp_path / "f", noise(3))
    for name in ("a.jpg", "b.png", "c.tif"):
        (path / name).write_bytes(b"nothing")
    refused = [row for row in describe_images(path) if row.outcome == "refused"]
    assert [row.name for row in refused] == ["a.jpg", "b.png", "c.tif"]
    for row in refused:
        with pytest.raises(ValueError, match=row.name):
            opened(path)
        (path / row.name).unlink()
    assert len(opened(path).images) == 3


def test_dicom_patients_and_cohorts(tmp_path, monkeypatch):
    dicom(tmp_path / "f" / "a.dcm", noise(3), bits=8, frames=3, patient="ann")
    monkeypatch.setattr(dicom_files, "read_frames", lambda *_, **__: pytest.fail("decoded"))
    (row,) = describe_images(tmp_path / "f")
    assert (row.kind, row.images, row.pixels, row.bits) == ("DICOM", 3, "32×32", 8)
    assert (row.patient, row.patient_from) == ("ann", "PatientID")
    (row,) = describe_images(cohort(noise(4), np.arange(4) // 2))
    assert (row.kind, row.images, row.pixels, row.people) == ("cohort", 4, "32×32", 2)


def test_a_table_that_is_refused_has_a_row(tmp_path):
    path = folder(tmp_path / "f", noise(2))
    (tmp_path / "t.csv").write_text("file,patient\n00000.png,a\n")
    rows = describe_images(path, patients=tmp_path / "t.csv")
    assert [row.outcome for row in rows] == ["read", "read", "refused"]
    assert "no patient for f/00001.png; add its row" in rows[-1].why
    with pytest.raises(ValueError, match="no such file or folder"):
        describe_images(tmp_path / "nowhere")
