"""Derive the aggregates of this folder from public files: python data/published/han2019/derive.py DIR

DIR holds preds.csv of github.com/jrzech/reproduce-chexnet and NIH's Data_Entry_2017_v2020.csv(.gz), or both below it,
as `python -m lib.datasets prepare chexnet_predictions` finds or fetches them. No row of a patient is written: counts,
correlations, and for each finding how many films with and without it share a score.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

from lib.datasets import cohorts_folder, nih_cxr14
from lib.datasets.chexnet_predictions import FINDINGS, Predictions, find_files, prepare

HERE = Path(__file__).parent
# The order of the published matrix, rows and columns.
ORDER = [*pd.read_csv(HERE / "correlation_matrix_published.csv", index_col=0).columns]


def derive(table: dict, predictions: Predictions) -> dict[str, pd.DataFrame]:
    """File name -> content, from NIH's whole label table and the predictions for its test films."""
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
    """For each finding and score, rounded to three significant digits: films without and with the finding."""
    parts = []
    for place, finding in enumerate(FINDINGS):
        score = [f"{value:.3g}" for value in predictions.scores[:, place]]
        counts = pd.crosstab(pd.Series(score, name="score"), predictions.labels[:, place]).reset_index()
        counts.columns = ["score", "without", "with"]
        counts.insert(0, "finding", finding)
        parts.append(counts.sort_values("score", key=lambda column: column.astype(float)))
    return pd.concat(parts, ignore_index=True)


def main(folder: Path) -> None:
    """Write every aggregate beside this file."""
    [path] = prepare(folder, cohorts_folder())
    for name, frame in derive(nih_cxr14.read_table(find_files(folder)[1]), Predictions.open(path)).items():
        text = frame.to_csv(index=False, lineterminator="\n").encode()
        (HERE / name).write_bytes(gzip.compress(text, mtime=0) if name.endswith("gz") else text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
