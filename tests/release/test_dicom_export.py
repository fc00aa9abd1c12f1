"""Secondary captures: pydicom and `lib.cohorts` read the same, and nothing of a patient is in them."""

import numpy as np
import pytest

from lib.cohorts.io import dicom_display
from lib.cohorts.rows import BLOCK
from lib.release.dicom_export import write_dicom
from tests.cohorts.unread import Unread

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
rng = np.random.default_rng(0)
SLICES = rng.integers(0, 256, (3, 9, 15), dtype=np.uint8)  # of an odd number of pixels
VOLUMES = rng.integers(0, 256, (2, 4, 9, 16), dtype=np.uint8)


@pytest.mark.parametrize("images", [SLICES, VOLUMES], ids=["images", "volumes"])
def test_pixels_labels_and_identifiers(tmp_path, images):
    labels = [f"label {number}" for number in range(len(images))]
    paths = write_dicom(tmp_path, images, labels, series="masses", made_by="a generator")
    read = [pydicom.dcmread(path) for path in paths]
    np.testing.assert_array_equal([data.pixel_array for data in read], images)
    assert [data.ImageComments for data in read] == labels
    assert {data.BurnedInAnnotation for data in read} == {"NO"}
    assert {data.ConversionType for data in read} == {"SYN"}
    assert {data.PatientBirthDate for data in read} == {""}
    assert len({data.SOPInstanceUID for data in read}) == len(images)
    assert len({data.StudyInstanceUID for data in read}) == 1
    ours = [[shown.pixels for shown in dicom_display.read(path)] for path in paths]
    assert [data.PatientID for data in read] == [f"SYNTHETIC-{n:06d}" for n in range(1, len(images) + 1)]
    np.testing.assert_array_equal(np.reshape(ours, images.shape), images)


def test_three_channels_are_colour_and_no_frames(tmp_path):
    colour = rng.integers(0, 256, (2, 3, 9, 15), dtype=np.uint8)
    for path, image in zip(write_dicom(tmp_path, colour, ["x"] * 2, series="eyes", made_by=""), colour, strict=True):
        data = pydicom.dcmread(path)
        assert (data.PhotometricInterpretation, data.SamplesPerPixel, "NumberOfFrames" in data) == ("RGB", 3, False)
        np.testing.assert_array_equal(data.pixel_array, image.transpose(1, 2, 0))


def test_the_same_images_have_the_same_identifiers_and_others_have_others(tmp_path):
    def identifiers(images, series="masses"):
        paths = write_dicom(tmp_path, images, ["x"] * len(images), series=series, made_by="")
        return [pydicom.dcmread(path).SOPInstanceUID for path in paths]

    first = identifiers(SLICES)
    assert identifiers(SLICES) == first
    assert not set(identifiers(255 - SLICES)) & set(first)
    assert not set(identifiers(SLICES, "others")) & set(first)


def test_unread_images_are_written_a_block_at_a_time(tmp_path):
    images = rng.integers(0, 256, (BLOCK + 3, 2, 2), dtype=np.uint8)
    unread = Unread(images)
    paths = write_dicom(tmp_path, unread, ["x"] * len(images), series="masses", made_by="")
    assert unread.most == BLOCK
    np.testing.assert_array_equal(pydicom.dcmread(paths[-1]).pixel_array, images[-1])
