"""Images that are read when they are asked for: those of the whole array, in the memory of what was asked for."""

import tracemalloc

import h5py
import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.rows import Pooled, Rows

N = 1300  # of more than two blocks of a file


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (N, 6, 5), np.uint8)


@pytest.fixture(scope="module")
def path(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "images.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(1, 6, 5))
        file.create_dataset("colour", data=np.stack([images] * 3, axis=-1))
        file.create_dataset("float64", data=images.astype(float))
    return path


RNG = np.random.default_rng(1)
SELECTIONS = {
    "all": slice(None),
    "none": slice(0, 0),
    "backwards": slice(None, None, -7),
    "the last": slice(-3, None),
    "one": 1299,
    "shuffled": RNG.permutation(N),
    "drawn with replacement": RNG.integers(0, N, 4000),
    "a table": RNG.integers(0, N, (20, 3)),
    "few and far": np.array([1290, 3, 700]),
    "a mask": RNG.random(N) < 0.3,
    "repeated": np.resize(np.arange(400), N),
}


@pytest.mark.parametrize("which", SELECTIONS.values(), ids=SELECTIONS)
def test_rows_of_a_file_are_those_of_the_array(path, images, which):
    np.testing.assert_array_equal(Rows(path, "images")[which], images[which])
    colour = np.moveaxis(np.stack([images] * 3, axis=-1), -1, 1)
    np.testing.assert_array_equal(Rows(path, "colour")[which], colour[which])
    found = Rows(path, "float64")[which]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, images[which])
    if np.ndim(which) == 1:
        again = np.arange(np.arange(N)[which].size)[::-2]
        np.testing.assert_array_equal(Rows(path, "images").select(which)[again], images[which][again])


@pytest.mark.parametrize("which", SELECTIONS.values(), ids=SELECTIONS)
def test_pooled_images_are_those_of_the_parts_one_after_another(path, images, which):
    parts = [images[:400], Rows(path, "images", np.arange(400, 1290)), images[1290:1290], images[1290:]]
    pooled = Pooled(*parts)
    assert (pooled.shape, pooled.dtype, pooled.ndim, len(pooled)) == (images.shape, np.uint8, 3, N)
    found = pooled[which]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images[which])


def test_an_array_is_made_of_pooled_images(path, images):
    np.testing.assert_array_equal(np.asarray(Pooled(Rows(path, "images"), images)), np.concatenate([images] * 2))


def test_parts_of_several_kinds_are_refused(images):
    for parts in ((), (images, images[:, 1:]), (images, images.astype(np.float32))):
        with pytest.raises(ValueError, match="give images of one size and dtype"):
            Pooled(*parts)


def peak_of(make) -> int:
    tracemalloc.start()
    make()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_what_is_read_is_held_once(tmp_path):
    """Of a file of several GB, a second copy while it is read or pooled decides whether it fits."""
    large = np.zeros((6000, 64, 64), np.uint8)  # 25 MB; a block of the file has 2 MB
    columns = np.arange(6000), np.zeros(6000), np.zeros(6000)
    path = Cohort(large, *columns, name="large", label_names=["x"]).save(tmp_path / "large.h5")
    rows = Cohort.open(path).images
    assert peak_of(lambda: rows[:]) < 1.4 * large.nbytes
    assert peak_of(lambda: np.ascontiguousarray(Pooled(rows, large, rows))) < 3.4 * large.nbytes
    assert peak_of(lambda: Cohort.open(path).resized(32)) < 0.6 * large.nbytes
