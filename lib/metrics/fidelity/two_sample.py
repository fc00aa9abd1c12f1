"""Classifier two-sample test: can a random forest tell synthetic from real features?"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.statistics import checks as samples
from lib.statistics import roc


class ArtefactTest(NamedTuple):
    """Outcome of `artefact_test`; labels, scores and groups fit `lib.statistics.bootstrap.bootstrap_auroc`."""

    auroc: float  # .5: indistinguishable, 1: every synthetic image is recognised
    labels: np.ndarray  # (n,) 1 synthetic, 0 real; the real images first
    scores: np.ndarray  # (n,) out-of-fold probability of being synthetic
    groups: np.ndarray  # (n,) patient code


def artefact_test(
    *,
    real: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    rng: np.random.Generator,
    real_groups: ArrayLike | None = None,
    synthetic_groups: ArrayLike | None = None,
    folds: int = 5,
    trees: int = 100,
) -> ArtefactTest:
    """Classifier two-sample test: how well a random forest tells synthetic features from real ones.

    `real` (n₁, d) and `synthetic` (n₂, d) are features, `real_groups` (n₁,) and `synthetic_groups` (n₂,) their
    patients; None: every image is its own. AUROC of the pooled out-of-fold scores of a stratified cross-validation
    in which no patient is in two folds: two views of one lesion in two folds would reveal their side. It flags
    textures (grids, noise) that the eye and a Fréchet distance miss. Raises ValueError on NaN, different widths,
    or fewer patients than `folds` on a side.
    """
    # scikit-learn takes a second to import, which the other metrics need not pay.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    real, synthetic = samples.two_sets(real, synthetic)
    first = samples.codes(real_groups, len(real), "real_groups")
    second = samples.codes(synthetic_groups, len(synthetic), "synthetic_groups")
    patients = int(first.max()) + 1, int(second.max()) + 1
    if min(patients) < folds:
        raise ValueError(f"{patients[0]} real and {patients[1]} synthetic patients are too few for {folds} folds")
    everyone = np.concatenate([first, patients[0] + second])
    labels = np.repeat([0, 1], [len(real), len(synthetic)])
    scores = cross_val_predict(
        RandomForestClassifier(trees, random_state=int(rng.integers(2**31))),
        torch.cat([real, synthetic]).float().cpu().numpy(),
        labels,
        groups=everyone,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=int(rng.integers(2**31))),
        method="predict_proba",
    )[:, 1]
    return ArtefactTest(float(roc.auroc(labels, scores)), labels, scores, everyone)
