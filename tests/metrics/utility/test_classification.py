import numpy as np
import pytest
from sklearn import metrics as peer

from lib.metrics.utility import classification as utility
from lib.statistics import roc


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


@pytest.mark.parametrize("metric", [roc.auroc, roc.auprc, roc.tpr_at_fpr, utility.classification_report])
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_is_refused(metric, labels):
    with pytest.raises(ValueError, match="labels hold one class only"):
        metric(labels, [0.1, 0.2, 0.3])


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="F1 is undefined"):
        utility.f1([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="fpr is 1"):
        roc.tpr_at_fpr([0, 1], [0, 1], fpr=1)
    with pytest.raises(ValueError, match="k is 3"):
        roc.precision_at([0, 1], [0, 1], k=3)
    assert utility.accuracy([0, 0], [0.1, 0.9]) == 0.5


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
