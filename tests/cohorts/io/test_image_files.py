"""Images as files: values kept, colour reduced, other kinds refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.io import image_files as png
from lib.cohorts.io.user_images import open_images
from lib.cohorts.public.aptos import read_photograph
from lib.cohorts.public.warsaw_iris import read_image
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


def claim(path, wide, high):
    """A PNG of kilobytes that says it is `wide` × `high`."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


WAYS = {
    "read_exact": lambda path: png.read_exact(path, 12_000),
    "read_reduced": lambda path: png.read_reduced(path, 10),
    "read_squeezed": lambda path: png.read_squeezed(path, 10),
    "aptos": lambda path: read_photograph(path, 10),
    "warsaw_iris": read_image,
    "open_images": lambda path: open_images(path, size=8, most=9, rng=np.random.default_rng(0)),
}


@pytest.mark.parametrize("side", [8193, 12_000, 30_000, 2**31 - 1])  # Pillow warns from 9,460 and refuses from 13,378
@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path, read, side):
    """Of e1da0c6, one of 12,000 × 12,000 took 1.1 GB."""
    path = claim(tmp_path / "a.png", side, side)
    with pytest.raises(
        ValueError, match=r"a\.png: .*more than 67,108,864.*; reduce the image or take it out"
    ) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("default")
def test_the_limit_holds_where_warnings_are_no_errors(tmp_path):
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ValueError, match="more than 67,108,864"):
        png.read_reduced(claim(tmp_path / "a.png", 12_000, 12_000), 10)


def test_an_image_within_the_limit_reaches_the_decoder(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: truncated or damaged"):
        png.read_reduced(claim(tmp_path / "a.png", 8192, 8192), 8)
