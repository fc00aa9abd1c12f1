"""pydicom's own test files, those that come with it: each is read, or refused or passed over for its true reason."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lib.cohorts.io import dicom_display
from lib.cohorts.io.image_facts import NoImageError
from lib.cohorts.io.image_search import find_files
from lib.cohorts.io.user_images import FORMATS, open_images
from tests.cohorts.io.test_user_images import opened

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
ROOT = Path(pydicom.__file__).parent / "data" / "test_files"
HAS_PLUGINS = all(importlib.util.find_spec(name) for name in ("pylibjpeg", "libjpeg", "openjpeg"))

READ = "read"
SAYS = {  # what each class of refusal has to say
    "decoder": "for which no decoder is installed; run `pip install",
    "sort": "of a sort that the installed decoders cannot decode; run `pip install",
    "damaged": "damaged, or not a DICOM image that pydicom can decode; repair the file or take it out",
    "deflated": "a deflated DICOM file; save it with another transfer syntax",
    "no colours": "no colours named with 1 samples a pixel; give grey, RGB, YBR or PALETTE COLOR",
    "no pixels": "a DICOM file without pixels",
    "mask": "a mask, no image of a patient (Segmentation Storage)",
    "unreadable": "not a readable DICOM file; repair the file or take it out",
    "dose": "a dose, no image of a patient (RT Dose Storage)",
}
# All files that are not read. With the plug-ins, and without them: JPEG-LS and JPEG Lossless have no decoder at all
# then, and Pillow has one that fails at JPEG of twelve bits and at some JPEG 2000.
EXPECTED = {
    "JPEG-lossy.dcm": ("damaged", "sort"),
    "JPEG2000-embedded-sequence-delimiter.dcm": ("damaged", "sort"),
    "GDCMJ2K_TextGBR.dcm": (READ, "sort"),
    "J2K_pixelrep_mismatch.dcm": (READ, "sort"),
    "JPGExtended.dcm": (READ, "sort"),
    "JPEGLSNearLossless_08.dcm": (READ, "decoder"),
    "JPEGLSNearLossless_16.dcm": (READ, "decoder"),
    "MR_small_jpeg_ls_lossless.dcm": (READ, "decoder"),
    "SC_rgb_jls_lossy_line.dcm": (READ, "decoder"),
    "SC_rgb_jls_lossy_sample.dcm": (READ, "decoder"),
    "SC_rgb_jpeg_gdcm.dcm": (READ, "decoder"),
    "MR_truncated.dcm": "damaged",
    "image_dfl.dcm": "deflated",
    "meta_missing_tsyntax.dcm": "no colours",
    "nested_priv_SQ.dcm": "no colours",
    "no_meta.dcm": "unreadable",  # a byte stands before its first element
    "liver_1frame.dcm": "mask",
    "liver_expb_1frame.dcm": "mask",
    **dict.fromkeys(
        ("badVR.dcm", "rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm", "rtdose_expb_1frame.dcm", "rtdose_rle.dcm",
         "rtdose_rle_1frame.dcm"), "dose"),
    **dict.fromkeys(
        ("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "UN_sequence.dcm", "empty_charset_LEI.dcm",
         "no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm",
         "rtplan.dcm", "rtplan_truncated.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm"), "no pixels"),
}  # fmt: skip


def expected(name):
    of = EXPECTED.get(name, READ)
    return of if isinstance(of, str) else of[0 if HAS_PLUGINS else 1]


FOUND = find_files(ROOT)


def outcome(file):
    """Facts and images of a file, or the error that it ends in."""
    try:
        return FORMATS[file.kind].facts(file.path), list(FORMATS[file.kind].read(file.path)), None
    except (ValueError, NoImageError) as error:
        return None, [], error


@pytest.mark.parametrize("file", [file for file in FOUND.files if "/" not in file.name], ids=lambda file: file.name)
def test_each_file_is_read_or_refused_for_its_true_reason(file):
    due = expected(file.name)
    facts, images, error = outcome(file)
    if due != READ:
        assert SAYS[due] in str(error)
        assert isinstance(error, NoImageError) == (due in ("no pixels", "mask", "dose"))
        assert "\n" not in str(error)
        return
    assert error is None
    assert len(images) == facts.images
    assert {image.pixels.shape for image in images} == set(facts.shapes)
    assert all(image.pixels.min() < image.pixels.max() for image in images)
    if min(min(shape) for shape in facts.shapes) >= 8:
        assert opened(file.path, size=8).is_8_bit == all(image.is_8_bit for image in images)


def test_every_file_of_the_package_has_its_place():
    """None is lost on the way, and the table names no file that is not there."""
    every = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()}  # nothing is downloaded
    seen = {file.name for file in FOUND.files} | {note.name for note in (*FOUND.passed, *FOUND.litter)}
    assert every == seen
    assert len(every) > 150
    assert not FOUND.refused
    assert set(EXPECTED) <= seen
    assert {note.name.split(".")[-1] for note in FOUND.passed if "/" not in note.name} == {
        "txt", "icc", "dump", "json", "gz",
    }  # fmt: skip


def test_the_folders_of_media_are_headers_and_images():
    within = [file for file in FOUND.files if file.name.startswith("dicomdirtests/")]
    kinds = {"image": 0, "header": 0}
    for file in within:
        facts, images, error = outcome(file)
        kinds["header" if error else "image"] += 1
        if error:
            assert "a DICOM file without pixels" in str(error)
            assert "PixelData" not in pydicom.dcmread(file.path)
        else:
            assert len(images) == facts.images
    assert min(kinds.values()) > 20


def test_a_folder_of_all_that_can_be_read_is_read(tmp_path):
    for file in FOUND.files:
        if "/" not in file.name and expected(file.name) in (READ, "no pixels", "mask", "dose"):
            (tmp_path / file.name).symlink_to(file.path)
    for small in tmp_path.glob("SC_rgb_small*"):  # of 3×3 pixels
        small.unlink()
    few = open_images(tmp_path, size=8, most=1000, rng=np.random.default_rng(0))
    assert few.found == len(few.images) > 60
    assert {"PatientID", "StudyInstanceUID"} <= set(few.patients_from)
    assert {note.why.split(" (")[0] for note in few.passed} == {
        "a DICOM file without pixels", "a mask, no image of a patient", "a dose, no image of a patient",
    }  # fmt: skip


@pytest.mark.skipif(not HAS_PLUGINS, reason="pydicom's plug-ins are not installed (extra `data`)")
@pytest.mark.parametrize(
    ("compressed", "same_as", "within"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),  # JPEG-LS
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", 0),  # JPEG Lossless
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_rle.dcm", 3),
        ("JPGExtended.dcm", "JPEG2000.dcm", None),  # JPEG of twelve bits; both are lossy
    ],
)
def test_what_the_plug_ins_decode_is_the_image(compressed, same_as, within):
    found, due = (next(dicom_display.read(ROOT / name)) for name in (compressed, same_as))
    if within is None:
        assert np.corrcoef(found.pixels.ravel(), due.pixels.ravel())[0, 1] > 0.9
    else:
        np.testing.assert_allclose(found.pixels, due.pixels, atol=within)
