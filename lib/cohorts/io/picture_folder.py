"""A folder of pictures with a table of them, as other programs read it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
from PIL import Image

from lib.cohorts.rows import in_blocks
from lib.core.files import advice

TABLE = "labels.csv"


def assert_new(folder: str | Path) -> Path:
    """`folder` as a path; ValueError if it is there and not an empty folder."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty: give a new folder")
    return folder


def write_pictures(folder: str | Path, images, columns: Mapping[str, Sequence] | None = None) -> Path:
    """Write `images` as PNG files and `labels.csv` (file, and these columns) into the new folder `folder`; return it.

    images: uint8 (n, H, W) or (n, c, H, W), read in blocks. Three channels are colour; any other number are slices,
    and a volume is a TIFF of as many pages. The files are numbered in the order of the images. ValueError as
    `assert_new`, OSError, naming the folder, if it cannot be written; then nothing of it is left.
    """
    folder = assert_new(folder)
    is_colour = images.ndim == 4 and images.shape[1] == 3
    suffix = "png" if images.ndim == 3 or is_colour else "tiff"
    names = [f"{number:0{len(str(len(images)))}}.{suffix}" for number in range(1, len(images) + 1)]
    part = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        part.mkdir(parents=True)
        for name, image in zip(names, chain.from_iterable(in_blocks(images)), strict=True):
            if is_colour:
                Image.fromarray(image.transpose(1, 2, 0)).save(part / name)
            elif image.ndim == 2:
                Image.fromarray(image).save(part / name)
            else:
                first, *others = map(Image.fromarray, image)
                first.save(part / name, save_all=True, append_images=others)
        pd.DataFrame({"file": names, **(columns or {})}).to_csv(part / TABLE, index=False)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        helps = advice(error, folder.parent)
        why = f"{error.strerror or error}{'; ' if helps else ''}{helps}"
        raise OSError(error.errno, f"{folder}: could not be written ({why})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
