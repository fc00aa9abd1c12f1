"""Frontal chest radiographs of CheXpert (Stanford) with patient, view and 14 observations, some of them uncertain.

The release is CheXpert-v1.0, or CheXpert-v1.0-small with smaller radiographs: 224,316 radiographs of 65,240 patients.
It holds train.csv (labels that software read from the reports: 1 positive, 0 negative, -1 uncertain, blank not
mentioned), valid.csv (234 radiographs that radiologists labelled) and
train|valid/patientNNNNN/studyN/viewN_frontal.jpg. Lateral radiographs are left out.
"""

import re
from pathlib import Path

import numpy as np

from lib.cohorts import splits
from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io import fetch, image_files, label_tables

COHORTS = ("chexpert",)
DIGESTS: dict[str, str] = {}  # unknown: the release is given out on request
SIZE = 256
FINDINGS = (  # in the order of the columns of the release
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
# What an uncertain label (-1) counts as. The values that are not in ASSUMED were recovered from label vectors that
# users of the set printed. These show no uncertain row of the other findings, for which 1 (the "U-Ones" of Irvin 2019)
# is an assumption.
UNCERTAIN = dict.fromkeys(FINDINGS, 1) | {"Consolidation": 0}
ASSUMED = (
    "No Finding", "Enlarged Cardiomediastinum", "Lung Lesion", "Pneumonia", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
VIEWS = ("PA", "AP", "LL", "RL")  # the last two, 17 radiographs of the release, are of patients who lie on a side
LICENCE = "Stanford University Dataset Research Use Agreement: no redistribution"
CITATION = "Irvin et al. 2019, AAAI, arXiv 1901.07031; stanfordmlgroup.github.io/competitions/chexpert"

_PATH = re.compile(
    r"[^/]+/(?P<radiograph>(?:train|valid)/patient(?P<patient>\d{5,})/study\d+/view\d+_(?P<side>\w+)\.jpg)"
)
_VALUES = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": None, "-1.0": None}
_COLUMNS = ("Path", "Frontal/Lateral", "AP/PA", *FINDINGS)
_LAYOUT = (
    "give --from the folder CheXpert-v1.0 or CheXpert-v1.0-small, with train.csv, valid.csv and "
    "train|valid/patientNNNNN/studyN/viewN_frontal.jpg"
)


def sources() -> list[fetch.Source]:
    """No source, because the release is given out on request."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write chexpert.h5 from the release at `folder`, or one folder below, and return its path.

    `images` are 256×256 by `image_files.read_squeezed`, in the order of the tables; `labels` are (N, 14), 0 or 1, in
    the order of FINDINGS and by the rules of `read_table`; `patient` is the number in the release; `view` is an index
    of VIEWS; `source_name` is the path in the release. The radiographs of valid.csv are the test split; one eighth of
    the other patients, by a hash of their number, are validation. Absent radiographs of the tables are left out, so
    that a part of the release can be prepared. Raises ValueError, naming file and fix, for a wrong tree, a radiograph
    without a row, a bad row, and a radiograph that is damaged, deeper than 8 bits or smaller than 256 pixels.
    """
    root = _find_release(Path(folder))
    table = read_table(root / "train.csv") | read_table(root / "valid.csv")
    radiographs = {path.relative_to(root).as_posix() for path in root.glob("*/patient*/study*/view*_frontal.jpg")}
    if not radiographs:
        raise ValueError(f"{root}: no radiograph in it; {_LAYOUT}")
    if radiographs - set(table):
        raise ValueError(
            f"{root / min(radiographs - set(table))}: no row in train.csv or valid.csv; give their own tables"
        )
    rows = [radiograph for radiograph in table if radiograph in radiographs]
    patients, labels, views = (
        np.array(column) for column in zip(*(table[radiograph] for radiograph in rows), strict=True)
    )
    cohort = Cohort(
        image_files.Unread([root / radiograph for radiograph in rows], SIZE, image_files.read_squeezed),
        patients,
        labels,
        [_split(radiograph, patient) for radiograph, patient in zip(rows, patients.tolist(), strict=True)],
        view=views,
        source_name=rows,
        name=COHORTS[0],
        modality="CR",
        label_names=FINDINGS,
        value_range=(0, 255),
        licence=LICENCE,
        source=f"{CITATION}; {len(rows):,} of {len(table):,} frontal radiographs of {root.name}",
    )
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]


def read_table(path: Path) -> dict[str, tuple[int, np.ndarray, int]]:
    """The frontal radiographs of train.csv or valid.csv, in its order: patient, 14 labels 0 or 1, and view of each.

    Blank and 0 become 0, 1 stays 1, and -1 becomes the value that UNCERTAIN has for the finding. Raises ValueError,
    naming the line, for a missing column, an unknown label or view, a path of another form, and a repeated radiograph.
    """
    table = {}
    rows = label_tables.read_rows(path, _COLUMNS, expected="a table of CheXpert-v1.0")
    for where, (name, side, view, *values) in rows:
        match = _PATH.fullmatch(name)
        if match is None or match["side"] != side.lower():
            what = side or "radiograph"
            raise ValueError(f"{where}: {name!r} is not a {what} of this release; fetch the table again")
        if side != "Frontal":
            continue
        if match["radiograph"] in table:
            raise ValueError(f"{where}: {match['radiograph']} stands in the table twice; remove one row")
        if view not in VIEWS:
            raise ValueError(f"{where}: unknown view {view!r}; known are {', '.join(VIEWS)}")
        table[match["radiograph"]] = int(match["patient"]), _labels(values, where), VIEWS.index(view)
    return table


def _labels(values: list[str], where: str) -> np.ndarray:
    for finding, value in zip(FINDINGS, values, strict=True):
        if value not in _VALUES:
            raise ValueError(f"{where}: {finding} is {value!r}; known labels are 1, 0, -1 and blank")
    known = [_VALUES[value] for value in values]
    pairs = zip(FINDINGS, known, strict=True)
    return np.array([UNCERTAIN[finding] if value is None else value for finding, value in pairs], np.int64)


def _split(radiograph: str, patient: int) -> int:
    if radiograph.startswith("valid/"):
        return SPLITS["test"]
    return splits.hashed_split(f"chexpert/{patient}", held_out=False)


def _find_release(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; {_LAYOUT}")
    for root in (folder, *sorted(folder.glob("CheXpert-v1.0*"))):
        present = [(root / name).is_file() for name in ("train.csv", "valid.csv")]
        if all(present):
            return root
        if any(present):
            absent = ("train.csv", "valid.csv")[present.index(False)]
            raise ValueError(f"{root}: {absent} is missing beside the other table; {_LAYOUT}")
    raise ValueError(f"{folder}: no train.csv in it; {_LAYOUT}")
