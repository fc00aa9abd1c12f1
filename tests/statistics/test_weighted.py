"""Weighted metrics are scikit-learn's, and weights repeated images."""

import numpy as np
import pytest
from sklearn import metrics as peer

from lib.metrics.utility import classification as utility
from lib.statistics import roc, weighted
from lib.statistics.bootstrap import patient_weights
from tests.statistics.toy import task


@pytest.mark.parametrize("decimals", [1, 12])
@pytest.mark.parametrize("kind", ["counts", "fractions"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(weighted.WeightedAuroc, peer.roc_auc_score), (weighted.WeightedAuprc, peer.average_precision_score)],
)
def test_weighted_metrics_equal_scikit_learn(ours, theirs, kind, decimals):
    labels, scores = task(decimals=decimals)
    rng = np.random.default_rng(1)
    weights = rng.multinomial(120, np.full(120, 1 / 120), 30) if kind == "counts" else rng.random((30, 120))
    expected = [theirs(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ours(labels, scores)(weights), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (weighted.WeightedAuroc, roc.auroc),
        (weighted.WeightedAuprc, roc.auprc),
        (lambda y, s: weighted.WeightedTprAtFpr(y, s, fpr=0.1), lambda y, s: roc.tpr_at_fpr(y, s, fpr=0.1)),
        (lambda y, s: weighted.WeightedRatio(y == (s > 0.5)), utility.accuracy),
        (lambda y, s: weighted.WeightedRatio(2 * y * (s > 0.5), y + (s > 0.5)), utility.f1),
    ],
)
def test_weights_equal_repeated_images(fast, slow):
    labels, scores = task(2)
    weights = patient_weights(np.arange(120) // 2, draws=25, rng=np.random.default_rng(3))
    repeated = [np.repeat(np.arange(120), row) for row in weights]
    expected = [slow(labels[rows], scores[rows]) for rows in repeated]
    np.testing.assert_allclose(fast(labels, scores)(weights), expected, rtol=0, atol=1e-12)
