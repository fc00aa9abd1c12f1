"""Frontal chest radiographs of NIH ChestX-ray14 with 14 findings, patient and view: the full release, or 1,000 of them.

The full release holds 112,120 radiographs of 30,805 patients (in images_001/images … images_012/images, or in one
folder), the label table Data_Entry_2017.csv (or _v2020), and the lists train_val_list.txt and test_list.txt.
The subset holds 500 radiographs without finding and 500 with Pneumonia, of 682 patients, from the tree of
github.com/muhammedtalo/COVID-19, with the label table of github.com/mlmed/torchxrayvision.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from lib.cohorts import splits
from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io import fetch, image_files, label_tables

COHORTS = ("nih_cxr14_1000", "nih_cxr14")
SIZE = 256
# In the order of the paper of the release (Wang 2017, extended from 8 to 14) and of the models trained on it.
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
VIEWS = ("PA", "AP")
SUBSET = "X-Ray Image DataSet"
COUNTS = {"No_findings": 500, "Pneumonia": 500}
DIGESTS = {"nih_cxr14_1000": "58307ef8e82048cafdc2265a4efd52b89e83f4281a1ecfca1f02b355e6f77beb"}
LICENCE = "NIH Clinical Center: free use with attribution"
CITATION = "Wang et al. 2017, CVPR, doi 10.1109/CVPR.2017.369; nihcc.app.box.com/v/ChestXray-NIHCC"

_NAME = re.compile(r"(\d{8})_\d{3}\.png")
_TABLES = [f"Data_Entry_2017{version}.csv{packed}" for version in ("_v2020", "") for packed in ("", ".gz")]
_TABLE_FOLDERS = (".", "torchxrayvision/data", "data")
_LISTS = ("train_val_list.txt", "test_list.txt")
_RELEASE = ("images_*/images/*.png", "images_*/*.png", "images/*.png", "*.png")
_LAYOUT = (
    f"expected are radiographs NNNNNNNN_NNN.png in {SUBSET}/{{No_findings,Pneumonia}}, images_001/images …, "
    "images, or the folder itself, beside Data_Entry_2017_v2020.csv"
)
_MANIFEST = Path(__file__).parent / "manifests" / "nih_cxr14_radiographs.txt.gz"


def radiograph_fingerprint(path: Path) -> str:
    """128 bits of the SHA-256 of the pixels of a radiograph at 256×256, as 32 hexadecimal digits.

    The project knows the radiographs only in this form; the published ones have 1024×1024 pixels.
    """
    return hashlib.sha256(image_files.read_reduced(path, SIZE).tobytes()).hexdigest()[:32]


def sources() -> list[fetch.Source]:
    """The files of the 1,000-radiograph subset; the full release (42 GB) cannot be fetched without a browser."""
    radiographs = fetch.read_manifest(_MANIFEST)
    table = {"torchxrayvision/data/Data_Entry_2017_v2020.csv.gz": "9d4de640ee4f760215d8be98376b2038"}
    return [
        fetch.Source(
            "muhammedtalo/COVID-19", "ee3e2cffc0824711bed675275506b26f19be7198", radiographs, radiograph_fingerprint
        ),
        fetch.Source("mlmed/torchxrayvision", "f4087a0b0d0cdc6a5877fb5456965b6d29adb1e5", table),
    ]


def prepare(folder: Path, out_folder: Path, *, counts: dict[str, int] = COUNTS) -> list[Path]:
    """Write nih_cxr14_1000.h5 or nih_cxr14.h5, according to the layout of the radiographs at or near `folder`.

    `images` are 256×256 by `image_files.read_reduced`, in order of file name; `labels` are (N, 14), 0 or 1, in the
    order of FINDINGS; `patient` is NIH's patient number; `view` is 0 PA, 1 AP; `source_name` is the file name. Absent
    radiographs of the release are left out, so that a part of it can be prepared. If the official lists lie beside the
    radiographs, the test split is as listed and one eighth of the patients of train_val are validation; otherwise the
    split is 70/10/20 % of the patients. Both are drawn by a hash of the patient number, so that the split of a patient
    depends neither on other radiographs nor on a seed. counts: the expected numbers of radiographs in each folder of
    the subset. Returns the one path written. Raises ValueError, naming file and fix, for a wrong tree or number, a
    radiograph without a label row, an unknown finding or view, and a radiograph that contradicts its folder, is in both
    lists or in none, or is damaged.
    """
    root, radiographs = _find_radiographs(Path(folder))
    subset = radiographs[0].parent.parent.name == SUBSET
    if subset:
        _check_counts(root, radiographs, counts)
    radiographs = sorted(radiographs, key=lambda path: path.name)
    for one, other in zip(radiographs, radiographs[1:], strict=False):
        if one.name == other.name:
            raise ValueError(f"{one}: the same radiograph is also {other}; keep one of them")
    table_path = find_table(root)
    table = read_table(table_path)
    for radiograph in radiographs:
        if radiograph.name not in table:
            raise ValueError(f"{radiograph}: no row in {table_path}; give the label table of these radiographs")
    patients, labels, views = (
        np.array(column) for column in zip(*(table[radiograph.name] for radiograph in radiographs), strict=True)
    )
    if subset:
        _check_folders(radiographs, labels)
    name = COHORTS[0] if subset else COHORTS[1]
    cohort = Cohort(
        image_files.Unread(radiographs, SIZE, image_files.read_reduced),
        patients,
        labels,
        _splits(root, radiographs, patients),
        view=views,
        source_name=[radiograph.name for radiograph in radiographs],
        name=name,
        modality="CR",
        label_names=FINDINGS,
        value_range=(0, 255),
        licence=LICENCE,
        source=f"{CITATION}; {len(radiographs):,} of {len(table):,} radiographs of {table_path.name}",
    )
    return [cohort.save(Path(out_folder) / f"{name}.h5")]


def read_table(path: Path) -> dict[str, tuple[int, np.ndarray, int]]:
    """NIH's label table, a CSV file, plain or gzipped: patient, 14 findings (0 or 1) and view of each radiograph.

    Raises ValueError, naming the line, for a missing column, an unknown finding or view, and a repeated radiograph.
    """
    columns = ("Image Index", "Finding Labels", "Patient ID", "View Position")
    table, read = {}, {}  # by radiograph; by the text of the findings, of which there are few
    for where, (radiograph, findings, patient, view) in label_tables.read_rows(
        path, columns, expected="NIH's Data_Entry_2017 table"
    ):
        if radiograph in table:
            raise ValueError(f"{where}: {radiograph} stands in the table twice; remove one row")
        if view not in VIEWS:
            raise ValueError(f"{where}: unknown view {view!r}; known are {', '.join(VIEWS)}")
        if not patient.isdecimal() or not radiograph.startswith(f"{int(patient):08d}_"):
            raise ValueError(
                f"{where}: patient {patient!r} does not fit radiograph {radiograph!r}; fetch the table again"
            )
        if findings not in read:
            read[findings] = _findings(findings, where)
        table[radiograph] = int(patient), read[findings], VIEWS.index(view)
    return table


def split_of(patient: int, *, held_out: bool = True) -> int:
    """The split code of a patient by `splits.hashed_split`: 70/10/20 %, or 7/8 and 1/8 unless `held_out`."""
    return splits.hashed_split(f"nih_cxr14/{patient}", held_out=held_out)


def _findings(text: str, where: str) -> np.ndarray:
    names = text.split("|")
    unknown = [name for name in names if name not in (*FINDINGS, "No Finding")]
    if unknown:
        raise ValueError(f"{where}: unknown finding {unknown[0]!r}; known are No Finding, {', '.join(FINDINGS)}")
    if "No Finding" in names and len(names) > 1:
        raise ValueError(f"{where}: No Finding stands beside {text!r}; correct the row")
    return np.array([name in names for name in FINDINGS], np.int64)


def _find_radiographs(folder: Path) -> tuple[Path, list[Path]]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; {_LAYOUT}")
    above = [folder.resolve().parent] if folder.resolve().name in (SUBSET, "images") else []
    for root in (folder, *(folder / name for name in COHORTS), *above):
        for patterns in ([f"{SUBSET}/{name}/*.png" for name in COUNTS], _RELEASE):
            radiographs = [path for pattern in patterns for path in root.glob(pattern) if _NAME.fullmatch(path.name)]
            if radiographs:
                return root, radiographs
    raise ValueError(f"{folder}: no radiograph in it; {_LAYOUT}")


def find_table(root: Path) -> Path:
    """NIH's label table in `root`, or below it where `sources` keep it. Raises ValueError if there is none."""
    for folder in _TABLE_FOLDERS:
        for name in _TABLES:
            if (root / folder / name).is_file():
                return root / folder / name
    raise ValueError(f"{root}: no label table; put NIH's Data_Entry_2017_v2020.csv (or .csv.gz) there")


def _check_counts(root: Path, radiographs: list[Path], counts: dict[str, int]) -> None:
    for name, expected in counts.items():
        here = {radiograph.relative_to(root).as_posix() for radiograph in radiographs if radiograph.parent.name == name}
        if len(here) != expected:
            published = {path for path in sources()[0].manifest if path.startswith(f"{SUBSET}/{name}/")}
            example = f", missing {min(published - here)}" if published - here else ""
            problem = f"{len(here)} radiographs where {expected} were published{example}"
            raise ValueError(f"{root / SUBSET / name}: {problem}; fetch the folder again")


def _check_folders(radiographs: list[Path], labels: np.ndarray) -> None:
    for radiograph, findings in zip(radiographs, labels, strict=True):
        expected = (
            findings[FINDINGS.index("Pneumonia")] if radiograph.parent.name == "Pneumonia" else not findings.any()
        )
        if not expected:
            raise ValueError(
                f"{radiograph}: the label table contradicts its folder {radiograph.parent.name}; move the radiograph"
            )


def _splits(root: Path, radiographs: list[Path], patients: np.ndarray) -> list[int]:
    present = [name for name in _LISTS if (root / name).is_file()]
    if not present:
        return [split_of(patient) for patient in patients.tolist()]
    if len(present) == 1:
        other = _LISTS[present[0] == _LISTS[0]]
        raise ValueError(f"{root}: {present[0]} is there without {other}; add it, or remove both")
    learn, test = (set((root / name).read_text().split()) for name in _LISTS)
    splits = []
    for radiograph, patient in zip(radiographs, patients.tolist(), strict=True):
        if (radiograph.name in learn) == (radiograph.name in test):
            which = "both" if radiograph.name in test else "neither"
            raise ValueError(f"{radiograph}: in {which} of {', '.join(_LISTS)}; give the official lists")
        splits.append(SPLITS["test"] if radiograph.name in test else split_of(patient, held_out=False))
    return splits
