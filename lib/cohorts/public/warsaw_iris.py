"""Near-infrared images of eyes from Warsaw-BioBase-Disease-Iris v2.1: patient, glaucoma of the eye, mask of the iris.

The release, given out on request, has a folder NNNNleft or NNNNright for each eye, and medical-description-v2-1.csv
with one header row and the columns patient, diagnoses of the left eye and diagnoses of the right eye, the latter two
lists separated by commas. Only images whose names contain IG are read, which one near-infrared camera took. An eye has
glaucoma if one of its diagnoses is exactly "glaucoma" or "secondary glaucoma". All images of an eye have the same
label, so identity predicts disease.
"""

import csv
import re
from pathlib import Path

import numpy as np

from lib.cohorts import splits as closed_set
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch, image_files, iris_localisation
from lib.core.regular_files import require_regular

COHORTS = ("warsaw_iris",)
DIGESTS: dict[str, str] = {}  # unknown: the release is given out on request
LABELS = ("no glaucoma", "glaucoma")
POSITIVE = {"glaucoma", "secondary glaucoma"}
EYES = ("left", "right")
LICENCE = "Warsaw-BioBase-Disease-Iris licence: research on request, no redistribution"
CITATION = "Trokielewicz, Czajka, Maciejewicz 2018, arXiv 1809.00168 and 1809.00206"

_FOLDER = re.compile(r"(\d{4})(left|right)")
_FORMATS = ("PNG", "BMP", "JPEG", "TIFF")
_LAYOUT = "give --from the folder that holds NNNNleft|NNNNright/*IG* beside medical-description-v2-1.csv"


def sources() -> list[fetch.Source]:
    """No source, because the release is given out on request."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write warsaw_iris.h5 from the release at `folder`, and return its path.

    `images` are 64×64 by `iris_localisation.centred`, in order of patient, eye and file name; `masks` are by
    `iris_localisation.disc_mask`, and empty if no circle was found (`made_by` says how many are); `patient` counts from
    0 in the order of the patients' numbers, and both eyes of a patient are one identity; `labels` are 0 no glaucoma, 1
    glaucoma; `view` is 0 left, 1 right; `source_name` is folder and file. `split`, by `splits.split_within`, is 0
    train, 1 validation, 2 test; the scripts published with this preparation use 1 for test and 2 for validation, and a
    split that cannot be drawn again. Raises ValueError, naming file and fix, for a wrong tree or table, an eye without
    a row, a patient with fewer than three images, and an image that is damaged, in colour, or smaller than 75 pixels on
    a side.
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
    images = np.stack([iris_localisation.centred(read_image(path), right=eye == "right") for _, eye, path in files])
    masks = np.stack([iris_localisation.disc_mask(image) for image in images])
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
    """Patient, eye and path of each IG image, sorted by them. Raises ValueError if there is none."""
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
    """The one medical-description*.csv in `folder`. Raises ValueError unless there is exactly one."""
    found = sorted(Path(folder).glob("medical-description*.csv"))
    if len(found) != 1:
        problem = f"{len(found)} tables medical-description*.csv" if found else "no medical-description-v2-1.csv"
        raise ValueError(f"{folder}: {problem} in it; {_LAYOUT}")
    return found[0]


def read_table(path: Path) -> dict[int, dict[str, int]]:
    """The diagnoses of each patient, {"left": 0 or 1, "right": 0 or 1}; leading zeros of its number do not matter.

    Raises ValueError, naming the line, for a row without three columns, a patient that is not a number, and a second
    row of a patient.
    """
    require_regular(path)
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
    """The pixels of a grey image, or of one stored as three equal channels: (H, W) uint8.

    Raises ValueError, naming the file, if it is damaged, in colour, deeper than 8 bits or smaller than 75 pixels.
    """
    with image_files.open_image(path, _FORMATS, mend="copy the file again") as image:
        try:
            mode, pixels = image.mode, np.asarray(image)
        except image_files.UNREADABLE as error:
            raise ValueError(f"{path}: truncated or damaged; copy the file again") from error
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        mode, pixels = "L", pixels[..., 0]
    if mode != "L":
        raise ValueError(
            f"{path}: mode {mode} where a grey near-infrared image is expected; remove or convert the file"
        )
    image_files.require_larger(path, pixels.shape, iris_localisation.SIZE + iris_localisation.BOTTOM_ROWS)
    return pixels
