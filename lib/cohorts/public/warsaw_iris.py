"""Near-infrared eyes of Warsaw-BioBase-Disease-Iris v2.1: patient, glaucoma of the eye, mask of the iris.

The release, given out on request, has a folder NNNNleft or NNNNright for each eye, and medical-description-v2-1.csv:
one header row, then patient; diagnoses of the left eye; of the right eye, each a list separated by commas. Only images
whose name contains IG are read, those of one near-infrared camera. An eye has glaucoma when one of its diagnoses is
exactly "glaucoma" or "secondary glaucoma". The label is constant an eye, so identity predicts disease.
"""

import csv
import re
from pathlib import Path

import numpy as np
from PIL import Image

from lib.cohorts import splits as closed_set
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch
from lib.cohorts.io import image_files as png
from lib.cohorts.io import iris_localisation as iris_circle

COHORTS = ("warsaw_iris",)
DIGESTS: dict[str, str] = {}  # not known here: the release is given out on request
LABELS = ("no glaucoma", "glaucoma")
POSITIVE = {"glaucoma", "secondary glaucoma"}
EYES = ("left", "right")
LICENCE = "Warsaw-BioBase-Disease-Iris licence: research on request, no redistribution"
CITATION = "Trokielewicz, Czajka, Maciejewicz 2018, arXiv 1809.00168 and 1809.00206"

_FOLDER = re.compile(r"(\d{4})(left|right)")
_FORMATS = ("PNG", "BMP", "JPEG", "TIFF")
_LAYOUT = "give --from the folder that holds NNNNleft|NNNNright/*IG* beside medical-description-v2-1.csv"


def sources() -> list[fetch.Source]:
    """Nothing can be fetched: the release is given out on request."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write warsaw_iris.h5 from the release at `folder`; returns its path.

    `images` are 64×64 by `iris_circle.centred`, in order of patient, eye and file name; `masks` are by
    `iris_circle.disc_mask`, empty where no circle was found (`made_by` says how many); `patient` runs from 0 in the
    order of the patients' numbers, both eyes being one identity; `labels` 0 no glaucoma, 1 glaucoma; `view` 0 left, 1
    right; `source_name` folder and file. `split`, by `splits.split_within`, is 0 train, 1 validation, 2 test: the
    scripts published with this preparation use 1 for test and 2 for validation, and a split that cannot be drawn again.
    Raises ValueError, naming file and fix, for a wrong tree or table, an eye without a row, a patient of fewer than
    three images, or an image that is damaged, in colour, or smaller than 75 pixels on a side.
    """
    folder = Path(folder)
    files = find_images(folder)
    table_path = find_table(folder)
    table = read_table(table_path)
    numbers = np.array([patient for patient, *_ in files])
    absent = sorted(set(numbers.tolist()) - set(table))
    if absent:
        raise ValueError(
            f"{folder}: patient {absent[0]:04d} has no row in {table_path.name}; give the table of this tree"
        )
    split = closed_set.split_within(numbers, name=COHORTS[0])
    images = np.stack([iris_circle.centred(read_image(path), right=eye == "right") for _, eye, path in files])
    masks = np.stack([iris_circle.disc_mask(image) for image in images])
    cohort = Cohort(
        images,
        np.unique(numbers, return_inverse=True)[1],
        [table[patient][eye] for patient, eye, _ in files],
        split,
        view=[EYES.index(eye) for _, eye, _ in files],
        masks=masks,
        closed_set=True,
        label_names=LABELS,
        name=COHORTS[0],
        source_name=[f"{path.parent.name}/{path.name}" for *_, path in files],
        modality="NIR",
        licence=LICENCE,
        source=f"{CITATION}; {len(files):,} IG images",
        made_by=f"{(~masks.any((1, 2))).sum()} masks without circle",
    )
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]


def find_images(folder: Path) -> list[tuple[int, str, Path]]:
    """Patient, eye and path of each IG image, sorted by them; ValueError where there is none."""
    folders = [(match, path) for path in Path(folder).glob("*/") if (match := _FOLDER.fullmatch(path.name))]
    files = sorted(
        (int(match[1]), match[2], path)
        for match, eye in folders
        for path in eye.iterdir()
        if "IG" in path.name and path.is_file()
    )
    if not files:
        problem = "no image with IG in its name" if folders else "no folder NNNNleft or NNNNright"
        raise ValueError(f"{folder}: {problem} in it; {_LAYOUT}")
    return files


def find_table(folder: Path) -> Path:
    """The one medical-description*.csv in `folder`; ValueError where there is none, or more."""
    found = sorted(Path(folder).glob("medical-description*.csv"))
    if len(found) != 1:
        problem = f"{len(found)} tables medical-description*.csv" if found else "no medical-description-v2-1.csv"
        raise ValueError(f"{folder}: {problem} in it; {_LAYOUT}")
    return found[0]


def read_table(path: Path) -> dict[int, dict[str, int]]:
    """The diagnoses: patient → {"left": 0 or 1, "right": 0 or 1}. A patient may be written with or without zeros.

    Raises ValueError, naming the line, for a row without three columns, a patient that is no number, or one with two
    rows.
    """
    table = {}
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=";")
        next(rows, None)
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) < 3:
                raise ValueError(f"{where}: {len(row)} columns; give patient;left diagnoses;right diagnoses")
            if not row[0].strip().isdecimal():
                raise ValueError(f"{where}: patient {row[0]!r} is not a number; correct the row")
            patient = int(row[0])
            if patient in table:
                raise ValueError(f"{where}: patient {patient} stands in the table twice; remove one row")
            named = ({item.strip() for item in cell.split(",")} for cell in row[1:3])
            table[patient] = {eye: int(bool(POSITIVE & items)) for eye, items in zip(EYES, named, strict=True)}
    if not table:
        raise ValueError(f"{path}: no row below the header; give the table of the release")
    return table


def read_image(path: Path) -> np.ndarray:
    """The pixels of a grey image, or of one stored as three equal colours: (H, W) uint8.

    Raises ValueError, naming the file, if it is damaged, in colour, deeper than 8 bits or smaller than 75 pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable {', '.join(_FORMATS)}; copy the file again") from error
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        mode, pixels = "L", pixels[..., 0]
    if mode != "L":
        raise ValueError(
            f"{path}: mode {mode} where a grey near-infrared image is expected; remove or convert the file"
        )
    png.require_larger(path, pixels.shape, iris_circle.SIZE + iris_circle.BOTTOM_ROWS)
    return pixels
