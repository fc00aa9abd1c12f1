"""Frontal chest radiographs of the RSNA Pneumonia Detection Challenge 2018, with or without an opacity.

The release is stage_2_train_labels.csv (a row for each box, so several for a radiograph) beside the 26,684 DICOM
radiographs of stage_2_train_images. The radiographs come from NIH ChestX-ray14, under other names. A patient of one set
may thus be a patient of the other, and nothing in this release says which; do not use it to test what was trained on
all of ChestX-ray14.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from lib.cohorts import splits
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import dicom_files, fetch, image_files, label_tables

COHORTS = ("rsna",)
DIGESTS: dict[str, str] = {}  # unknown: the release was not at hand
SIZE = 256
LABELS = ("no opacity", "opacity")
VIEWS = ("PA", "AP")
TABLE, RADIOGRAPHS = "stage_2_train_labels.csv", "stage_2_train_images"
LICENCE = "RSNA Pneumonia Detection Challenge terms of use: academic research and education"
CITATION = "Shih et al. 2019, Radiol Artif Intell 1:e180041, doi 10.1148/ryai.2019180041"

_COLUMNS = ("patientId", "x", "y", "width", "height", "Target")
_NAME = re.compile(r"[0-9a-f-]+")
_AGAIN = "fetch the file again"
_LAYOUT = f"give --from the folder that holds {TABLE} beside {RADIOGRAPHS}/<patientId>.dcm"


def sources() -> list[fetch.Source]:
    """No source, because the release requires an account."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write rsna.h5 from the release at `folder`, and return its path. This needs pydicom.

    `images` are 256×256 by `read_radiograph`, in order of name; `labels` are 1 if a radiologist marked an opacity that
    may be pneumonia; each radiograph is its own patient, for the release names none; `view` is 0 PA, 1 AP, from the
    DICOM header; `source_name` is the patientId. The split is 70/10/20 % by a hash of the patientId. Rows whose
    radiograph is absent are left out, so that a part of the release can be prepared. Raises ValueError, naming file and
    fix, for a wrong tree, a radiograph without a row, a bad row and a bad radiograph; and ImportError, with the
    command, if pydicom is not installed.
    """
    folder = Path(folder)
    for name, found in ((TABLE, (folder / TABLE).is_file()), (RADIOGRAPHS, (folder / RADIOGRAPHS).is_dir())):
        if not found:
            raise ValueError(f"{folder}: no {name} in it; {_LAYOUT}")
    table = read_table(folder / TABLE)
    radiographs = sorted((folder / RADIOGRAPHS).glob("*.dcm"))
    if not radiographs:
        raise ValueError(f"{folder / RADIOGRAPHS}: no radiograph in it; {_LAYOUT}")
    for radiograph in radiographs:
        if radiograph.stem not in table:
            raise ValueError(f"{radiograph}: no row in {TABLE}; give the label table of these radiographs")
    names = [radiograph.stem for radiograph in radiographs]
    cohort = Cohort(
        image_files.Unread(radiographs, SIZE, read_radiograph),
        np.arange(len(radiographs)),
        [table[name] for name in names],
        [splits.hashed_split(f"rsna/{name}") for name in names],
        view=[_view(radiograph) for radiograph in radiographs],
        source_name=names,
        name=COHORTS[0],
        modality="CR",
        label_names=LABELS,
        value_range=(0, 255),
        licence=LICENCE,
        source=f"{CITATION}; {len(radiographs):,} of {len(table):,} radiographs of {TABLE}",
    )
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]


def read_table(path: Path) -> dict[str, int]:
    """The label of each patientId, 0 or 1. The rows of a radiograph, one for each box, must agree.

    Raises ValueError, naming the line, for a missing column, a Target other than 0 or 1, a Target that contradicts
    another row or its box, and a patientId that cannot be a file name of the release.
    """
    table: dict[str, int] = {}
    for where, (name, *box, target) in label_tables.read_rows(path, _COLUMNS, expected=f"the challenge's {TABLE}"):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{where}: {name!r} is not a patientId of the release; fetch the table again")
        if target not in ("0", "1"):
            raise ValueError(f"{where}: Target is {target!r}; known are 0 and 1")
        if table.setdefault(name, int(target)) != int(target):
            raise ValueError(f"{where}: Target contradicts an earlier row of {name}; correct the table")
        if all(box) != (target == "1"):
            raise ValueError(f"{where}: a box belongs to Target 1, and to no other; correct the row")
    return table


def read_radiograph(path: Path, size: int) -> np.ndarray:
    """The pixels of a DICOM radiograph of any shape, squeezed to `size` × `size` by area averages: (size, size) uint8.

    Grey levels stay as stored, or are inverted if the header says MONOCHROME1. Raises ValueError, naming the file, if
    it is damaged, in colour, of several frames, not of 8 bits, or smaller than `size` on a side.
    """
    header = dicom_files.read_header(path, mend=_AGAIN)
    kind = header.get("PhotometricInterpretation")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"{path}: {kind} where a grey radiograph is expected; convert the file")
    bits = {header.get(name) for name in ("BitsAllocated", "BitsStored")}
    if bits != {8} or header.get("PixelRepresentation"):
        raise ValueError(f"{path}: not 8 unsigned bits a pixel, as are published; convert the file")
    radiograph = dicom_files.read_pixels(path, header, mend=_AGAIN)
    if radiograph.ndim != 2:
        raise ValueError(f"{path}: pixels of shape {radiograph.shape} where one frame is expected; convert the file")
    image_files.require_larger(path, radiograph.shape, size)
    radiograph = np.asarray(image_files.squeezed(Image.fromarray(radiograph), size))
    return 255 - radiograph if kind == "MONOCHROME1" else radiograph


def _view(path: Path) -> int:
    options = {"stop_before_pixels": True, "specific_tags": ["ViewPosition"]}
    view = dicom_files.read_header(path, mend=_AGAIN, **options).get("ViewPosition")
    if view not in VIEWS:
        raise ValueError(f"{path}: unknown view {view!r}; known are {', '.join(VIEWS)}")
    return VIEWS.index(view)
