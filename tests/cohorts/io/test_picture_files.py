"""Pictures of every kind that Pillow reads: all their bits, upright, opaque, all pages."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from lib.cohorts.io import picture_files
from tests.cohorts.io.test_user_images import opened
from tests.cohorts.toy import folder, noise

LUMA = np.array([0.299, 0.587, 0.114])
DEEP = np.random.default_rng(0).integers(0, 4096, (40, 33, 4)).astype(np.uint16)  # 12 bits, as in radiographs


def png16(path, pixels, colour, method=0):
    """A PNG of 16 bits; colour: 2 RGB, 4 grey and alpha, 6 RGBA; each row by the filter `method` of the standard."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    high, wide, channels = pixels.shape
    rows = pixels.astype(">u2").tobytes()
    raw, step, lines = np.frombuffer(rows, np.uint8).reshape(high, -1).astype(int), 2 * channels, b""
    for y, row in enumerate(raw):
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        above = raw[y - 1] if y else np.zeros_like(row)
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = left + above - corner
        far = np.abs(guess - np.stack([left, above, corner]))
        nearest = np.choose(far.argmin(axis=0), [left, above, corner])
        predicted = [0 * row, left, above, (left + above) // 2, nearest][method]
        lines += bytes([method]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
    head = struct.pack(">IIBBBBB", wide, high, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def only(path):
    (shown,) = picture_files.read(path)
    return shown


@pytest.mark.parametrize("method", range(5))
def test_colour_of_sixteen_bits_keeps_them(tmp_path, method):
    """Pillow alone keeps the upper eight: of twelve bits, sixteen grey levels would be left."""
    shown = only(png16(tmp_path / "a.png", DEEP[..., :3], 2, method))
    np.testing.assert_allclose(shown.pixels, DEEP[..., :3] @ LUMA, rtol=1e-5)
    assert not shown.is_8_bit
    assert picture_files.facts(tmp_path / "a.png").bits == 16


def test_alpha_of_sixteen_bits_is_laid_over_black(tmp_path):
    grey, alpha = DEEP[..., 0], np.where(DEEP[..., 1] > 2000, 65535, 16384).astype(np.uint16)
    shown = only(png16(tmp_path / "la.png", np.stack([grey, alpha], -1), 4))
    np.testing.assert_allclose(shown.pixels, grey * (alpha / 65535), rtol=1e-5)
    assert shown.rules == {"with transparency, laid over black"}
    shown = only(png16(tmp_path / "rgba.png", np.dstack([DEEP[..., :3], alpha]), 6))
    np.testing.assert_allclose(shown.pixels, (DEEP[..., :3] @ LUMA) * (alpha / 65535), rtol=1e-5)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_laid_over_black_and_an_opaque_one_changes_nothing(tmp_path, mode):
    grey = noise(1)[0]
    image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "opaque.png")
    np.testing.assert_allclose(only(tmp_path / "opaque.png").pixels, grey, atol=1e-3)
    image.putalpha(Image.fromarray(np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(32, 0)))
    image.save(tmp_path / "half.png")
    shown = only(tmp_path / "half.png")
    assert (shown.pixels[:, :16] == 0).all()
    np.testing.assert_allclose(shown.pixels[:, 16:], grey[:, 16:], atol=1e-3)
    assert "with transparency, laid over black" in shown.rules


def test_a_transparent_colour_of_a_palette(tmp_path):
    grey = np.tile(np.arange(8, dtype=np.uint8) * 30, (8, 1))
    image = Image.fromarray(grey).convert("P")
    image.save(tmp_path / "a.png", transparency=int(np.asarray(image)[0, 5]))
    shown = only(tmp_path / "a.png").pixels
    assert (shown[:, 5] == 0).all()
    np.testing.assert_allclose(shown[:, :5], grey[:, :5], atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_orientation_of_exif_is_undone(tmp_path, orientation, suffix):
    image = Image.fromarray(np.kron(noise(1, 6)[0][:, :4], np.ones((8, 8), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    image.save(path := tmp_path / f"a.{suffix}", exif=exif, **options)
    image.save(tmp_path / "oracle.png", exif=exif)  # Pillow turns a TIFF by itself when it is decoded
    with Image.open(tmp_path / "oracle.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("L"), float)
    assert expected.shape == ((48, 32) if orientation < 5 else (32, 48))
    shown = only(path)
    np.testing.assert_allclose(shown.pixels, expected, atol=2)
    (shape,) = picture_files.facts(path).shapes
    assert max(shape) == 48


@pytest.mark.parametrize("suffix", ["tif", "tiff", "bmp", "webp", "png", "jpeg"])
def test_every_kind_is_read_beside_png(tmp_path, suffix):
    """Of 341 images of these kinds, 241 were passed over."""
    flat = [np.full((32, 32), value, np.uint8) for value in (30, 200)]
    path = folder(tmp_path / "f", [*noise(2)])
    for i, image in enumerate(flat):
        Image.fromarray(image).save(path / f"x{i}.{suffix}")
    found = opened(path)
    assert len(found.images) == 4
    assert not found.passed
    np.testing.assert_allclose([image.mean() for image in found.images[2:]], [30, 200], atol=1)


def test_pages_of_a_tiff_are_images_of_one_patient_but_not_its_thumbnails(tmp_path):
    pages = [Image.fromarray(image) for image in noise(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    found = opened(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.images, noise(3))
    assert len(set(found.patients)) == 1
    assert list(found.names) == [f"a.tif frame {i}" for i in range(3)]
    thumbnail = Image.fromarray(noise(1, 16)[0])
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[thumbnail])
    assert picture_files.facts(tmp_path / "b.tif").shapes == {(32, 32): 1}


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_of_sixteen_bits(tmp_path, compression):
    grey = DEEP[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.tif", compression=compression)
    shown = only(tmp_path / "a.tif")
    np.testing.assert_array_equal(shown.pixels, grey)
    assert not shown.is_8_bit


def tiff16(path, pixels, photometric, order="<"):
    """An uncompressed TIFF of 16 bits in one strip; photometric: 0 grey of which zero is white, 2 RGB."""
    high, wide, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    tags = [(256, 3, 1, wide), (257, 3, 1, high), (258, 3, channels, 16), (259, 3, 1, 1), (262, 3, 1, photometric),
            (273, 4, 1, 0), (277, 3, 1, channels), (278, 3, 1, high), (279, 4, 1, len(data))]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    where = {273: after + 6} | ({258: after} if channels > 1 else {})
    body = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        value = where.get(tag, value)
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}L", value)
        body += struct.pack(f"{order}HHL", tag, kind, count) + packed
    body += struct.pack(f"{order}L", 0) + struct.pack(f"{order}3H", 16, 16, 16)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(mark + struct.pack(f"{order}L", 8) + body + data)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_sixteen_bit_colour(tmp_path, order):
    shown = only(tiff16(tmp_path / "a.tif", DEEP[..., :3], 2, order))
    np.testing.assert_allclose(shown.pixels, DEEP[..., :3] @ LUMA, rtol=1e-5)
    assert not shown.is_8_bit


def test_a_tiff_in_which_zero_is_white_is_inverted(tmp_path):
    """Of sixteen bits Pillow leaves it as it is, which is a negative."""
    grey = DEEP[..., :1]
    shown = only(tiff16(tmp_path / "a.tif", grey, 0))
    np.testing.assert_array_equal(shown.pixels, int(grey.max()) + int(grey.min()) - grey[..., 0].astype(float))
    assert shown.rules == {"in which zero is white, inverted"}
    np.testing.assert_array_equal(only(tiff16(tmp_path / "b.tif", grey, 1)).pixels, grey[..., 0])
    with pytest.raises(ValueError, match=r"c\.tif: not a readable PNG or .*, save it as PNG or take it out"):
        only(tiff16(tmp_path / "c.tif", grey, 0, ">"))  # which Pillow does not read


def test_colours_that_are_not_read_are_named(tmp_path):
    Image.new("LAB", (32, 32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: colours of mode LAB; give grey, RGB or CMYK"):
        picture_files.facts(tmp_path / "a.tif")
    Image.new("CMYK", (32, 32), (0, 0, 0, 128)).save(tmp_path / "b.jpg")
    assert 100 < only(tmp_path / "b.jpg").pixels.mean() < 150


def test_a_file_without_permission_is_named_as_such(tmp_path, monkeypatch):
    """Tests run as root, whom no permission stops."""
    path = folder(tmp_path / "f", noise(1)) / "00000.png"

    def refuses(*args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lib.cohorts.io.image_files.Image.open", refuses)
    with pytest.raises(ValueError, match=r"00000\.png: no permission to read it; allow it or take it out"):
        opened(path)
