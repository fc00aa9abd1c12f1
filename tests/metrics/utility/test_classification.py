import numpy as np
import pytest
import torch
from sklearn import metrics as peer

from lib.metrics.utility import classification as utility
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


def test_report_has_both_conventions_and_equals_scikit_learn():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 200)
    scores = np.round(np.clip(rng.normal(0.5, 0.2, 200) + 0.1 * labels, 0, 1), 2)
    report = utility.classification_report(labels, scores)
    assert list(report) == ["auroc", "auprc_benign", "auprc_malignant", "accuracy", "f1"]
    assert report["auprc_benign"] == pytest.approx(peer.average_precision_score(labels, scores), abs=1e-12)
    assert report["auprc_malignant"] == pytest.approx(peer.average_precision_score(1 - labels, 1 - scores), abs=1e-12)
    assert report["accuracy"] == peer.accuracy_score(labels, scores > 0.5)
    assert report["f1"] == pytest.approx(peer.f1_score(labels, scores > 0.5), abs=1e-12)


def test_a_score_at_the_threshold_is_class_0_as_argmax_has_it():
    probabilities = np.array([[0.5, 0.5], [0.4, 0.6]])
    labels = probabilities.argmax(axis=1)
    assert utility.accuracy(labels, probabilities[:, 1]) == 1.0
    assert utility.f1(labels, probabilities[:, 1]) == 1.0


def test_auroc_is_symmetric_in_the_classes_and_rank_based():
    labels, scores = task(5)
    value = roc.auroc(labels, scores)
    np.testing.assert_allclose(roc.auroc(1 - labels, -scores), value, atol=1e-12)
    np.testing.assert_allclose(roc.auroc(labels, np.exp(scores / 3)), value, atol=1e-12)


@pytest.mark.parametrize("metric", [roc.auroc, roc.auprc, roc.tpr_at_fpr, utility.classification_report])
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_is_refused(metric, labels):
    with pytest.raises(ValueError, match="labels hold one class only"):
        metric(labels, [0.1, 0.2, 0.3])


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


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="F1 is undefined"):
        utility.f1([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="fpr is 1"):
        roc.tpr_at_fpr([0, 1], [0, 1], fpr=1)
    with pytest.raises(ValueError, match="k is 3"):
        roc.precision_at([0, 1], [0, 1], k=3)
    assert utility.accuracy([0, 0], [0.1, 0.9]) == 0.5


def test_one_dimensional_scores_serve_every_column_of_labels():
    labels, scores = task(6)
    for metric in (roc.auroc, roc.auprc, roc.tpr_at_fpr):
        expected = [metric(labels[:, i], scores[:, 0]) for i in range(4)]
        np.testing.assert_allclose(metric(labels, scores[:, 0]), expected, rtol=0, atol=1e-14)


# Sun 2021: the matrices that the saved notebook shows, in shares of all test images, and their exact scores.
PUBLISHED = {
    "real": ([[341, 24, 2], [30, 844, 14], [3, 71, 296]], 0.8932019212673165),
    "synthetic": ([[302, 58, 7], [28, 822, 38], [8, 88, 274]], 0.8297014998649876),
}
SHOWN = {
    "real": [[0.21, 0.015, 0.0012], [0.018, 0.52, 0.0086], [0.0018, 0.044, 0.18]],
    "synthetic": [[0.19, 0.036, 0.0043], [0.017, 0.51, 0.023], [0.0049, 0.054, 0.17]],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_balanced_accuracies_are_rebuilt(name):
    counts, expected = np.array(PUBLISHED[name][0]), PUBLISHED[name][1]
    rows, columns = np.indices((3, 3))
    labels, predicted = (np.repeat(index.ravel(), counts.ravel()) for index in (rows, columns))
    confusion = utility.confusion_matrix(labels, predicted, classes=3)
    np.testing.assert_array_equal(confusion, counts)
    assert confusion.dtype == np.int64
    assert utility.balanced_accuracy(confusion) == pytest.approx(expected, abs=1e-12)
    assert utility.balanced_accuracy(confusion / 1625) == pytest.approx(expected, abs=1e-12)
    assert peer.balanced_accuracy_score(labels, predicted) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(confusion, peer.confusion_matrix(labels, predicted))
    np.testing.assert_allclose([float(f"{share:.2g}") for share in (confusion / 1625).flat], np.ravel(SHOWN[name]))
    np.testing.assert_allclose(confusion.sum(axis=1) / 1625, [0.22585, 0.54646, 0.22769], atol=5e-6)


def test_a_class_that_is_never_predicted_still_counts():
    confusion = utility.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 1], classes=4)
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert utility.balanced_accuracy(confusion[:3, :3]) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: utility.confusion_matrix([0, 1], [0], classes=2), "give one of each per image"),
        (lambda: utility.confusion_matrix([0, 1], [0, 2], classes=2), "other values than the classes 0 to 1"),
        (lambda: utility.confusion_matrix([0, 0.5], [0, 1], classes=2), "other values than the classes 0 to 1"),
        (lambda: utility.balanced_accuracy([[1, 0, 0], [0, 1, 0]]), r"confusion has shape \(2, 3\)"),
        (lambda: utility.balanced_accuracy([[1, -1], [0, 1]]), "none below 0"),
        (lambda: utility.balanced_accuracy([[1, 0], [0, 0]]), r"classes \[1\] have no image"),
    ],
)
def test_bad_confusions_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
