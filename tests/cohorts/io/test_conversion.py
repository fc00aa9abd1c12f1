"""A folder and a table become a cohort: every way of labels and splits, and what is refused in one sentence."""

import re

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.io.conversion import convert
from lib.release.dicom_export import write_dicom
from tests.cohorts.toy import noise

rng = np.random.default_rng(0)
PATIENTS = ["007", "7", "a b", "007", "x", "y", "z", "q"]
IMAGES = noise(len(PATIENTS), 32)


@pytest.fixture
def folder(tmp_path):
    """Eight PNG files, the later half in a folder below."""
    for number, image in enumerate(IMAGES):
        path = tmp_path / "images" / ("" if number < 4 else "more") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "images"


def table(folder, columns: dict, *, patients=PATIENTS):
    path = folder.parent / "table.csv"
    heads = ["File", "PATIENT", *columns]
    names = [f"{'more/' * (n > 3)}{n}.png" for n in range(len(IMAGES))]
    rows = zip(names, patients, *columns.values(), strict=True)
    path.write_text("\n".join(";".join(map(str, row)) for row in [heads, *rows]), encoding="utf-8")
    return path


CLASSES = {"finding": ["mass", "none"] * 4}


def test_pixels_patients_classes_and_splits_are_those_of_the_table(folder, tmp_path):
    splits = ["train", "val", "test", "Train", "training", "validation", "TEST", "train"]
    at = table(folder, CLASSES | {"Split": splits})
    cohort = convert(folder, at, size=32, name="own", modality="MG")
    np.testing.assert_array_equal(cohort.images[:], IMAGES)
    assert cohort.label_names == ("mass", "none")
    assert cohort.labels.tolist() == [0, 1] * 4
    assert cohort.split.tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    same = cohort.patient[:, None] == cohort.patient
    np.testing.assert_array_equal(same, np.array(PATIENTS)[:, None] == np.array(PATIENTS))  # "007" is not "7"
    assert cohort.source_name.tolist()[3:5] == ["3.png", "more/4.png"]
    again = Cohort.open(cohort.save(tmp_path / "own.h5"))
    assert again.digest == cohort.digest
    assert again.made_by.endswith("splits as the table says")


def test_without_splits_patients_are_drawn_and_none_is_in_two(folder):
    cohort = convert(folder, table(folder, CLASSES), size=16, name="own")
    assert set(cohort.split.tolist()) == {0, 1, 2}
    assert cohort.split[0] == cohort.split[3]  # both of patient 007
    assert convert(folder, table(folder, CLASSES), size=16, name="own").split.tolist() == cohort.split.tolist()


def test_what_was_left_out_or_made_grey_is_told(folder):
    Image.fromarray(IMAGES[0]).convert("RGB").save(folder / "0.png")
    (folder / "notes.txt").write_text("none")
    at = table(folder, CLASSES)
    before = convert(folder, at, size=32, name="own").made_by
    assert "; 1 file of the folder passed over as no images; 1 file of colour made grey by luma; 70" in before
    at.write_text(at.read_text() + "\nabsent.png;9;mass\nmore/absent.png;9;mass")
    assert (
        "; 2 files of the table without an image in the folder; 1 file"
        in convert(folder, at, size=32, name="own").made_by
    )


def test_several_columns_are_findings_and_classes_take_the_order_that_is_given(folder):
    at = table(folder, {"age": range(8), "edema": [0, 1] * 4, "mass": ["1.0", "0"] * 4})
    cohort = convert(folder, at, size=32, name="own", labels=["Mass", "edema"])
    assert cohort.label_names == ("mass", "edema")
    assert cohort.labels.tolist() == [[1, 0], [0, 1]] * 4
    ordered = convert(folder, table(folder, CLASSES), size=32, name="own", classes=["none", "mass"])
    assert ordered.label_names == ("none", "mass")
    assert ordered.labels.tolist() == [1, 0] * 4


def test_classes_that_are_numbers_are_named_with_their_column(folder):
    at = table(folder, {"Grade": [0, 2] * 4})
    assert convert(folder, at, size=32, name="own").label_names == ("grade 0", "grade 2")
    turned = convert(folder, at, size=32, name="own", classes=["2", "0"])
    assert turned.label_names == ("grade 2", "grade 0")
    assert turned.labels.tolist() == [1, 0] * 4


def test_deep_images_are_stretched_and_pages_are_images(folder):
    deep = np.linspace(0, 60000, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(deep).save(folder / "0.png")
    (folder / "1.png").unlink()
    first, *others = map(Image.fromarray, IMAGES[:3])
    first.save(folder / "1.tiff", save_all=True, append_images=others)
    at = table(folder, CLASSES)
    at.write_text(at.read_text().replace("1.png", "1.tiff"))
    cohort = convert(folder, at, size=32, name="own")
    assert len(cohort) == len(IMAGES) + 2
    expected = np.clip((deep - np.percentile(deep, 1)) * 255 / np.ptp(np.percentile(deep, (1, 99))), 0, 255)
    np.testing.assert_allclose(cohort.images[0], expected, atol=0.6)
    np.testing.assert_array_equal(cohort.images[1:4], IMAGES[:3])
    np.testing.assert_array_equal(cohort.images[2:4], IMAGES[1:3])  # a part of the file's pages
    np.testing.assert_array_equal(cohort.images[[3, 1]], IMAGES[[2, 0]])
    assert cohort.source_name[1:4].tolist() == ["1.tiff frame 0", "1.tiff frame 1", "1.tiff frame 2"]
    assert len(set(cohort.patient[1:4].tolist())) == 1
    assert "1 file of more than 8 bits stretched" in cohort.made_by


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({}, {}, "table.csv: no column of labels beside file, patient and split; add one"),
        ({"finding": ["mass"] * 8}, {}, "finding holds only 'mass'; give 2 to 50 classes"),
        ({"finding": ["mass"] * 7 + [""]}, {}, "no finding for more/7.png; fill it in"),
        ({"finding": ["a", "NaN"] * 4}, {}, "no finding for 1.png; fill it in"),
        ({"a": [0] * 8, "b": [0, 2] * 4}, {}, "b of 1.png is '2'; of several columns of labels each is a finding"),
        (CLASSES, {"labels": ["lesion"]}, "no column lesion; it has finding"),
        (CLASSES, {"classes": ["mass", "cyst"]}, "finding holds mass, none, and the classes are mass, cyst"),
        (CLASSES | {"split": ["fold1"] * 8}, {}, "the split of 0.png is 'fold1'; write train, validation, test"),
        (CLASSES | {"split": ["train", "val"] * 4}, {}, "patient 007 stands in two splits (see 3.png); split by pat"),
        (CLASSES, {"size": 64}, "0.png: 32×32 pixels; give a size of 32 at most"),
        (CLASSES, {"size": 4}, "size is 4"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_before_a_pixel_is_read(folder, columns, options, says):
    with pytest.raises(ValueError, match=f"^.*{re.escape(says)}.*$"):  # a line
        convert(folder, table(folder, columns), **{"size": 32, "name": "own"} | options)


def test_too_few_patients_for_three_splits_are_refused(folder):
    at = table(folder, CLASSES, patients=["a", "b"] * 4)
    with pytest.raises(ValueError, match="2 patients; three splits need as many"):
        convert(folder, at, size=32, name="own")


def test_the_command_writes_a_cohort_describes_it_and_replaces_nothing(folder, tmp_path, capsys):
    out = tmp_path / "own.h5"
    words = ["convert", str(folder), "--table", str(table(folder, CLASSES)), "--size", "32", "-o", str(out)]
    assert main([*words, "--licence", "ours"]) == 0
    told = capsys.readouterr()
    assert "images            8 of 32×32 pixels, uint8" in told.out
    assert "licence           ours" in told.out
    assert "8 of 8 images" in told.err
    before = out.read_bytes()
    assert main(words) == 1
    assert capsys.readouterr().err == f"error: {out} is there already; give another name, or delete it\n"
    assert out.read_bytes() == before
    assert main(["convert", str(folder), "--table", str(tmp_path / "no.csv"), "--size", "32", "-o", "a.h5"]) == 1
    assert "no.csv: no such table; give a CSV with the columns file, patient" in capsys.readouterr().err


def test_a_damaged_image_leaves_no_cohort(folder, tmp_path, capsys):
    content = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(content[: len(content) // 2])
    out = tmp_path / "own.h5"
    words = ["convert", str(folder), "--table", str(table(folder, CLASSES)), "--size", "32", "-o", str(out)]
    assert main(words) == 1
    assert "2.png: truncated or damaged" in capsys.readouterr().err
    assert not out.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "table.csv"]


@pytest.fixture
def masks(folder):
    """A mask of each image, in files of another kind: the upper half, 16 of 32 rows."""
    for number in range(len(IMAGES)):
        path = folder.parent / "masks" / ("" if number < 4 else "more") / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.repeat([255, 0], 16).astype(np.uint8)[:, None].repeat(32, 1)).save(path)
    return folder.parent / "masks"


def test_masks_are_found_by_the_names_of_their_images(folder, masks, tmp_path):
    cohort = convert(folder, table(folder, CLASSES), size=16, name="own", masks=masks)
    again = Cohort.open(cohort.save(tmp_path / "own.h5"))
    assert np.array_equal(again.masks[:], np.repeat([1, 0], 8)[None, :, None].repeat(8, 0).repeat(16, 2))
    assert main(["convert", str(folder), "--table", str(table(folder, CLASSES)), "--size", "16", "--masks", str(masks),
                 "-o", str(tmp_path / "by hand.h5")]) == 0  # fmt: skip
    assert np.array_equal(Cohort.open(tmp_path / "by hand.h5").masks[:], again.masks[:])


def test_a_mask_that_is_absent_twice_there_or_of_another_size_is_named(folder, masks):
    at = table(folder, CLASSES)
    small = masks / "2.bmp"
    Image.fromarray(np.zeros((30, 32), np.uint8)).save(small)
    with pytest.raises(ValueError, match=rf"{re.escape(str(small))}: 30×32 pixels, where its image has 32×32"):
        convert(folder, at, size=16, name="own", masks=masks).masks[:]
    small.with_suffix(".png").write_bytes(small.read_bytes())
    with pytest.raises(ValueError, match="2 masks of 2.png; give each image one, 2.png"):
        convert(folder, at, size=16, name="own", masks=masks)
    for path in masks.glob("2.*"):
        path.unlink()
    with pytest.raises(ValueError, match="no mask of 2.png"):
        convert(folder, at, size=16, name="own", masks=masks)


def test_what_is_padded_around_a_mask_is_outside(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = ["file,patient,finding"]
    for number in range(4):
        Image.fromarray(noise(1, 32)[0][:16]).save(tmp_path / f"images/{number}.png")
        Image.fromarray(np.full((16, 32), 255, np.uint8)).save(tmp_path / f"masks/{number}.png")
        rows.append(f"{number}.png,{number},{number % 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    cohort = convert(tmp_path / "images", tmp_path / "t.csv", size=16, name="own", masks=tmp_path / "masks")
    assert cohort.masks[0].sum(axis=1).tolist() == [0] * 4 + [16] * 8 + [0] * 4


@pytest.fixture
def volumes(tmp_path):
    """Six volumes of four slices: TIFF of 16 bits and of 8, and a multi-frame DICOM; and what they hold."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    held = rng.integers(0, 256, (6, 4, 32, 32)).astype(np.uint8)
    for number, of in enumerate(held[:5]):
        first, *others = map(Image.fromarray, of * np.uint16(100) if number < 4 else of)
        first.save(folder / f"{number}.tiff", save_all=True, append_images=others)
    (one,) = write_dicom(folder, held[5:], ["a"], series="s", made_by="")
    one.rename(folder / "5.dcm")
    rows = [f"{number}.{'tiff' if number < 5 else 'dcm'},p{number},{'ab'[number % 2]}" for number in range(6)]
    (tmp_path / "table.csv").write_text("\n".join(["file,patient,kind", *rows]))
    return folder, held


def test_a_nifti_volume_has_its_slices_in_their_order(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed (extra `data`)")
    held = rng.integers(0, 256, (3, 4, 32, 32)).astype(np.uint8)
    for number, of in enumerate(held):
        turned = of[:, ::-1, ::-1].transpose(2, 1, 0)  # right, anterior, superior
        nibabel.save(nibabel.Nifti1Image(turned, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / f"{number}.nii")
    (tmp_path / "table.csv").write_text("file,patient,kind\n0.nii,a,x\n1.nii,b,y\n2.nii,c,x")
    cohort = convert(tmp_path, tmp_path / "table.csv", size=32, name="own", slices=4)
    np.testing.assert_array_equal(cohort.images[:], held)


def test_a_file_of_so_many_slices_is_a_volume_whose_slices_share_their_greys(volumes, tmp_path):
    folder, held = volumes
    cohort = convert(folder, tmp_path / "table.csv", size=32, name="own", slices=4)
    assert cohort.images.shape == (6, 4, 32, 32)
    assert cohort.source_name.tolist() == [*(f"{number}.tiff" for number in range(5)), "5.dcm"]
    np.testing.assert_array_equal(cohort.images[4:], held[4:])
    for made, of in zip(cohort.images[:4], held[:4], strict=True):
        low, high = np.percentile(of, (1, 99))
        expected = np.rint(((of - low) * 255 / (high - low)).clip(0, 255))
        assert np.abs(made.astype(int) - expected).max() <= 1  # of all four slices together
    assert convert(folder, tmp_path / "table.csv", size=16, name="own").images.shape == (24, 16, 16)
    again = Cohort.open(cohort.save(tmp_path / "own.h5"))
    assert again.digest == cohort.digest


@pytest.mark.parametrize(
    ("slices", "says"),
    [
        (9, r"0.tiff: holds 4 slices, not 9; cut it to these, or"),
        (3, "3 channels are colour"),
        (1, "give 2"),
    ],
)
def test_volumes_of_another_number_of_slices_are_refused(volumes, tmp_path, slices, says):
    with pytest.raises(ValueError, match=says):
        convert(volumes[0], tmp_path / "table.csv", size=32, name="own", slices=slices)
