"""A folder of pictures: what is written is read again, in order, and a folder is whole or not there."""

import numpy as np
import pandas as pd
import pytest

from lib.cohorts.io import picture_files, picture_folder
from lib.cohorts.io.picture_folder import write_pictures
from lib.cohorts.rows import BLOCK
from tests.cohorts.unread import Unread

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(11, 16, 12), (3, 5, 16, 12)], ids=["grey", "volumes"])
def test_what_is_written_is_read_again(tmp_path, shape):
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    folder = write_pictures(tmp_path / "out", images, {"label": [f"l{i}" for i in range(len(images))]})
    table = pd.read_csv(folder / "labels.csv")
    assert sorted(path.name for path in folder.iterdir()) == [*table.file, "labels.csv"]
    assert table.label.tolist() == [f"l{i}" for i in range(len(images))]
    read = [[page.pixels for page in picture_files.read(folder / name)] for name in table.file]
    np.testing.assert_array_equal(np.squeeze(read) if len(shape) == 3 else read, images)


def test_colour_keeps_its_channels(tmp_path):
    from PIL import Image

    images = rng.integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    folder = write_pictures(tmp_path / "out", images)
    with Image.open(folder / "2.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images[1].transpose(1, 2, 0))


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    write_pictures(tmp_path / "out", np.zeros((1, 8, 8), np.uint8))  # an empty one is filled
    with pytest.raises(ValueError, match="out is not empty: give a new folder"):
        write_pictures(tmp_path / "out", np.zeros((1, 8, 8), np.uint8))


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_folder.pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match=r"out: could not be written \(No space left on device; free some space"):
        write_pictures(tmp_path / "out", np.zeros((2, 8, 8), np.uint8))
    assert not list(tmp_path.iterdir())


def test_unread_images_are_written_a_block_at_a_time(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (BLOCK + 3, 2, 2), dtype=np.uint8)
    unread = Unread(images)
    write_pictures(tmp_path / "pictures", unread)
    assert unread.most == BLOCK
    [last] = picture_files.read(max((tmp_path / "pictures").glob("*.png")))
    np.testing.assert_array_equal(last.pixels, images[-1])
