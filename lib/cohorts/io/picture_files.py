"""Pictures as Pillow reads them (PNG, JPEG, TIFF, BMP, WEBP), in grey: upright, opaque and with all their bits."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from lib.cohorts.io.image_facts import MEND, TO_LUMA, Facts, Shown
from lib.cohorts.io.image_files import UNREADABLE, open_image, require_bounded

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_GREY = ("1", "L", "I", "F")
_COLOUR = ("P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION, _SUBFILE, _PHOTOMETRIC = 0x0112, 254, 262  # tags of EXIF and TIFF
_UPRIGHT = {  # by EXIF's orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
# Pillow keeps the first or the second byte of each number of 16-bit colour, by the name of the way it reads them.
_HALVES = {"B": ("B", "L"), "L": ("L", "B"), "N": ("LB" if sys.byteorder == "little" else "BL")}


def facts(path: Path) -> Facts:
    """Shapes and depth of the pages at `path`, and no patient. Raises ValueError that names the file."""
    with _opened(path) as image:
        shapes, bits, is_colour = Counter[tuple[int, int]](), 8, False
        for _, page in _pages(path, image):
            exif = page.info.get("exif") and _orientation(page)  # only of formats that have it before the pixels
            shapes[page.size if exif in (5, 6, 7, 8) else page.size[::-1]] += 1
            bits, is_colour = max(bits, _bits(path, page)), is_colour or _is_colour(page)
        return Facts(dict(shapes), bits, is_colour=is_colour)


def read(path: Path) -> Iterator[Shown]:
    """Each page at `path`, decoded when it is asked for.

    Colour becomes luma, what is transparent is laid over black, EXIF's orientation is undone, 16 bits stay 16.
    Raises ValueError that names the file if it is damaged or of colours that are not read.
    """
    with _opened(path) as image:
        for number, page in _pages(path, image):
            bits, rules = _bits(path, page), set()
            is_colour = _is_colour(page)
            try:
                deep = bits == 16 and not page.mode.startswith("I")
                pixels, alpha = _deep_colour(path, number, _way(page)) if deep else _pixels(page, bits)
                page.load()
                orientation = _orientation(page)
            except UNREADABLE as error:
                raise ValueError(f"{path}: truncated or damaged; {MEND}") from error
            if is_colour:
                rules.add("of colour made grey by luma")
            if pixels.ndim == 3:
                pixels = pixels @ TO_LUMA
            if alpha is not None and (alpha < 1).any():
                pixels = pixels * alpha
                rules.add("with transparency, laid over black")
            if bits > 8 and isinstance(page, TiffImageFile) and page.tag_v2.get(_PHOTOMETRIC) == 0:
                pixels = pixels.max() + pixels.min() - pixels
                rules.add("in which zero is white, inverted")
            if orientation in _UPRIGHT:
                pixels = _UPRIGHT[orientation](pixels)
                rules.add("turned upright as EXIF says")
            yield Shown(np.ascontiguousarray(pixels, np.float32), bits == 8, frozenset(rules))


def _opened(path: Path) -> ImageFile.ImageFile:
    image = open_image(path, FORMATS, mend="repair the file, save it as PNG or take it out")
    assert isinstance(image, ImageFile.ImageFile)
    # Pillow 13 maps an uncompressed TIFF that has a name into memory, and one that lies on its side comes out garbled.
    image.filename = ""
    return image


def _pages(path: Path, image: ImageFile.ImageFile) -> Iterator[tuple[int, ImageFile.ImageFile]]:
    """The image itself and its number, at each page of a TIFF; smaller copies of a page and masks are left out."""
    if not isinstance(image, TiffImageFile):
        yield 0, image
        return
    page = -1
    while True:
        page += 1
        try:
            image.seek(page)
            is_other = page and int(image.tag_v2.get(_SUBFILE, 0)) & 5
        except EOFError:
            return
        except UNREADABLE as error:
            raise ValueError(f"{path}: truncated or damaged; {MEND}") from error
        if not is_other:
            require_bounded(path, image.size)
            yield page, image


def _is_colour(page: ImageFile.ImageFile) -> bool:
    return page.mode[0] not in "1LIF" and _way(page)[:2] != "LA"


def _bits(path: Path, page: ImageFile.ImageFile) -> int:
    if page.mode in ("I", "F"):
        return 32
    if page.mode.startswith("I;16"):
        return 16
    if page.mode not in _GREY + _COLOUR + _ALPHA:
        raise ValueError(f"{path}: colours of mode {page.mode}; give grey, RGB or CMYK")
    return 16 if ";16" in _way(page) else 8


def _way(page: ImageFile.ImageFile) -> str:
    """Pillow's name of the way in which it will read the numbers of a page that is not yet decoded."""
    args = page.tile[0].args if page.tile else ""
    return str(args if isinstance(args, str) or not args else args[0])


def _orientation(page: ImageFile.ImageFile) -> int:
    try:
        return int(page.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF that is damaged; Pillow raises errors of many kinds
        return 1


def _pixels(page: ImageFile.ImageFile, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of a page, of grey (H, W) or RGB (H, W, 3), and its opacity from 0 to 1, None if it is opaque."""
    key = page.info.get("transparency")
    if bits > 8:
        pixels = np.asarray(page, np.float32)
        return pixels, None if not isinstance(key, int) else (pixels != key).astype(np.float32)
    if page.mode in _ALPHA or key is not None:
        is_grey = page.mode in ("L", "LA", "La", "1")
        parts = np.asarray(page.convert("RGBA"), np.float32)
        return parts[..., 0] if is_grey else parts[..., :3], parts[..., 3] / 255
    return np.asarray(page.convert("L"), np.float32), None


def _deep_colour(path: Path, number: int, way: str) -> tuple[np.ndarray, np.ndarray | None]:
    """As `_pixels`, of colour in 16 bits: Pillow keeps one byte of each number, so it is asked for each in turn."""

    def decoded(way: str) -> np.ndarray:
        with _opened(path) as page:
            if number:
                page.seek(number)
            page.tile = [
                tile._replace(args=way if isinstance(tile.args, str) else (way, *(tile.args or ())[1:]))
                for tile in page.tile
            ]
            return np.asarray(page, np.float32)

    if way == "LA;16B":  # four bytes a pixel, as RGBA has
        four = decoded("RGBA")
        return 256 * four[..., 0] + four[..., 1], (256 * four[..., 2] + four[..., 3]) / 65535
    high, low = (decoded(way[:-1] + order) for order in _HALVES[way[-1]])
    whole = 256 * high + low
    return whole[..., :3], whole[..., 3] / 65535 if whole.shape[-1] == 4 else None
