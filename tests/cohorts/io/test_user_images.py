"""Anybody's own images: every way in, every rule, and what is refused."""

import struct

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.io import dicom_files, user_images
from lib.cohorts.io.resampling import TooSmallError, fitted
from lib.cohorts.io.user_images import open_images
from tests.cohorts.toy import blank, cohort, folder, noise


def dicom(path, pixels, *, bits=16, kind="MONOCHROME2", patient="P1", padding=None, samples=1, slope=None, frames=1):
    data = blank(path, "SecondaryCaptureImageStorage")
    if patient:
        data.PatientID = patient
    if frames > 1:
        data.NumberOfFrames = frames
    data.Rows, data.Columns = pixels.shape[-2:] if samples == 1 else pixels.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = samples, kind, 0
    if samples > 1:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * -(-bits // 8), bits, bits - 1
    if padding is not None:
        data.add_new("PixelPaddingValue", "US", padding)
    if slope is not None:
        data.RescaleSlope, data.RescaleIntercept = slope, 0
    data.PixelData = pixels.astype(np.uint8 if bits == 8 else np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def opened(source, **options):
    return open_images(source, **({"size": 32, "most": 1000, "rng": np.random.default_rng(0)} | options))


def test_a_cohort_a_file_of_it_and_a_folder_give_the_same(tmp_path):
    images = noise(12, 64)
    whole = cohort(images, np.arange(12) // 2, source_name=[f"{i:05d}.png" for i in range(12)])
    ways = (opened(whole), opened(whole.save(tmp_path / "a.h5")), opened(folder(tmp_path / "f", images)))
    for way in ways:
        np.testing.assert_array_equal(way.images, ways[0].images)
        assert (way.is_8_bit, way.found, list(way.names)) == (True, 12, list(whole.source_name))
    assert len(np.unique(ways[0].patients)) == 6
    box = images.reshape(12, 32, 2, 32, 2).mean(axis=(2, 4))
    assert np.abs(ways[0].images - box).max() < 1e-3
    assert any("12 images without a patient, each file its own" in rule for rule in ways[2].rules)


def test_value_range_and_colour_of_a_cohort():
    grey = noise(3)
    floats = opened(cohort(grey / np.float32(127.5) - 1, value_range=(-1, 1)))
    np.testing.assert_allclose(floats.images, grey, atol=1e-3)
    colour = opened(cohort(np.stack([grey] * 3, axis=1)))
    np.testing.assert_allclose(colour.images, grey, atol=1e-3)
    assert "3 channels made grey by luma" in colour.rules
    with pytest.raises(ValueError, match="mine: images of 2 channels; give grey or RGB"):
        opened(cohort(np.stack([grey] * 2, axis=1)))


def test_sixteen_bits_with_padding_and_monochrome1(tmp_path):
    ramp = np.tile(np.linspace(1000, 3000, 32).round(), (32, 1))
    ramp[:4] = 65535  # padding, brighter than anything
    dicom(tmp_path / "d" / "a.dcm", ramp, padding=65535, kind="MONOCHROME1", patient="ann")
    dicom(tmp_path / "d" / "b.DCM", np.where(ramp == 65535, 0, ramp), padding=0, patient="bob")
    dicom(tmp_path / "d" / "c.dcm", ramp[4:36].repeat(2, axis=0)[:32], slope=-1, patient="")
    found = opened(tmp_path / "d")
    assert not found.is_8_bit
    assert list(found.patients[:2]) == ["ann", "bob"]
    falling, rising, negative = found.images
    assert (falling[:4] == 1000).all()
    np.testing.assert_allclose(falling[4:], np.tile(np.linspace(3000, 1000, 32).round(), (28, 1)))
    np.testing.assert_allclose(rising[4:], ramp[4:])
    assert (rising[:4] == 1000).all()
    assert negative[0, 0] > negative[0, -1]
    for rule in ("1 file of MONOCHROME1 inverted", "2 files with padding, which takes the darkest value"):
        assert rule in found.rules
    assert any(rule.startswith("1 image without a patient") for rule in found.rules)


def test_frames_colours_and_one_file(tmp_path):
    three = opened(dicom(tmp_path / "many.dcm", noise(3), bits=8, frames=3))
    assert (len(three.images), three.is_8_bit, set(three.patients)) == (3, True, {"P1"})
    assert three.names[2] == "many.dcm frame 2"
    colour = np.stack([noise(1)[0]] * 3, axis=-1)
    rgb = opened(dicom(tmp_path / "rgb.dcm", colour, bits=8, kind="RGB", samples=3))
    np.testing.assert_allclose(rgb.images[0], colour[..., 0], atol=1e-3)
    with pytest.raises(ValueError, match=r"palette\.dcm: its palette is absent or damaged; repair the file"):
        opened(dicom(tmp_path / "palette.dcm", noise(1)[0], bits=8, kind="PALETTE COLOR"))
    with pytest.raises(ValueError, match=r"hsv\.dcm: HSV with 3 samples a pixel; give grey, RGB, YBR or PALETTE"):
        opened(dicom(tmp_path / "hsv.dcm", colour, bits=8, kind="HSV", samples=3))


def test_dicom_files_without_a_suffix_are_known_by_their_bytes(tmp_path):
    for i, name in enumerate(("IM0001", "1.2.840.7")):
        dicom(tmp_path / "d" / name, noise(1, seed=i)[0], bits=8, patient=name)
    (tmp_path / "d" / "README").write_text("x" * 200)
    (tmp_path / "d" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")  # the index of a medium, no image
    found = opened(tmp_path / "d")
    assert list(found.patients) == ["1.2.840.7", "IM0001"]
    assert "2 files passed over: the index of a medium (DICOMDIR), no image (README)" in found.rules
    assert [tuple(note) for note in found.passed] == [("DICOMDIR", "the index of a medium"), ("README", "no image")]
    assert list(opened(tmp_path / "d" / "IM0001").patients) == ["IM0001"]


def test_frames_that_are_not_looked_at_are_told(tmp_path):
    for i in range(3):
        dicom(tmp_path / "d" / f"{i}.dcm", noise(4, seed=i), bits=8, frames=4)
    found = opened(tmp_path / "d", most=6)
    assert (len(found.images), len(found.sides), found.found) == (6, 6, 12)
    assert "6 of 12 images drawn at random, by patient; the others were not looked at" in found.rules
    assert not any("drawn" in rule for rule in opened(tmp_path / "d", most=12).rules)


def test_the_volumes_of_many_frames_are_drawn_and_not_the_first_ones_kept(tmp_path):
    for i in range(8):
        dicom(tmp_path / "d" / f"{i}.dcm", noise(4, seed=i), bits=8, frames=4, patient=f"p{i}")
    drawn = [set(opened(tmp_path / "d", most=8, rng=np.random.default_rng(seed)).patients) for seed in range(20)]
    assert {len(people) for people in drawn} == {2}
    assert set.union(*drawn) == {f"p{i}" for i in range(8)}


def test_the_sets_of_a_cohort_are_taken_alike_and_that_is_told():
    mine = cohort(noise(12))
    assert opened(mine).rules == ()
    mine.split[4:] = 2
    found = opened(mine)
    assert len(found.images) == 12
    assert "its sets train, test taken alike: for one of them, give a file of it" in found.rules


def test_sizes_depths_and_mixed_files(tmp_path):
    path = folder(tmp_path / "mixed", [noise(1, 40)[0], noise(1, 64)[0]])
    Image.fromarray(np.stack([noise(1, 48)[0]] * 3, -1)).save(path / "colour.jpg")
    Image.fromarray(noise(1, 50)[0].astype(np.uint16) * 257).save(path / "deep.png")
    (path / "notes.txt").write_text("x")
    found = opened(path)
    assert found.images.shape == (4, 32, 32)
    assert not found.is_8_bit
    for rule in ("1 file passed over: no image (notes.txt)", "1 file of colour made grey by luma"):
        assert rule in found.rules
    assert "images of 4 sizes, each averaged to 32×32" in found.rules
    with pytest.raises(TooSmallError, match=r"00000\.png: 40×40 pixels; give 48×48 at least"):
        opened(path, size=48)


def test_patients_of_a_table(tmp_path):
    path = folder(tmp_path / "radiographs", noise(4))
    table = tmp_path / "who.csv"
    rows = ["radiographs/00000.png,a", "00001.png,a", "00002.png,b", "00003.png,b"]
    table.write_text("file,patient\n" + "\n".join(rows))
    assert list(opened(path, patients=table).patients) == ["a", "a", "b", "b"]
    table.write_text("file,patient\n" + "\n".join(rows[:3]))
    with pytest.raises(ValueError, match=r"who\.csv: no patient for radiographs/00003\.png; add its row"):
        opened(path, patients=table)
    for line in ("00003.png,c", "radiographs/00003.png,c", "00003.png,"):
        table.write_text("file,patient\n" + "\n".join([*rows, line]))
        with pytest.raises(ValueError, match=r"who\.csv: radiographs/00003\.png has patients .*'b'.*; leave one"):
            opened(path, patients=table)
    table.write_text("file,patient\n" + "\n".join([*rows, rows[3]]))
    assert list(opened(path, patients=table).patients) == ["a", "a", "b", "b"]
    table.write_text("file,patient\n" + "\n".join([*rows[:3], f"00003.png,{'x' * 100_000}"]))
    with pytest.raises(ValueError, match=r"who\.csv: a patient of 100,000 characters for radiographs/00003\.png; give"):
        opened(path, patients=table)
    table.write_text("name,who\nx,y\n")
    with pytest.raises(ValueError, match="no column file, patient; its first line names name, who"):
        opened(path, patients=table)


def _damage(path):
    (path / "00001.png").write_bytes((path / "00001.png").read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_damage, r"00001\.png: truncated or damaged; repair the file or take it out"),
        (
            lambda p: (p / "x.dcm").write_bytes(b"nothing"),
            r"x\.dcm: not a readable DICOM file; repair the file or take it out",
        ),
        (lambda p: [f.unlink() for f in p.iterdir()], "no image in it; known are .dcm"),
    ],
)
def test_what_a_folder_is_refused_for(tmp_path, spoil, sentence):
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra `data`)")
    path = folder(tmp_path / "f", noise(3))
    spoil(path)
    with pytest.raises(ValueError, match=sentence):
        opened(path)


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"Rows": 12_000, "Columns": 12_000}, r"a\.dcm: 12,000×12,000 pixels, more than 67,108,864; reduce the image"),
        (
            {"NumberOfFrames": 10**9},
            r"a\.dcm: 1,000,000,000 frames of 32×32 pixels, 1 numbers of 8 bits each, take more than",
        ),
        (
            {"BitsAllocated": 65_528, "NumberOfFrames": 1000},
            r"a\.dcm: 1,000 frames of 32×32 pixels, 1 numbers of 65,528",
        ),
        ({"SamplesPerPixel": 65_535, "NumberOfFrames": 9}, r"a\.dcm: MONOCHROME2 with 65535 samples a pixel"),
        ({"NumberOfFrames": -5}, r"a\.dcm: damaged, or not a DICOM image"),
        ({"NumberOfFrames": 2}, r"a\.dcm: damaged, or not a DICOM image"),
        ({"Rows": 60_000, "NumberOfFrames": 10**6}, r"a\.dcm: 1,000,000 frames of 32×60,000 pixels"),
        ({"RescaleSlope": ["1", "2"]}, r"a\.dcm: a damaged DICOM header; repair the file or take it out"),
        ({"PixelPaddingValue": [1, 2]}, r"a\.dcm: a damaged DICOM header"),
    ],
)
def test_a_dicom_file_is_not_believed(tmp_path, claims, sentence):
    """What it says of its size is checked before its pixels are decoded."""
    path = dicom(tmp_path / "a.dcm", noise(1)[0], bits=8)
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(path)
    for name, value in claims.items():
        header.add_new(name, pydicom.datadict.dictionary_VR(name).split(" ")[0], value)
    header.save_as(path)
    with pytest.raises(ValueError, match=sentence) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def test_a_deflated_dicom_file_is_refused_before_it_is_inflated(tmp_path):
    path = dicom(tmp_path / "a.dcm", noise(1)[0], bits=8)
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(path)
    with pytest.raises(ValueError, match=r"a\.dcm: a deflated DICOM file; save it with another transfer syntax"):
        opened(path)


def rle(path, pixels, frames, segment, **claims):
    """A DICOM file of 8-bit frames of the shape of `pixels`, each of which holds `segment` in RLE."""
    dicom(path, pixels, bits=8, frames=frames)
    pydicom = pytest.importorskip("pydicom")
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + segment
    header.PixelData = pydicom.encaps.encapsulate([frame + b"\x80" * (len(frame) % 2)] * frames)
    header["PixelData"].is_undefined_length = True
    for name, value in claims.items():
        setattr(header, name, value)
    header.save_as(path)
    return path


def test_frames_in_rle_are_decoded_and_shown_one_by_one(tmp_path, monkeypatch):
    pixels = np.repeat(np.arange(64, dtype=np.uint8), 64).reshape(64, 64)
    path = rle(tmp_path / "a.dcm", pixels, 3, b"".join(bytes([193, row]) for row in range(64)))
    open_one, calls = dicom_files.read_frames, []

    def one_by_one(*args, **options):
        for frame in open_one(*args, **options):
            calls.append("decoded")
            yield frame

    monkeypatch.setattr(dicom_files, "read_frames", one_by_one)
    monkeypatch.setattr(user_images, "fitted", lambda *a, **k: calls.append("shown") or fitted(*a, **k))
    found = opened(path)
    np.testing.assert_allclose(found.images[2], pixels.reshape(32, 2, 32, 2).mean(axis=(1, 3)))
    assert (calls, set(found.sides)) == (["decoded", "shown"] * 3, {64})


def test_a_frame_in_rle_that_becomes_longer_than_its_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = rle(tmp_path / "a.dcm", noise(1)[0], 1, b"\x81\0" * 10_000)  # 1.3 MB for 32×32 pixels
    monkeypatch.setattr(dicom_files, "_RLE_UNTESTED", 1 << 10)
    pydicom = pytest.importorskip("pydicom")
    monkeypatch.setattr(pydicom.pixels, "iter_pixels", lambda header: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"a\.dcm: damaged, or not a DICOM image that pydicom can decode"):
        opened(path)


def test_the_bytes_of_all_frames_and_samples_count(tmp_path):
    path = rle(tmp_path / "a.dcm", np.zeros((32, 32)), 1, b"\x81\0" * 8, Rows=8192, Columns=8192, NumberOfFrames=4)
    with pytest.raises(ValueError, match=r"a\.dcm: damaged"):  # 2³⁰ bytes at four a pixel
        opened(path)
    claims = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    for more, numbers in ((claims, "3 numbers of 8 bits"), ({"BitsAllocated": 64}, "1 numbers of 64 bits")):
        rle(path, np.zeros((32, 32)), 1, b"\x81\0" * 8, Rows=8192, Columns=8192, NumberOfFrames=4, **more)
        with pytest.raises(ValueError, match=rf"4 frames of 8,192×8,192 pixels, {numbers} each, take more than"):
            opened(path)


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "NULL", " ", "<NA>"])
def test_patients_without_a_name_are_not_one_patient(tmp_path, missing):
    path, table = folder(tmp_path / "f", noise(3)), tmp_path / "t.csv"
    rows = "".join(f"{i:05d}.png,{missing}\n" for i in range(3))
    table.write_text(f"file,patient\n{rows}")
    with pytest.raises(ValueError, match=r"t\.csv: no patient for f/00000\.png; add its row"):
        opened(path, patients=table)


@pytest.mark.parametrize(
    ("source", "sentence"), [("", "a path is empty"), ("nowhere", "nowhere: no such file or folder")]
)
def test_no_path(source, sentence):
    with pytest.raises(ValueError, match=sentence):
        opened(source)


def test_nan_names_the_image(tmp_path):
    images = noise(3).astype(np.float32)
    path = cohort(images).save(tmp_path / "a.h5")
    import h5py

    with h5py.File(path, "r+") as file:
        file["images"][1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        opened(path)


def test_a_hundred_thousand_images_are_drawn_by_patient_and_not_all_read(tmp_path):
    import h5py

    n = 100_000
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file.create_dataset("images", data=np.random.default_rng(0).integers(0, 256, (n, 8, 8), np.uint8))
        file["id"], file["dis"], file["set"] = np.arange(n) // 4, np.zeros(n, int), np.zeros(n, int)
    found = opened(tmp_path / "many.h5", size=8, most=2000)
    assert found.images.shape == (2000, 8, 8)
    assert found.found == n
    assert len(np.unique(found.patients)) == 500
    assert len(found.everyone) == n / 4
    assert "2,000 of 100,000 images drawn at random, by patient" in found.rules[0]


@pytest.mark.parametrize("number", [7, 7.0, True])
def test_a_path_that_a_program_took_for_a_number_is_refused(number):
    """`papermill -p train 007` gives 7."""
    with pytest.raises(ValueError, match=f"the number {number!r}: where a program takes 007 for 7, write ./007, or -r"):
        opened(number)


def test_a_folder_named_by_digits_is_itself(tmp_path, monkeypatch):
    folder(tmp_path / "007", noise(2))
    folder(tmp_path / "7", noise(1))
    monkeypatch.chdir(tmp_path)
    assert len(opened("007").images) == 2


def test_images_that_are_not_square_keep_their_aspect(tmp_path):
    path = folder(tmp_path / "f", [np.full((64, 40), 90, np.uint8), noise(1, 64)[0]])
    image = np.asarray(Image.open(path / "00000.png")).copy()
    image[:, :4] = 7
    Image.fromarray(image).save(path / "00000.png")
    found = opened(path)
    assert (found.images[0][:, :6] == 7).all()
    assert (found.images[0][:, 26:] == 7).all()
    assert (found.images[0][:, 8:26] == 90).all()
    assert "1 image not square, padded to a square with the darkest pixel" in found.rules
    assert list(found.sides) == [64, 64]
    assert "1 image not square, squeezed to a square whatever the aspect" in opened(path, fit="squeeze").rules
    oblong = cohort(np.stack([image] * 3))
    np.testing.assert_array_equal(opened(oblong).images[1], found.images[0])
    assert "3 images not square, padded to a square with the darkest pixel" in opened(oblong).rules


@pytest.mark.parametrize(
    ("scale", "limits", "sentence"),
    [
        (4095, (0, 1), r"mine, image mine 0: pixels from .* to 4095, and the file's value range is 0 to 1"),
        (1, (0, 255), r"mine: all pixels lie from .* to 1, and the file's value range is 0 to 255"),
    ],
)
def test_floats_of_another_range_than_the_file_says_are_refused(scale, limits, sentence):
    """Clipped, the first would be silhouettes; rounded, the second would be black."""
    images = noise(12).astype(np.float32) / 255
    images[:, 0, 0] = 1
    with pytest.raises(ValueError, match=sentence):
        opened(cohort(images * np.float32(scale), value_range=limits))


def test_without_a_table_files_are_drawn_and_it_is_said(tmp_path):
    rules = opened(folder(tmp_path / "a", noise(12)), most=5).rules
    said = "5 of 12 images drawn at random, by file, whose patients were not compared; the others were not looked at"
    assert said in rules


def test_dark_images_of_a_cohort_are_no_other_range():
    """A block of its last images may be black: constant images are left out later, faint ones are images."""
    images = noise(520)
    images[512:] = 3
    assert len(opened(cohort(images)).images) == 520
    assert len(opened(cohort(images / np.float32(255), value_range=(0, 1))).images) == 520
