"""The published synthetic vertebral units: a file of their layout is read lazily, and only such a file."""

import h5py
import numpy as np
import pytest

from lib.cohorts import public as datasets
from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort, Rows
from lib.cohorts.phantoms import vertebra
from lib.cohorts.public import pgan_release

N = 30


def release(folder, name="synthetic_dataset.h5", **changes):
    """A file of the published layout with 30 units of 9×16×16; a change to None leaves a data set out."""
    rng = np.random.default_rng(0)
    images, regions = np.tanh(rng.standard_normal((N, 9, 16, 16))), rng.integers(0, 3, (N, 1)).astype(float)
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / name, "w") as file:
        for key, values in ({"images": images, "regions": regions} | changes).items():
            if values is not None:
                file[key] = values
    return folder / name, images, regions


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


def test_the_file_reads_as_a_cohort(tmp_path):
    path, images, regions = release(tmp_path)
    units = pgan_release.read(path)
    assert isinstance(units.images, Rows)  # unread
    np.testing.assert_array_equal(units.images[:], images.astype(np.float32))
    np.testing.assert_array_equal(units.images[[7, 3, 3]], images[[7, 3, 3]].astype(np.float32))
    np.testing.assert_array_equal(units.labels, regions[:, 0])
    np.testing.assert_array_equal(units.region, units.labels)
    assert (units.labels.dtype, units.region.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(units.patient, np.arange(N))
    assert set(units.split) == {0}
    assert units.value_range == (-1, 1)
    assert units.label_names == vertebra.LABELS
    assert "10.5281/zenodo.5031881" in units.source
    chosen = units[units.labels == 2]
    assert isinstance(chosen.images, Rows)
    np.testing.assert_array_equal(chosen.images[:], images[regions[:, 0] == 2].astype(np.float32))


def test_pixels_are_read_in_blocks(tmp_path, monkeypatch):
    path, *_ = release(tmp_path)
    monkeypatch.setattr("lib.cohorts.cohort.BLOCK", 8)
    asked, read = [], Rows.__getitem__
    monkeypatch.setattr(Rows, "__getitem__", lambda rows, which: asked.append(which) or read(rows, which))
    [prepared] = pgan_release.prepare(path, tmp_path / "out", count=N)
    assert max(which.stop - which.start for which in asked) == 8
    assert Cohort.open(prepared).digest == pgan_release.read(path).digest


@pytest.mark.parametrize("given", ["zenodo", "zenodo/synthetic_dataset.h5"])
def test_prepare_then_open_and_list(suite, given, monkeypatch, capsys):
    _, images, _ = release(suite / "zenodo")
    (suite / "zenodo" / "README.md").write_text("beside it")
    with pytest.raises(FileNotFoundError, match="10.5281/zenodo.5031881, then run `python .* pgan_release --from DIR`"):
        datasets.open_public("pgan_release")
    monkeypatch.setattr(pgan_release.prepare, "__kwdefaults__", {"count": N})
    assert main(["prepare", "pgan_release", "--from", str(suite / given)]) == 0
    assert "30 MR images 9×16×16 of 30 patients" in capsys.readouterr().out
    opened = datasets.open_public("pgan_release")
    np.testing.assert_array_equal(opened.images[:], images.astype(np.float32))
    assert opened.value_range == (-1, 1)
    assert main(["list"]) == 0
    assert "pgan_release: 30 MR images" in capsys.readouterr().out


def test_it_is_never_fetched(suite, capsys):
    assert pgan_release.sources() == []
    assert main(["prepare", "pgan_release"]) == 1
    assert "download the one of doi 10.5281/zenodo.5031881" in capsys.readouterr().err


def pixels(value):
    images = np.zeros((N, 9, 16, 16))
    images[17, 4, 3, 2] = value
    return {"images": images}


def regions(value):
    return {"regions": np.where(np.arange(N)[:, None] == 5, value, 1.0)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": None, "image": np.zeros((N, 9, 16, 16))}, "no data set images; expected is one HDF5 file"),
        ({"regions": None}, "no data set regions; expected"),
        ({"images": None, "regions": None}, "no data set images, regions; expected"),
        ({"images": None, "images/1": np.zeros(3)}, "images is no data set with rows; expected"),
        ({"images": np.zeros((N, 16, 16, 9))}, r"images have shape \(30, 16, 16, 9\); expected"),
        ({"images": np.zeros((N, 9 * 256))}, r"images have shape \(30, 2304\)"),
        ({"images": np.zeros((N, 9, 16, 16), np.uint8)}, "images are uint8 where floats from -1 to 1"),
        ({"regions": np.zeros((N - 1, 1))}, r"regions are float64 of shape \(29, 1\) for 30 images"),
        ({"regions": np.zeros((N, 3))}, r"regions are float64 of shape \(30, 3\)"),
        ({"regions": np.full((N, 1), b"C")}, r"regions are \|S1"),
        (regions(3), "region 3 where 0, 1 and 2 were published"),
        (regions(-1), "region -1"),
        (regions(0.5), "region 0.5"),
        (regions(np.nan), "region nan"),
        (pixels(np.nan), "images holds NaN"),
        (pixels(np.inf), "images holds NaN or infinite"),
        (pixels(-1.5), "a pixel of 1.5 where -1 to 1 was published; download it again"),
    ],
)
def test_another_layout_or_content_is_refused_in_one_sentence(tmp_path, changes, sentence):
    path, *_ = release(tmp_path / "zenodo", **changes)
    with pytest.raises(ValueError, match=rf"synthetic_dataset\.h5: {sentence}") as caught:
        pgan_release.prepare(path, tmp_path / "out", count=N)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path, *_ = release(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        ValueError, match=r"synthetic_dataset\.h5: truncated, damaged or not HDF5; expected is .*: download it again"
    ):
        pgan_release.prepare(tmp_path, tmp_path / "out", count=N)


def test_damaged_pixels_are_refused_and_leave_nothing(tmp_path):
    path, images, _ = release(tmp_path / "zenodo", images=None)
    with h5py.File(path, "a") as file:
        stored = file.create_dataset("images", data=images, chunks=(1, 9, 16, 16), fletcher32=True)
        offset = stored.id.get_chunk_info(7).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"synthetic_dataset\.h5: damaged pixel data; download it again from doi"):
        pgan_release.prepare(path, tmp_path / "out", count=N)
    assert not list(tmp_path.glob("out/*"))


def test_the_wrong_number_of_images_or_files_is_refused(tmp_path):
    path, *_ = release(tmp_path)
    with pytest.raises(ValueError, match="30 images where 10,000 were published"):
        pgan_release.prepare(path, tmp_path / "out")
    release(tmp_path, "copy.hdf5")
    with pytest.raises(ValueError, match="2 HDF5 files in it; give the path of the published one"):
        pgan_release.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="none: no HDF5 file in it"):
        pgan_release.prepare(tmp_path / "none", tmp_path / "out")
