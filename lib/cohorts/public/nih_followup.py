"""Frontal chest radiographs of NIH ChestX-ray14 with follow-ups: many of a patient, at 64×64.

The tree of github.com/dinbe0527/kcr2019d1 holds 1,000 of them in NIH1000/{train,valid,test}/{0_normal,1_abnormal},
which are no split by patient; findings and view come from NIH's label table, as `lib.cohorts.public.nih_cxr14` reads
it. The seven that are in `nih_cxr14_1000` too are left out, so that the two cohorts share no radiograph. They share
patients, by NIH's number, whose split is the same in both.
"""

from pathlib import Path

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch, image_files
from lib.cohorts.public import nih_cxr14

COHORTS = ("nih_followup",)
SIZE = 64
TREE = "NIH1000"
COUNT = 1000
DIGESTS = {"nih_followup": "ea8d5234385a6bf3f476d5e1e268813118de08b8e645fc9edf6c9aac416e861f"}

_MANIFEST = Path(__file__).parent / "manifests" / "nih_followup.txt.gz"
_LAYOUT = (
    f"expected are {TREE}/{{train,valid,test}}/{{0_normal,1_abnormal}}/NNNNNNNN_NNN.png of "
    "github.com/dinbe0527/kcr2019d1, beside Data_Entry_2017_v2020.csv or torchxrayvision/data"
)


def sources() -> list[fetch.Source]:
    """The radiographs, and NIH's label table."""
    commit = "ab26402f327a405ac218580e90b196aebe193386"
    return [fetch.Source("dinbe0527/kcr2019d1", commit, fetch.read_manifest(_MANIFEST)), nih_cxr14.sources()[1]]


def prepare(folder: Path, out_folder: Path, *, count: int = COUNT) -> list[Path]:
    """Write nih_followup.h5 from the tree at `folder` or in a folder nih_followup* of it, and return its path.

    `images` are (N, 64, 64) uint8, in order of file name; `labels`, `patient`, `view`, `source_name` and the split are
    as in `nih_cxr14.prepare`, drawn by a hash of the patient number. The label table is looked for beside the tree, in
    `folder`, and in a folder nih_cxr14* of it. count: the expected number of radiographs. Raises ValueError, naming
    file and fix, for a wrong tree or number, a radiograph that stands twice, has no label row or is damaged.
    """
    root = _find_tree(Path(folder))
    radiographs = sorted((root / TREE).glob("*/*/*.png"), key=lambda path: path.name)
    names = [path.name for path in radiographs]
    if len(names) != count or len(set(names)) != count:
        problem = f"{len(names)} radiographs of {len(set(names))} names where {count} were published"
        raise ValueError(f"{root / TREE}: {problem}; fetch the folder again")
    elsewhere = {path.rpartition("/")[2] for path in nih_cxr14.sources()[0].manifest}
    radiographs = [path for path in radiographs if path.name not in elsewhere]
    table_path = _find_table(root, Path(folder))
    table = nih_cxr14.read_table(table_path)
    if without := [path for path in radiographs if path.name not in table]:
        raise ValueError(f"{without[0]}: no row in {table_path}; give the label table of these radiographs")
    patients, labels, views = (
        np.array(column) for column in zip(*(table[path.name] for path in radiographs), strict=True)
    )
    cohort = Cohort(
        image_files.Unread(radiographs, SIZE, image_files.read_reduced),
        patients,
        labels,
        [nih_cxr14.split_of(patient) for patient in patients.tolist()],
        view=views,
        source_name=[path.name for path in radiographs],
        name=COHORTS[0],
        modality="CR",
        label_names=nih_cxr14.FINDINGS,
        value_range=(0, 255),
        licence=nih_cxr14.LICENCE,
        source=f"{nih_cxr14.CITATION}; {len(radiographs):,} radiographs of {sources()[0]}",
    )
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]


def _find_tree(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; {_LAYOUT}")
    above = [folder.resolve().parent] if folder.resolve().name == TREE else []
    for root in (folder, *sorted(folder.glob("nih_followup*")), *above):
        if (root / TREE).is_dir():
            return root
    raise ValueError(f"{folder}: no folder {TREE} in it; {_LAYOUT}")


def _find_table(root: Path, folder: Path) -> Path:
    for place in (root, folder, *sorted(folder.glob("nih_cxr14*"))):
        try:
            return nih_cxr14.find_table(place)
        except ValueError:
            continue
    return nih_cxr14.find_table(root)
