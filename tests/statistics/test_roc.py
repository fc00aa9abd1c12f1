"""Areas under curves, against scikit-learn, by pairs and by hand."""

import numpy as np
import pytest
import torch
from sklearn import metrics as peer

from lib.statistics import roc


def task(seed=0, n=300, k=4, levels=12):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, k)) < np.linspace(0.05, 0.7, k)
    return labels.astype(int), np.round(rng.normal(size=(n, k)) + labels, 1) if levels else rng.normal(size=(n, k))


@pytest.mark.parametrize("levels", [0, 12])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(roc.auroc, peer.roc_auc_score), (roc.auprc, peer.average_precision_score)]
)
def test_equal_to_scikit_learn_with_and_without_ties(ours, theirs, levels):
    labels, scores = task(levels=levels)
    expected = [theirs(labels[:, i], scores[:, i]) for i in range(4)]
    np.testing.assert_allclose(ours(labels, scores), expected, rtol=0, atol=1e-12)
    assert ours(torch.from_numpy(labels[:, 1]), torch.from_numpy(scores[:, 1])) == pytest.approx(expected[1], abs=1e-12)


def test_auroc_counts_pairs():
    labels, scores = task(1, n=60)
    for column in range(4):
        one, zero = scores[labels[:, column] == 1, column], scores[labels[:, column] == 0, column]
        pairs = [(a > b) + 0.5 * (a == b) for a in one for b in zero]
        assert roc.auroc(labels[:, column], scores[:, column]) == pytest.approx(np.mean(pairs), abs=1e-14)


def test_values_by_hand():
    labels, scores = [1, 0, 1, 0], [4, 3, 2, 1]
    assert roc.auroc(labels, scores) == 0.75
    assert roc.auprc(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert roc.auroc(labels, [5, 5, 5, 5]) == 0.5
    assert roc.auprc(labels, [5, 5, 5, 5]) == 0.5  # one threshold: the prevalence
    assert roc.precision_at(labels, scores, k=3) == pytest.approx(2 / 3)
    assert roc.precision_at(labels, [5, 5, 5, 5], k=1) == 0.5  # ties: the expected value
    assert roc.precision_at(labels, [9, 5, 5, 5], k=2) == pytest.approx((1 + 1 / 3) / 2)


def test_one_dimensional_labels_serve_every_column():
    labels, scores = task(2)
    expected = [roc.auroc(labels[:, 3], scores[:, i]) for i in range(4)]
    np.testing.assert_array_equal(roc.auroc(labels[:, 3], scores), expected)


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.5])
def test_tpr_at_fpr_is_the_best_allowed_point_of_the_roc_curve(fpr):
    labels, scores = task(3)
    for column in range(4):
        false, true, _ = peer.roc_curve(labels[:, column], scores[:, column], drop_intermediate=False)
        expected = true[false <= fpr].max()
        assert roc.tpr_at_fpr(labels[:, column], scores[:, column], fpr=fpr) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_symmetric_in_the_classes_and_rank_based():
    labels, scores = task(5)
    value = roc.auroc(labels, scores)
    np.testing.assert_allclose(roc.auroc(1 - labels, -scores), value, atol=1e-12)
    np.testing.assert_allclose(roc.auroc(labels, np.exp(scores / 3)), value, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, np.nan], "scores holds 1 NaN"),
        ([0, 1, 1], [0.1, 0.2], "one label per score"),
        ([0, 2], [0.1, 0.2], "other values than 0 and 1"),
        ([], [], "not empty"),
        ([[0, 0], [1, 0]], [[1, 2], [3, 4]], "one class only"),
    ],
)
def test_bad_input_is_named(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        roc.auroc(labels, scores)


def test_one_dimensional_scores_serve_every_column_of_labels():
    labels, scores = task(6)
    for metric in (roc.auroc, roc.auprc, roc.tpr_at_fpr):
        expected = [metric(labels[:, i], scores[:, 0]) for i in range(4)]
        np.testing.assert_allclose(metric(labels, scores[:, 0]), expected, rtol=0, atol=1e-14)
