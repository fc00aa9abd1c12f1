"""The RSNA challenge: the official layout as DICOM, and what is refused."""

import builtins
import shutil

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import rsna
from tests.cohorts.toy import blank

HEADER = "patientId,x,y,width,height,Target\n"
ROWS = ["0a-1,,,,,0", "0b-2,10.0,20.0,30.0,40.0,1", "0b-2,50.0,60.0,70.0,80.0,1", "0c-3,,,,,0"]
NAMES = ["0a-1", "0b-2", "0c-3"]


def radiograph(path, shape=(512, 512), view="PA", kind="MONOCHROME2", bits=8):
    """A DICOM radiograph that brightens from left to right."""
    data = blank(path, "ComputedRadiographyImageStorage")
    data.ViewPosition = view
    data.Rows, data.Columns = shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, kind, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * -(-bits // 8), bits, bits - 1
    ramp = np.broadcast_to(np.linspace(0, 200, shape[1]), shape)
    data.PixelData = ramp.astype(np.uint8 if bits == 8 else np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "rsna"
    for name, view in zip(NAMES, ("PA", "AP", "PA"), strict=True):
        radiograph(root / rsna.RADIOGRAPHS / f"{name}.dcm", view=view)
    (root / rsna.TABLE).write_text(HEADER + "\n".join(ROWS) + "\n")
    return root


def test_the_official_layout(release, tmp_path):
    radiograph(release / rsna.RADIOGRAPHS / "0c-3.dcm", (300, 400), "AP", "MONOCHROME1")
    [path] = rsna.prepare(release, tmp_path / "out")
    radiographs = Cohort.open(path)
    assert (path.name, list(radiographs.source_name)) == ("rsna.h5", NAMES)
    assert radiographs.label_names == ("no opacity", "opacity")
    np.testing.assert_array_equal(radiographs.labels, [0, 1, 0])
    np.testing.assert_array_equal(radiographs.view, [0, 1, 1])
    np.testing.assert_array_equal(radiographs.patient, [0, 1, 2])
    assert "3 of 3 radiographs" in radiographs.source
    ramp = np.linspace(0, 200, 256)
    for image, expected in zip(radiographs.images[:], (ramp, ramp, 255 - ramp), strict=True):
        assert np.abs(image - expected).max() <= 2


def table(release, *rows):
    (release / rsna.TABLE).write_text(HEADER + "\n".join(rows) + "\n")


FIRST = f"{rsna.RADIOGRAPHS}/0a-1.dcm"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda r: table(r, *ROWS[1:]), r"0a-1\.dcm: no row in stage_2_train_labels\.csv"),
        (lambda r: table(r, *ROWS, "0d-4,,,,,2"), "line 6: Target is '2'; known are 0 and 1"),
        (lambda r: table(r, *ROWS, "0c-3,1,1,1,1,1"), "line 6: Target contradicts an earlier row of 0c-3"),
        (lambda r: table(r, *ROWS, "0d-4,1,1,1,1,0"), "line 6: a box belongs to Target 1"),
        (lambda r: table(r, *ROWS, "../d,,,,,0"), r"line 6: '\.\./d' is not a patientId"),
        (lambda r: (r / rsna.TABLE).write_text("id\n"), "no column patientId, x, y"),
        (lambda r: (r / rsna.TABLE).unlink(), "no stage_2_train_labels.csv in it; give --from the folder"),
        (lambda r: shutil.rmtree(r / rsna.RADIOGRAPHS), "no stage_2_train_images in it; give --from"),
        (lambda r: [path.unlink() for path in r.glob("*/*.dcm")], "no radiograph in it; give --from"),
        (lambda r: radiograph(r / FIRST, view="LL"), r"0a-1\.dcm: unknown view 'LL'; known are PA, AP"),
        (lambda r: radiograph(r / FIRST, bits=12), r"0a-1\.dcm: not 8 unsigned bits a pixel"),
        (lambda r: radiograph(r / FIRST, kind="RGB"), r"0a-1\.dcm: RGB where a grey radiograph is expected"),
        (lambda r: radiograph(r / FIRST, (512, 200)), "512×200 pixels are fewer than 256×256"),
        (lambda r: (r / FIRST).write_bytes(b"no DICOM"), r"0a-1\.dcm: not a readable DICOM file"),
        (
            lambda r: (r / FIRST).write_bytes((r / FIRST).read_bytes()[:9000]),
            r"0a-1\.dcm: damaged, or not a DICOM image that pydicom can decode; fetch the file again",
        ),
    ],
)
def test_a_spoilt_release_is_refused_in_one_sentence(release, tmp_path, spoil, sentence):
    spoil(release)
    with pytest.raises(ValueError, match=sentence) as caught:
        rsna.prepare(release, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_the_label_table_needs_no_dicom_reader(tmp_path):
    table(tmp_path, *ROWS)
    assert rsna.read_table(tmp_path / rsna.TABLE) == {"0a-1": 0, "0b-2": 1, "0c-3": 0}


def test_without_pydicom_the_command_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pydicom":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install -e '.\[data\]'"):
        rsna.read_radiograph(tmp_path / "a.dcm", 256)
