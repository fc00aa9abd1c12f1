"""DICOM as a reader sees it: windows, colours, files without preamble, classes that are no images, true reasons."""

import numpy as np
import pytest

from lib.cohorts.io import dicom_display, dicom_files
from lib.cohorts.io.image_facts import NoImageError
from tests.cohorts.io.test_user_images import dicom, opened
from tests.cohorts.toy import folder, noise

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
RAMP = np.linspace(0, 4000, 32 * 32).reshape(32, 32).round()


def changed(path, **values):
    header = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(header, name, value)
    header.save_as(path)
    return path


def only(path):
    (shown,) = dicom_display.read(path)
    return shown


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x: ((x - 1999.5) / 999 + 0.5).clip(0, 1) * 255),
        ("LINEAR_EXACT", lambda x: ((x - 2000) / 1000 + 0.5).clip(0, 1) * 255),
        ("SIGMOID", lambda x: 255 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
)
def test_the_first_window_of_the_header_is_applied(tmp_path, function, expected):
    path = changed(dicom(tmp_path / "a.dcm", RAMP), WindowCenter=[2000, 100], WindowWidth=[1000, 20])
    shown = only(changed(path, VOILUTFunction=function))
    np.testing.assert_allclose(shown.pixels, expected(RAMP), atol=1e-3)
    assert shown.is_8_bit
    assert shown.rules == {"shown by the window of the header"}


def test_our_linear_window_is_pydicoms(tmp_path):
    path = changed(dicom(tmp_path / "a.dcm", RAMP), WindowCenter=1200, WindowWidth=900)
    changed(path, RescaleSlope="0.5", RescaleIntercept="-100")
    header = pydicom.dcmread(path)
    theirs = pydicom.pixels.apply_windowing(RAMP * 0.5 - 100, header)
    theirs = (theirs - theirs.min()) / (theirs.max() - theirs.min()) * 255
    np.testing.assert_allclose(only(path).pixels, theirs, atol=0.02)


def test_a_window_follows_the_slope_and_monochrome1_is_inverted_after_it(tmp_path):
    path = changed(dicom(tmp_path / "a.dcm", RAMP, slope=2), WindowCenter=4000, WindowWidth=4000)
    rising = only(path).pixels
    np.testing.assert_allclose(rising, ((2 * RAMP - 3999.5) / 3999 + 0.5).clip(0, 1) * 255, atol=1e-2)
    falling = only(changed(path, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(falling.pixels, 255 - rising, atol=1e-3)
    negative = only(changed(path, PhotometricInterpretation="MONOCHROME2", RescaleSlope=-2, RescaleIntercept=8000))
    np.testing.assert_allclose(negative.pixels, ((8000 - 2 * RAMP - 3999.5) / 3999 + 0.5).clip(0, 1) * 255, atol=1e-2)


def test_padding_is_dark_under_a_window(tmp_path):
    ramp = RAMP.copy()
    ramp[:4] = 65535
    path = changed(dicom(tmp_path / "a.dcm", ramp, padding=65535), WindowCenter=2000, WindowWidth=5000)
    assert (only(path).pixels[:4] == only(path).pixels.min()).all()
    assert (only(changed(path, PhotometricInterpretation="MONOCHROME1")).pixels[:4] == only(path).pixels.min()).all()


@pytest.mark.parametrize("window", [(9000, 10), (2000, 0), (2000, -5), ("", "")])
def test_a_window_that_shows_nothing_is_not_used(tmp_path, window):
    path = changed(dicom(tmp_path / "a.dcm", RAMP), WindowCenter=window[0], WindowWidth=window[1])
    shown = only(path)
    np.testing.assert_array_equal(shown.pixels, RAMP)
    assert not shown.is_8_bit
    assert shown.rules == ({"whose window leaves nothing to see"} if window[1] == 10 else set())


def test_a_table_of_grey_values_in_the_header(tmp_path):
    path = dicom(tmp_path / "a.dcm", RAMP)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4001, 0, 12], [4095 - i // 2 for i in range(4001)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    shown = only(changed(path, VOILUTSequence=[table]))
    np.testing.assert_allclose(shown.pixels, (4095 - RAMP // 2) * (255 / 4095), atol=1e-2)
    assert shown.is_8_bit


def test_the_window_of_each_frame_of_an_enhanced_file(tmp_path):
    frames = np.stack([RAMP, RAMP])
    groups = []
    for centre in (1000, 3000):
        window, group = pydicom.Dataset(), pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = centre, 500
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = changed(dicom(tmp_path / "a.dcm", frames, frames=2), PerFrameFunctionalGroupsSequence=groups)
    first, second = (shown.pixels for shown in dicom_display.read(path))
    for pixels, centre in ((first, 1000), (second, 3000)):
        np.testing.assert_allclose(pixels, ((RAMP - centre + 0.5) / 499 + 0.5).clip(0, 1) * 255, atol=1e-2)


def test_eight_bits_stay_as_they_are_stored_and_with_a_sign_they_are_none(tmp_path):
    grey = noise(1)[0]
    path = changed(dicom(tmp_path / "a.dcm", grey, bits=8), WindowCenter=100, WindowWidth=10)
    np.testing.assert_array_equal(only(path).pixels, grey)
    shown = only(changed(dicom(tmp_path / "b.dcm", grey, bits=8), PixelRepresentation=1))
    np.testing.assert_array_equal(shown.pixels, grey.view(np.int8))
    assert not shown.is_8_bit


def test_ybr_and_palette_are_read(tmp_path):
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 200, np.arange(32) * 8, 30
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    ybr = pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")
    shown = only(dicom(tmp_path / "ybr.dcm", ybr, bits=8, kind="YBR_FULL", samples=3))
    np.testing.assert_allclose(shown.pixels, luma, atol=2)
    path = dicom(tmp_path / "palette.dcm", np.tile(np.arange(32), (32, 1)), bits=8, kind="PALETTE COLOR")
    header = pydicom.dcmread(path)
    for channel, name in enumerate(("Red", "Green", "Blue")):
        header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [32, 0, 16])
        data = (rgb[0, :, channel].astype(np.uint16) * 257).tobytes()
        header.add_new(f"{name}PaletteColorLookupTableData", "OW", data)
    header.save_as(path)
    shown = only(path)
    assert dicom_display.facts(path).is_colour
    np.testing.assert_allclose(shown.pixels, luma, atol=0.1)
    assert (shown.is_8_bit, shown.rules) == (True, {"of colour made grey by luma"})


def test_deep_colour_is_deep(tmp_path):
    rgb = np.stack([RAMP] * 3, -1)
    shown = only(dicom(tmp_path / "a.dcm", rgb, kind="RGB", samples=3))
    np.testing.assert_allclose(shown.pixels, RAMP, atol=0.01)
    assert not shown.is_8_bit


@pytest.mark.parametrize(("sop_class", "says"), [("SegmentationStorage", "a mask"), ("RTDoseStorage", "a dose")])
def test_masks_and_doses_are_no_images(tmp_path, sop_class, says):
    path = folder(tmp_path / "f", noise(1))
    dicom(path / "other.dcm", noise(1)[0], bits=8)
    changed(path / "other.dcm", SOPClassUID=getattr(pydicom.uid, sop_class))
    found = opened(path)
    assert list(found.names) == ["00000.png"]
    assert [(note.name, note.why.split(",")[0]) for note in found.passed] == [("other.dcm", says)]
    with pytest.raises(ValueError, match=f"other.dcm: {says}, no image of a patient .*; read strictly, so take it out"):
        opened(path, strict=True)
    with pytest.raises(ValueError, match=f"other.dcm: no image in it \\({says}"):
        opened(path / "other.dcm")


@pytest.mark.parametrize("name", ["BasicTextSRStorage", "RTPlanStorage", "GrayscaleSoftcopyPresentationStateStorage"])
def test_reports_plans_and_presentation_states_are_no_images(tmp_path, name):
    path = dicom(tmp_path / "a.dcm", noise(1)[0], bits=8)
    header = pydicom.dcmread(path)
    del header.PixelData, header.Rows, header.PhotometricInterpretation
    header.SOPClassUID = getattr(pydicom.uid, name)
    header.save_as(path)
    with pytest.raises(NoImageError, match=rf"a DICOM file without pixels \({header.SOPClassUID.name}\)"):
        dicom_display.facts(path)


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian"])
@pytest.mark.parametrize("name", ["a.dcm", "IM0001"])
def test_files_without_preamble_are_read(tmp_path, syntax, name):
    path = dicom(tmp_path / "d" / name, RAMP)
    header = pydicom.dcmread(path)
    data = pydicom.Dataset()
    data.update(header)
    data.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    if syntax == "ExplicitVRBigEndian":
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    data["PixelData"].VR = "OW"
    options = {"implicit_vr": syntax.startswith("Implicit"), "little_endian": not syntax.endswith("BigEndian")}
    pydicom.dcmwrite(path, data, **options)
    assert path.read_bytes()[128:132] != b"DICM"
    found = opened(tmp_path / "d")
    np.testing.assert_allclose(found.images[0], RAMP)
    assert list(found.patients) == ["P1"]


def test_a_deflated_file_without_preamble_is_refused_as_well(tmp_path):
    path = dicom(tmp_path / "a.dcm", RAMP)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(path)
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(ValueError, match=r"a\.dcm: a deflated DICOM file"):
        opened(path)


def test_without_a_decoder_the_file_is_not_called_damaged(tmp_path, monkeypatch):
    path = dicom(tmp_path / "a.dcm", noise(1)[0], bits=8)
    header = pydicom.dcmread(path)
    for syntax, says in (("JPEGLSLossless", "JPEG-LS Lossless"), ("JPEGLosslessSV1", "JPEG Lossless")):
        header.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        decoder = pydicom.pixels.get_decoder(header.file_meta.TransferSyntaxUID)
        monkeypatch.setattr(decoder, "_available", {})
        says = rf"a\.dcm: pixels in {says}.*, for which no decoder is installed; run `pip install -e '\.\[data\]'`"
        with pytest.raises(ValueError, match=says):
            dicom_files.require_decoder(path, header)
    header.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    with pytest.raises(ValueError, match="pixels in MPEG2 .*, which pydicom does not decode; save it another way"):
        dicom_files.require_decoder(path, header)


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    """Tests run as root, whom no permission stops."""
    path = dicom(tmp_path / "a.dcm", noise(1)[0], bits=8)

    def refuses(*args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pydicom, "dcmread", refuses)
    with pytest.raises(ValueError, match=r"a\.dcm: no permission to read it; allow it or take it out"):
        opened(path)


def test_a_window_is_not_moved_by_a_saturated_marker(tmp_path):
    path = changed(dicom(tmp_path / "a.dcm", RAMP), WindowCenter=2000, WindowWidth=4000)
    ramp = RAMP.copy()
    ramp[:2, :2] = 65535
    marked = changed(dicom(tmp_path / "b.dcm", ramp), WindowCenter=2000, WindowWidth=4000)
    np.testing.assert_array_equal(only(marked).pixels[2:], only(path).pixels[2:])
