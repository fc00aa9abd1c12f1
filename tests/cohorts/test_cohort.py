"""The cohort: what it refuses, what it keeps, and that a file is all or nothing."""

import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from lib.cohorts.cohort import COLUMNS, SPLITS, Cohort
from tests.paths import ROOT


def make(n=12, size=8, **overrides):
    rng = np.random.default_rng(0)
    columns = {
        "images": rng.integers(0, 256, (n, size, size), dtype=np.uint8),
        "patient": np.arange(n) // 2,
        "labels": np.arange(n) % 2,
        "split": np.repeat(np.arange(3), n // 3),
        "site": np.arange(n) % 3,
        "masks": rng.integers(0, 2, (n, size, size), dtype=np.uint8),
        "source_name": [f"radiograph {i}" for i in range(n)],
        "name": "made",
        "label_names": ("malignant", "benign"),
    }
    return Cohort(**(columns | overrides))


def test_a_saved_cohort_opens_unchanged(tmp_path):
    cohort = make(value_range=(0, 200), licence="CC0", closed_set=False)
    opened = Cohort.open(cohort.save(tmp_path / "a.h5"))
    assert opened.digest == cohort.digest
    for column in ("patient", "labels", "split", "site", "source_name"):
        np.testing.assert_array_equal(getattr(opened, column), getattr(cohort, column))
    np.testing.assert_array_equal(opened.images[:], cohort.images)
    np.testing.assert_array_equal(opened.masks[:], cohort.masks)
    assert (opened.label_names, opened.value_range, opened.licence) == (("malignant", "benign"), (0, 200), "CC0")


@pytest.mark.parametrize("which", [slice(2, 9), [5, 1, 1, 9], np.arange(12) % 3 == 0, 4, -1])
def test_unread_rows_index_like_an_array(tmp_path, which):
    cohort = make()
    rows = Cohort.open(cohort.save(tmp_path / "a.h5")).images
    np.testing.assert_array_equal(rows[which], cohort.images[which])


def test_selection_and_split_keep_rows_together(tmp_path):
    cohort = make()
    chosen = Cohort.open(cohort.save(tmp_path / "a.h5"))[[7, 2, 5]]
    np.testing.assert_array_equal(chosen.images[:], cohort.images[[7, 2, 5]])
    np.testing.assert_array_equal(chosen.masks[:], cohort.masks[[7, 2, 5]])
    assert list(chosen.source_name) == ["radiograph 7", "radiograph 2", "radiograph 5"]
    for name, code in SPLITS.items():
        assert set(cohort.subset(name).split) == {code}
    with pytest.raises(ValueError, match="unknown split 'held-out'"):
        cohort.subset("held-out")
    with pytest.raises(ValueError, match="the test split is empty"):
        cohort[cohort.split < 2].subset("test")


def test_plain_four_column_file_opens_as_it_is(tmp_path):
    """Montenegro's layout: no attribute, channels last, float64 masks aside."""
    images = np.random.default_rng(0).integers(0, 256, (6, 10, 10, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "iris.hdf5", "w") as file:
        file["images"], file["id"], file["dis"] = images, [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]
        file["set"] = [0, 0, 1, 1, 2, 2]
    cohort = Cohort.open(tmp_path / "iris.hdf5")
    assert cohort.images.shape == (6, 3, 10, 10)
    np.testing.assert_array_equal(cohort.images[2:4], np.moveaxis(images, -1, 1)[2:4])
    assert cohort.label_names == ("class 0", "class 1")


def test_box_average_is_the_mean_of_each_block():
    cohort = make(images=np.random.default_rng(1).random((12, 8, 8), dtype=np.float32))
    expected = cohort.images[3, 4:8, 0:4].mean()
    assert cohort.resized(2).images[3, 1, 0] == pytest.approx(expected, rel=1e-6)
    assert cohort.resized(2).masks is None
    with pytest.raises(ValueError, match="cannot be box-averaged to 3"):
        cohort.resized(3)


def test_digest_sees_pixels_labels_and_splits():
    cohort = make()
    pixels = cohort.images.copy()
    pixels[0, 0, 0] ^= 1
    others = [cohort.with_images(pixels), make(labels=1 - cohort.labels), make(label_names=("benign", "malignant"))]
    assert len({c.digest for c in (cohort, *others)}) == 4


GREY = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)


@pytest.mark.parametrize(
    ("images", "labels", "names", "columns", "digest"),
    [
        (
            GREY,
            [0, 1],
            ("benign", "malignant"),
            {"view": [1, 0], "source_name": ["x", "y"]},
            "d74389077cc7e204f7ffaf92",
        ),
        (
            GREY[:, None] / np.float32(32),
            [[0, 1], [1, 1]],
            ("edema", "mass"),
            {"region": [5, 6]},
            "0f47110c65481dee45a5",
        ),
    ],
)
def test_the_digest_is_that_of_the_published_cohorts(tmp_path, images, labels, names, columns, digest):
    """By its definition, and as revision e1da0c6, which published digests, made it."""
    cohort = Cohort(images, [3, 4], labels, [0, 2], name="any", label_names=names, **columns)
    content = json.dumps([names, images.shape, str(images.dtype)]).encode() + images.tobytes()
    content += np.array([3, 4]).tobytes() + np.array(labels).tobytes() + bytes([0, 2])
    for column in COLUMNS:
        content += np.array(columns[column]).tobytes() if column in columns else b"-"
    assert cohort.digest == hashlib.sha256(content).hexdigest()
    assert cohort.digest.startswith(digest)
    assert Cohort.open(cohort.save(tmp_path / "a.h5")).digest == cohort.digest


def test_a_file_keeps_the_published_keys(tmp_path):
    cohort = make(view=np.arange(12) % 2)
    with h5py.File(cohort.save(tmp_path / "a.h5")) as file:
        assert set(file) == {"images", "id", "dis", "set", "key", "site", "view", "masks"}
        assert [file[key].dtype for key in ("id", "dis", "set")] == [np.int64, np.int64, np.uint8]
        for key, values in (("id", cohort.patient), ("dis", cohort.labels), ("set", cohort.split)):
            np.testing.assert_array_equal(file[key][:], values)
        assert [name.decode() for name in file["key"]] == cohort.source_name.tolist()
        assert json.loads(file.attrs["facts"])["labels"] == ["malignant", "benign"]
        assert json.loads(file.attrs["split_code"]) == SPLITS


FLOATS = np.zeros((12, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patient": np.zeros(12, int)}, "patient 0 stands in two splits"),
        ({"patient": np.zeros(11, int)}, "patient has 11 rows for 12 images"),
        ({"labels": np.full(12, 2)}, "2 label names allow 0 to 1"),
        ({"split": np.full(12, 3)}, "split holds 3"),
        ({"images": np.zeros((12, 8), np.uint8)}, r"images have shape \(12, 8\)"),
        ({"images": np.zeros((12, 8, 8), np.int32)}, "convert them to uint8 or float32"),
        ({"images": np.where(np.arange(12)[:, None, None] == 3, np.nan, FLOATS).astype(np.float32)}, "NaN"),
        ({"masks": np.full((12, 8, 8), 255, np.uint8)}, "divide them by it"),
        ({"masks": np.zeros((12, 4, 4), np.uint8)}, "give the masks of these images"),
        ({"labels": np.zeros((12, 3), int)}, "3 columns for 2 label names"),
    ],
)
def test_bad_columns_are_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        make(**wrong)
    assert "\n" not in str(caught.value)


def test_closed_set_may_share_patients():
    assert len(make(patient=np.zeros(12, int), closed_set=True)) == 12


def test_nan_in_a_file_is_refused_when_read(tmp_path):
    images = np.zeros((12, 8, 8), np.float32)
    path = make(images=images, masks=None).save(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["images"][4, 0, 0] = np.nan
    rows = Cohort.open(path).images
    assert np.isfinite(rows[:4]).all()
    with pytest.raises(ValueError, match=r"a\.h5: images holds NaN"):
        rows[3:6]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused(tmp_path, kept):
    path = make(n=300, size=16, patient=np.arange(300)).save(tmp_path / "a.h5")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=r"a\.h5: truncated, damaged or not HDF5; make the file again"):
        Cohort.open(path)


def test_damaged_pixels_are_refused(tmp_path):
    path = make(n=300, size=16, patient=np.arange(300)).save(tmp_path / "a.h5")
    with h5py.File(path) as file:
        offset = file["images"].id.get_chunk_info(7).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.h5: damaged pixel data in images; make the file again"):
        Cohort.open(path).images[:]


def test_missing_file_and_missing_column(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such cohort"):
        Cohort.open(tmp_path / "none.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="no data set id, dis, set"):
        Cohort.open(tmp_path / "b.h5")


def test_a_disk_that_fills_while_saving_names_the_file_and_leaves_nothing(tmp_path):
    """The limit on a file's size stands for the full disk: the kernel refuses the write half-way."""
    program = f"""
import resource
from tests.cohorts.test_cohort import make
cohort = make(n=3000, size=32, patient=range(3000))
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    cohort.save({str(tmp_path / "a.h5")!r})
except OSError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert "a.h5: could not be written" in out.stdout, out.stderr
    assert list(tmp_path.iterdir()) == []
