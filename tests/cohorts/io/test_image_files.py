"""Images as files: values kept, colour reduced, other kinds refused."""

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.io import image_files as png
from tests.cohorts.toy import paint, ramp


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA", "P"])
def test_a_grey_radiograph_in_colour_keeps_its_values(tmp_path, mode):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(png.read_reduced(tmp_path / "a.png", 16), grey)


def test_colour_becomes_luma_and_transparency_is_dropped(tmp_path):
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "a.png")
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    np.testing.assert_array_equal(png.read_reduced(tmp_path / "a.png", 2), luma)


def test_reduction_is_the_mean_of_each_block_to_one_grey_level(tmp_path):
    path = paint(tmp_path / "a.png", size=64)
    mean = np.asarray(Image.open(path)).reshape(16, 4, 16, 4).mean((1, 3))
    assert np.abs(png.read_reduced(path, 16) - mean).max() <= 1


@pytest.mark.parametrize(("size", "mode", "sentence"), [(24, "L", "24×24 pixels cannot"), (32, "I;16", "mode I;16")])
def test_a_radiograph_of_another_kind_is_refused(tmp_path, size, mode, sentence):
    with pytest.raises(ValueError, match=rf"a\.png: {sentence}"):
        png.read_reduced(paint(tmp_path / "a.png", size, mode), 16)


@pytest.mark.parametrize("which", [slice(1, 5), 2, -1, [4, 0, 0], np.arange(7) % 2 == 0, slice(0, 0)])
def test_unread_images_index_like_an_array(tmp_path, which):
    paths = [paint(tmp_path / f"{i}.png", 8) for i in range(7)]
    unread = png.Unread(paths, 8, png.read_exact)
    everything = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(unread[which], everything[which])
    np.testing.assert_array_equal(np.asarray(unread), everything)


def test_a_radiograph_of_one_grey_level_is_black(tmp_path):
    assert not png.read_squeezed(ramp(tmp_path / "flat.jpg", low=90, high=90), 256).any()
