"""Mass crops of CBIS-DDSM and BCDR, and published synthetic crops, from github.com/RichardObi/mammo_dp.

There are three cohorts of 128×128 8-bit grey crops: `cbis_ddsm` (1,698 crops in three splits), `bcdr` (1,106 crops, an
external test set) and `mcgan` (3,000 images of a GAN trained on the first). File names state patient and label:
patient<set>__<patient>_image<source>_mass<contour>_is_benign_<0|1>.png.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.io import fetch, image_files

COHORTS = ("cbis_ddsm", "bcdr", "mcgan")
LABELS = ("malignant", "benign")
SIZE = 128

TRAIN, VALIDATION, TEST = (f"dataset16062024/cbis-ddsm/{name}" for name in ("train", "val", "test"))
EXTERNAL = "dataset16062024/bcdr/test"
SYNTHETIC = "extension/synthetic_data/cbis-ddsm/c-dcgan"
COUNTS = {  # the numbers of published images in each folder, malignant and benign
    TRAIN: (525, 579),
    VALIDATION: (102, 90),
    TEST: (157, 245),
    EXTERNAL: (486, 620),
    SYNTHETIC: (1500, 1500),
}
DIGESTS = {  # of the cohorts made from the published files
    "cbis_ddsm": "e4e22542a91983b135081e034d71b7dffcab499be240bb5928544ab8e5d4d943",
    "bcdr": "0226a79eb0c19d522428af99b06b5860988553b511d7881295ed91c511a5d771",
    "mcgan": "da4d47082032178fdd088e3c76d699161a8aea8d4f7f8e07a3ff4b7aa382dcfd",
}

_TREE = {
    "cbis_ddsm": {TRAIN: "train", VALIDATION: "validation", TEST: "test"},
    "bcdr": {EXTERNAL: "test"},
    "mcgan": {SYNTHETIC: "train"},
}
_LAYOUT = (
    "expected is the tree of github.com/RichardObi/mammo_dp: dataset16062024/cbis-ddsm/{train,val,test} and "
    f"dataset16062024/bcdr/test, each with is_benign_false and is_benign_true, and {SYNTHETIC}"
)
_CROP = re.compile(r"patient(?:cbis-ddsm|bcdr)__(?P<patient>.+)_image\d+_mass\d+_is_benign_(?P<label>[01])\.png")
_DRAWN = re.compile(r"batch_\d+_\d+_(?P<label>malignant|benign)\.png")
_MANIFEST = Path(__file__).parent / "manifests" / "mammo_dp.txt.gz"

LICENCES = {
    "cbis_ddsm": "CC BY 3.0",
    "bcdr": "on request from bcdr.eu, terms not stated; never redistribute, never show in a published figure",
    "mcgan": "MIT (medigan model 00008_C-DCGAN_MMG_MASSES)",
}
CITATIONS = {
    "cbis_ddsm": "Lee et al. 2017, Sci Data 4:170177; CBIS-DDSM, TCIA, doi 10.7937/K9/TCIA.2016.7O02S9CY",
    "bcdr": "Moura and Guevara López 2013, Int J CARS 8:561; Breast Cancer Digital Repository, bcdr.eu",
    "mcgan": "Osuala et al. 2024, arXiv 2407.12669",
}


def sources() -> list[fetch.Source]:
    """The files that `prepare` reads, as one source that can be fetched."""
    manifest = fetch.read_manifest(_MANIFEST)
    commit = "20caed79441855870bae6f7efca1cac0ca8bac7e"
    return [fetch.Source("RichardObi/mammo_dp", commit, manifest, archive=True)]


def find_tree(folder: Path) -> Path:
    """The folder that holds dataset16062024: `folder`, a folder mammo_dp* in it, or its parent.

    The parent is taken only if `folder` is dataset16062024 itself. Raises ValueError for a wrong tree.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; {_LAYOUT}")
    above = [folder.resolve().parent] if folder.resolve().name == "dataset16062024" else []
    for tree in (folder, *sorted(folder.glob("mammo_dp*")), *above):
        if (tree / "dataset16062024").is_dir():
            return tree
    raise ValueError(f"{folder}: no folder dataset16062024 in it; {_LAYOUT}")


def prepare(folder: Path, out_folder: Path, *, counts: Mapping[str, tuple[int, int]] = COUNTS) -> list[Path]:
    """Write cbis_ddsm.h5, bcdr.h5 and mcgan.h5 from the tree at or near `folder`, and return their paths.

    `labels` are 0 malignant, 1 benign; `patient` numbers the patients of a cohort in sorted order (in `mcgan` each
    image is its own patient); `source_name` is the file name. Images are in order of split, label and name. counts: the
    expected numbers of images in each folder, (malignant, benign). Nothing is written unless all three cohorts are
    complete. Raises ValueError, naming file or folder and fix, for a wrong tree, wrong numbers, a label that
    contradicts its folder, a patient in two splits, and a PNG that is damaged or not 128×128 8-bit grey.
    """
    tree = find_tree(folder)
    cohorts = [_read(tree, name, counts) for name in COHORTS]
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5") for cohort in cohorts]


def _read(tree: Path, name: str, counts: Mapping[str, tuple[int, int]]) -> Cohort:
    paths, patients, labels, splits = [], [], [], []
    for folder, split in _TREE[name].items():
        rows = _drawn(tree / folder) if name == "mcgan" else _crops(tree / folder)
        _check_counts(tree, folder, rows, counts[folder])
        for path, patient, label in rows:
            paths.append(path)
            patients.append(patient)
            labels.append(label)
            splits.append(SPLITS[split])
    _check_disjoint(paths, patients, splits)
    return Cohort(
        image_files.Unread(paths, SIZE, image_files.read_exact)[:],
        np.unique(patients, return_inverse=True)[1],
        labels,
        splits,
        source_name=[path.name for path in paths],
        name=name,
        modality="MG",
        label_names=LABELS,
        value_range=(0, 255),
        licence=LICENCES[name],
        source=f"{CITATIONS[name]}; crops of {sources()[0]}",
    )


def _crops(folder: Path) -> list[tuple[Path, str, int]]:
    rows = []
    for label, name in enumerate(("is_benign_false", "is_benign_true")):
        for path in _pngs(folder / name):
            read = _match(_CROP, path)
            if int(read["label"]) != label:
                says = f"the name says {LABELS[1 - label]}, the folder {LABELS[label]}"
                raise ValueError(f"{path}: {says}; move it, or fetch it again")
            rows.append((path, read["patient"], label))
    return rows


def _drawn(folder: Path) -> list[tuple[Path, str, int]]:
    rows = [(path, path.name, LABELS.index(_match(_DRAWN, path)["label"])) for path in _pngs(folder)]
    return sorted(rows, key=lambda row: row[2])  # the sort is stable, so names are in order within a label


def _pngs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; {_LAYOUT}")
    return sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))


def _match(pattern: re.Pattern, path: Path) -> re.Match:
    read = pattern.fullmatch(path.name)
    if read is None:
        raise ValueError(f"{path}: not a file of the published set by its name; remove it")
    return read


def _check_counts(tree: Path, folder: str, rows: list, expected: tuple[int, int]) -> None:
    found = tuple(sum(row[2] == label for row in rows) for label in range(2))
    if found == expected:
        return
    numbers = "{} malignant and {} benign images where {} and {} were published".format(*found, *expected)
    published = {name for name in sources()[0].manifest if name.startswith(f"{folder}/")}
    here = {row[0].relative_to(tree).as_posix() for row in rows}
    for what, names in (("missing", published - here), ("extra", here - published)):
        if names:
            numbers += f", {what} {min(names)}"
    raise ValueError(f"{tree / folder}: {numbers}; fetch the folder again")


def _check_disjoint(paths: list[Path], patients: list[str], splits: list[int]) -> None:
    first: dict[str, tuple[Path, int]] = {}
    for path, patient, split in zip(paths, patients, splits, strict=True):
        other, there = first.setdefault(patient, (path, split))
        if there != split:
            raise ValueError(f"{path}: patient {patient} is in another split too ({other}); keep each in one split")
