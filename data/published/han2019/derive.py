"""Derive the aggregates of this folder from public files: python data/published/han2019/derive.py DIR

DIR holds preds.csv of github.com/jrzech/reproduce-chexnet and NIH's Data_Entry_2017_v2020.csv(.gz), or both below it,
as `python -m lib.cohorts prepare chexnet_predictions` finds or fetches them. No row of a patient is written: counts,
correlations, and for each finding how many radiographs with and without it have a score in a narrow range.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

from lib.cohorts.public import cohorts_folder, nih_cxr14
from lib.cohorts.public.chexnet_predictions import FINDINGS, Predictions, find_files, prepare

HERE = Path(__file__).parent
# The order of the published matrix, rows and columns.
ORDER = [*pd.read_csv(HERE / "correlation_matrix_published.csv", index_col=0).columns]


def derive(table: dict, predictions: Predictions) -> dict[str, pd.DataFrame]:
    """File name -> content, from NIH's whole label table and the predictions for its test radiographs."""
    labels = np.array([findings for _, findings, _ in table.values()])
    place = [FINDINGS.index(finding) for finding in ORDER]
    scores = predictions.scores[:, place]
    matrices = {
        "classifier_correlation_probabilities.csv": scores,
        "classifier_correlation_logits.csv": logit(scores),
    }
    counts = {"finding": FINDINGS, "all": labels.sum(axis=0), "test": predictions.labels.sum(axis=0)}
    frames = {name: _square(np.corrcoef(columns.T)) for name, columns in matrices.items()}
    return frames | {"nih_label_counts.csv": pd.DataFrame(counts), "classifier_scores.csv.gz": _by_score(predictions)}


def _square(matrix: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(matrix.round(4), ORDER, ORDER).rename_axis("finding").reset_index()


def _by_score(predictions: Predictions) -> pd.DataFrame:
    """For each finding and narrow range of scores, named by its middle: radiographs without and with the finding.

    The published protocol looks at 10,000 thresholds. A range never holds one, and is narrower than 0.4 % of its score,
    or 3e-7, so that thresholds and their rates are exact and an AUC moves by 1e-5.
    """
    grid = np.linspace(0, 1, 10_000)
    ranges = np.ceil(300 / np.arange(1, len(grid))).astype(int)
    edges = np.concatenate([np.linspace(*ends, n, endpoint=False) for *ends, n in zip(grid, grid[1:], ranges)])
    middle = np.array([f"{value:.6g}" for value in (edges + np.append(edges[1:], 1)) / 2])
    parts = []
    for place, finding in enumerate(FINDINGS):
        drawer = np.searchsorted(edges, predictions.scores[:, place], side="right") - 1
        counts = [np.bincount(drawer[predictions.labels[:, place] == k], minlength=len(edges)) for k in (0, 1)]
        used = np.flatnonzero(counts[0] + counts[1])
        columns = {"score": middle[used], "without": counts[0][used], "with": counts[1][used]}
        parts.append(pd.DataFrame({"finding": finding} | columns))
    return pd.concat(parts, ignore_index=True)


def main(folder: Path) -> None:
    """Write every aggregate beside this file."""
    [path] = prepare(folder, cohorts_folder())
    for name, frame in derive(nih_cxr14.read_table(find_files(folder)[1]), Predictions.open(path)).items():
        text = frame.to_csv(index=False, lineterminator="\n").encode()
        (HERE / name).write_bytes(gzip.compress(text, mtime=0) if name.endswith("gz") else text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
