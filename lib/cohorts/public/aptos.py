"""Photographs of the retina from the APTOS 2019 challenge, graded 0 to 4 for diabetic retinopathy.

The release is train.csv (id_code, diagnosis) beside train_images/<id_code>.png, 3,662 photographs. The grades of the
test images of the challenge are not public. The release names no patient, so two eyes of one person may be in two
splits.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch, image_files, label_tables
from lib.cohorts.splits import hashed_split

COHORTS = ("aptos", "aptos_950")
DIGESTS: dict[str, str] = {}  # unknown: the release was not at hand
SIZE = 256
LABELS = ("none", "mild", "moderate", "severe", "proliferative")
BALANCED = 190  # photographs of each grade in aptos_950
TABLE, PHOTOGRAPHS = "train.csv", "train_images"
LICENCE = "APTOS 2019 Blindness Detection competition rules: competition use, academic research and education"
CITATION = "APTOS 2019 Blindness Detection, Aravind Eye Hospital; kaggle.com/c/aptos2019-blindness-detection"

_NAME = re.compile(r"[0-9a-zA-Z_-]+")
_LAYOUT = f"give --from the folder that holds {TABLE} beside {PHOTOGRAPHS}/<id_code>.png"


def sources() -> list[fetch.Source]:
    """No source, because the release requires an account."""
    return []


def prepare(folder: Path, out_folder: Path, *, balanced: int = BALANCED) -> list[Path]:
    """Write aptos.h5, and aptos_950.h5 if every grade has `balanced` photographs, from the release at `folder`.

    `images` are (n, 3, 256, 256) uint8 in order of id_code (see `read_photograph`); `labels` are the grades; each
    photograph is its own patient; `source_name` is the id_code. The split is 70/10/20 % by a hash of the id_code.
    aptos_950 holds `balanced` photographs of each grade, chosen by such a hash. Rows without a photograph are left out.
    Returns the paths written. Raises ValueError, naming file and fix, for a wrong tree, a bad row, a photograph without
    a row, and a damaged photograph.
    """
    folder = Path(folder)
    for name, found in ((TABLE, (folder / TABLE).is_file()), (PHOTOGRAPHS, (folder / PHOTOGRAPHS).is_dir())):
        if not found:
            raise ValueError(f"{folder}: no {name} in it; {_LAYOUT}")
    grades: dict[str, int] = {}
    paths = sorted((folder / PHOTOGRAPHS).glob("*.png"))
    for where, (name, grade) in label_tables.read_rows(folder / TABLE, ("id_code", "diagnosis"), expected=TABLE):
        if not _NAME.fullmatch(name) or grade not in ("0", "1", "2", "3", "4"):
            raise ValueError(f"{where}: {name!r}, grade {grade!r}: give an id_code and a grade from 0 to 4")
        if grades.setdefault(name, int(grade)) != int(grade):
            raise ValueError(f"{where}: {name} has another grade in an earlier row; correct the table")
    for path in paths:
        if path.stem not in grades:
            raise ValueError(f"{path}: no row in {TABLE}; give the table of these photographs")
    if not paths:
        raise ValueError(f"{folder / PHOTOGRAPHS}: no photograph in it; {_LAYOUT}")
    labels = np.array([grades[path.stem] for path in paths])
    order = np.argsort([hashlib.sha256(f"balanced/{path.stem}".encode()).hexdigest() for path in paths])
    rows = {"aptos": np.arange(len(paths))}
    if np.bincount(labels, minlength=len(LABELS)).min() >= balanced:
        rows["aptos_950"] = np.sort(np.concatenate([order[labels[order] == g][:balanced] for g in range(len(LABELS))]))
    cohorts = [_cohort(name, [paths[i] for i in chosen], labels[chosen], chosen) for name, chosen in rows.items()]
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5") for cohort in cohorts]


def read_photograph(path: Path, size: int) -> np.ndarray:
    """The colours of a photograph, padded with black to a square and area-averaged: (3, size, size) uint8.

    Raises ValueError that names the file if it is damaged or too large (`image_files.open_image`).
    """
    with image_files.open_image(path, ("PNG",)) as image:
        try:
            square = ImageOps.pad(image.convert("RGB"), (size, size), Image.Resampling.BOX, color=0)
        except image_files.UNREADABLE as error:
            raise ValueError(f"{path}: not a readable PNG; fetch the file again") from error
    return np.asarray(square).transpose(2, 0, 1)


def _cohort(name: str, paths: list[Path], labels: np.ndarray, ids: np.ndarray) -> Cohort:
    images = image_files.Unread(paths, SIZE, read_photograph)
    images.shape, images.ndim = (len(paths), 3, SIZE, SIZE), 4  # `read_photograph` keeps the colours
    splits = [hashed_split(f"aptos/{path.stem}") for path in paths]
    return Cohort(
        images,
        ids,
        labels,
        splits,
        source_name=[path.stem for path in paths],
        name=name,
        modality="OP",
        label_names=LABELS,
        value_range=(0, 255),
        licence=LICENCE,
        source=f"{CITATION}; {len(paths):,} photographs",
    )
