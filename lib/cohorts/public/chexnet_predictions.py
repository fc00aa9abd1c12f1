"""Predictions of a public DenseNet-121 for the 22,433 test radiographs of NIH ChestX-ray14, beside the labels of NIH.

They come from github.com/jrzech/reproduce-chexnet: 14 probabilities for each radiograph. Labels and patients come from
the table of NIH. There are no images.
"""

import csv
import gzip
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.cohorts.io import fetch, label_tables
from lib.cohorts.public import nih_cxr14
from lib.core.exact_cast import exact_cast
from lib.core.files import atomic

COHORTS = ("chexnet_predictions",)
DIGESTS = {"chexnet_predictions": "c3a1585974efe51a9303eda3ed747c902d17b940f6887ebf135fe9ac0b6918b1"}
COUNT = 22_433
FINDINGS = nih_cxr14.FINDINGS
LICENCE = "predictions BSD-3-Clause; labels NIH Clinical Center, free use with attribution"
CITATION = "github.com/jrzech/reproduce-chexnet; Wang et al. 2017, CVPR, doi 10.1109/CVPR.2017.369"

_TABLE = "preds.csv"
_FOLDERS = (".", "pretrained", "reproduce_chexnet", "reproduce-chexnet/pretrained", "nih_cxr14_1000")
_SCORES = tuple(f"prob_{finding}" for finding in FINDINGS)


@dataclass(frozen=True)
class Predictions:
    """Labels and scores of n radiographs, with columns in the order of FINDINGS.

    radiograph: (n,) str. patient: (n,) int64. labels: (n, 14) int64, 0 or 1. scores: (n, 14) float64 in [0, 1].
    """

    radiograph: np.ndarray
    patient: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    name: str = COHORTS[0]

    @classmethod
    def open(cls, path: Path) -> "Predictions":
        """Read a prepared table. Raises ValueError for a damaged one."""
        columns = ("radiograph", "patient", *FINDINGS, *_SCORES)
        rows = [values for _, values in label_tables.read_rows(path, columns, expected="a table that `prepare` wrote")]
        if not rows:
            raise ValueError(f"{path}: no row below the header; prepare the table again")
        radiograph, *cells = zip(*rows, strict=True)
        try:
            patient, *numbers = np.array(cells, float)
            patient = exact_cast(patient, np.int64, "patient")
            labels = exact_cast(np.stack(numbers[:14], axis=1), np.int64, "the labels")
        except ValueError as error:
            raise ValueError(f"{path}: {error}; prepare the table again") from error
        scores = np.stack(numbers[14:], axis=1)
        if not ((labels >= 0) & (labels <= 1)).all() or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f"{path}: a label is not 0 or 1, or a score not from 0 to 1; prepare the table again")
        return cls(np.array(radiograph), patient, labels, scores)

    @property
    def digest(self) -> str:
        """SHA-256 of radiographs, patients, labels and scores."""
        sha = hashlib.sha256("\n".join(self.radiograph.tolist()).encode())
        for values in (self.patient, self.labels, self.scores):
            sha.update(np.ascontiguousarray(values).tobytes())
        return sha.hexdigest()

    def __str__(self) -> str:
        patients = len(np.unique(self.patient))
        return f"{self.name}: 14 probabilities for {len(self.radiograph):,} radiographs of {patients:,} patients"


def sources() -> list[fetch.Source]:
    """The predictions and the label table of NIH."""
    predictions = {f"pretrained/{_TABLE}": "303332d593f56dc3c8191f2a903f0904"}
    labels = nih_cxr14.sources()[1]
    return [fetch.Source("jrzech/reproduce-chexnet", "a011a9ab108cb03a533aeab52dc934b02a823ac8", predictions), labels]


def prepare(folder: Path, out_folder: Path, *, count: int = COUNT) -> list[Path]:
    """Write chexnet_predictions.csv.gz from preds.csv and the label table of NIH, both at or near `folder`.

    count: the expected number of radiographs. Returns the one path written. Raises ValueError, naming file and fix, if
    one of the two files is absent, if a radiograph has no label row or two predictions, for a value that is not a
    probability, and for another number of radiographs.
    """
    path, labels_path = find_files(Path(folder))
    labels = nih_cxr14.read_table(labels_path)
    lines, seen = [], set()
    for where, (radiograph, *scores) in label_tables.read_rows(
        path, ("Image Index", *_SCORES), expected=f"{_TABLE} of {CITATION}"
    ):
        if radiograph not in labels:
            raise ValueError(f"{where}: {radiograph!r} has no row in {labels_path}; give NIH's whole table")
        if radiograph in seen:
            raise ValueError(f"{where}: {radiograph} stands in the table twice; remove one row")
        if not all(_is_probability(score) for score in scores):
            raise ValueError(
                f"{where}: a probability of {radiograph} is not a number from 0 to 1; fetch the table again"
            )
        seen.add(radiograph)
        lines.append((radiograph, labels[radiograph][0], *labels[radiograph][1].tolist(), *scores))
    if len(lines) != count:
        raise ValueError(f"{path}: {len(lines):,} radiographs where {count:,} were published; fetch the table again")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("radiograph", "patient", *FINDINGS, *_SCORES), *lines])
    out = Path(out_folder) / f"{COHORTS[0]}.csv.gz"
    with atomic(out) as partial:
        partial.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return [out]


def find_files(folder: Path) -> tuple[Path, Path]:
    """preds.csv and the label table of NIH at or near `folder`. Raises ValueError, naming the file that is absent."""
    roots = [folder / name for name in _FOLDERS]
    found = [root / _TABLE for root in roots if (root / _TABLE).is_file()]
    if not found:
        raise ValueError(f"{folder}: no {_TABLE} in it; give the folder of github.com/jrzech/reproduce-chexnet")
    for root in roots:
        try:
            return found[0], nih_cxr14.find_table(root)
        except ValueError:
            continue
    raise ValueError(f"{folder}: no label table; put NIH's Data_Entry_2017_v2020.csv (or .csv.gz) there")


def _is_probability(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
