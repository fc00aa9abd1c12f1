import csv
import gzip

import numpy as np
import pytest
from sklearn import metrics as peer

from lib.metrics.utility.diagnostic import METRICS, closest_cut, diagnostic_bootstrap
from lib.statistics.bootstrap import patient_weights
from tests.paths import SHARED

PREDICTIONS = SHARED / "reproduce_chexnet"
LABELS = SHARED / "nih_cxr14_1000/torchxrayvision/data/Data_Entry_2017_v2020.csv.gz"


def task(n=200, k=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < [0.5, 0.2, 0.7][:k]).astype(int)
    return labels, 1 / (1 + np.exp(-(rng.normal(size=(n, k)) + labels).round(1)))


def literal(labels, scores, cut):
    """METRICS of one finding, by scikit-learn."""
    called = scores > cut
    return [
        peer.roc_auc_score(labels, scores),
        peer.recall_score(labels, called),
        peer.recall_score(labels, called, pos_label=0),
        peer.precision_score(labels, called),
        peer.precision_score(labels, called, pos_label=0),
        peer.f1_score(labels, called),
        peer.accuracy_score(labels, called),
    ]


@pytest.mark.parametrize(("size", "patients"), [(None, 200), (50, 200), (None, 60)])
def test_the_table_is_the_literal_loop_on_the_same_draws(size, patients):
    labels, scores = task()
    groups = np.arange(200) % patients
    cuts = closest_cut(labels, scores)
    found = diagnostic_bootstrap(
        labels, scores, cuts=cuts, groups=groups, size=size, draws=12, rng=np.random.default_rng(1)
    )
    weights = patient_weights(groups, draws=12, size=size, rng=np.random.default_rng(1))
    rows = [np.repeat(np.arange(200), row) for row in weights]
    drawn = np.array([[literal(labels[r, j], scores[r, j], cuts[j]) for j in range(3)] for r in rows])
    for i, name in enumerate(METRICS):
        of = found[name]
        np.testing.assert_allclose(of.value, [literal(labels[:, j], scores[:, j], cuts[j])[i] for j in range(3)])
        np.testing.assert_allclose(of.mean, drawn[:, :, i].mean(axis=0))
        np.testing.assert_allclose(of.sd, drawn[:, :, i].std(axis=0, ddof=1))
        np.testing.assert_allclose([of.low, of.high], np.quantile(drawn[:, :, i], [0.025, 0.975], axis=0))


def test_the_cut_is_the_literal_one():
    labels, scores = task(seed=2)
    cuts = np.linspace(0, 1, 300)
    for j, found in enumerate(closest_cut(labels, scores, steps=300)):
        called = scores[:, j] > cuts[:, None]
        missed, cried = (~called)[:, labels[:, j] == 1].mean(axis=1), called[:, labels[:, j] == 0].mean(axis=1)
        assert found == cuts[np.argmin(missed**2 + cried**2)]


def test_the_size_of_a_draw_scales_its_spread():
    labels, scores = task(n=2000, k=2, seed=3)
    given = {"cuts": [0.6, 0.6], "draws": 2000, "rng": np.random.default_rng(4)}
    full = diagnostic_bootstrap(labels, scores, **given)
    part = diagnostic_bootstrap(labels, scores, size=500, **given)
    for name in METRICS:
        np.testing.assert_allclose(part[name].sd / full[name].sd, 2, rtol=0.1)
    # Binomial spread of a rate at a fixed cut.
    share = full["accuracy"].value
    np.testing.assert_allclose(full["accuracy"].sd, (share * (1 - share) / 2000) ** 0.5, rtol=0.06)


def test_a_patient_with_four_equal_radiographs_doubles_the_spread():
    labels, scores = (np.repeat(part, 4, axis=0) for part in task(n=500, k=2, seed=5))
    given = {"cuts": [0.6, 0.6], "draws": 1500, "rng": np.random.default_rng(6)}
    image = diagnostic_bootstrap(labels, scores, **given)
    patient = diagnostic_bootstrap(labels, scores, groups=np.arange(2000) // 4, **given)
    for name in METRICS:
        np.testing.assert_allclose(patient[name].sd / image[name].sd, 2, rtol=0.15)


def test_undefined_draws_are_left_out():
    labels, scores = np.array([[0, 1, 0, 1, 0, 1]]).T, np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.9]]).T
    found = diagnostic_bootstrap(labels, scores, cuts=[0.6], draws=200, rng=np.random.default_rng(7))
    assert found["ppv"].mean[0] == 1
    assert np.isfinite(np.array(list(found.values()))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.ones((6, 2))}, "one class only"),
        ({"scores": np.arange(6) / 6}, "one column per finding"),
        ({"cuts": [0.5]}, "give one per finding"),
        ({"size": 0}, "draw at least one"),
        ({"groups": np.zeros(6)}, "all images are of one patient"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"labels": np.tile([0, 1], (6, 1)) ^ np.arange(6)[:, None] % 2, "scores": np.eye(6)[:, :2] / 2}
    given |= {"cuts": [0.1, 0.1], "rng": np.random.default_rng(0), "draws": 10} | change
    if np.ndim(given["scores"]) == 1:
        given["labels"] = given["labels"][:, 0]
    with pytest.raises(ValueError, match=message):
        diagnostic_bootstrap(given.pop("labels"), given.pop("scores"), **given)


def test_scores_that_are_no_probabilities_have_no_grid():
    labels, scores = task()
    with pytest.raises(ValueError, match="give probabilities"):
        closest_cut(labels, 3 * scores)


# Cut, mean and SD of the published protocol, sensitivity, specificity, n-sized SD and interval: spec §5.3.
ANCHOR = {
    "Cardiomegaly": (0.0226, 0.909, 0.008, 0.849, 0.822, 0.0056, 0.898, 0.919),
    "Effusion": (0.1098, 0.883, 0.005, 0.827, 0.793, 0.0031, 0.877, 0.889),
    "Pneumothorax": (0.0278, 0.878, 0.008, 0.821, 0.783, 0.0053, 0.867, 0.888),
    "Atelectasis": (0.0780, 0.818, 0.006, 0.779, 0.706, 0.0044, 0.809, 0.826),
    "Edema": (0.0192, 0.894, 0.009, 0.831, 0.810, 0.0062, 0.883, 0.906),
    "Consolidation": (0.0395, 0.800, 0.010, 0.746, 0.723, 0.0066, 0.787, 0.813),
    "Pneumonia": (0.0123, 0.760, 0.023, 0.690, 0.717, 0.0143, 0.733, 0.788),
}


@pytest.mark.skipif(not (PREDICTIONS.is_dir() and LABELS.is_file()), reason=f"no public predictions in {SHARED}")
def test_the_anchor_of_public_predictions():
    with (PREDICTIONS / "preds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with gzip.open(LABELS, "rt", newline="") as file:
        findings = {row["Image Index"]: row["Finding Labels"].split("|") for row in csv.DictReader(file)}
    labels = np.array([[name in findings[row["Image Index"]] for name in ANCHOR] for row in rows])
    scores = np.array([[float(row[f"prob_{name}"]) for name in ANCHOR] for row in rows])
    patients = [row["Image Index"][:8] for row in rows]
    assert (len(rows), len(set(patients))) == (22_433, 6_187)
    with (PREDICTIONS / "aucs.csv").open(newline="") as file:
        published = {row["label"]: float(row["auc"]) for row in csv.DictReader(file)}

    cuts = closest_cut(labels, scores)
    rng = np.random.default_rng(0)
    found = diagnostic_bootstrap(labels, scores, cuts=cuts, size=10_000, draws=500, rng=rng)
    full = diagnostic_bootstrap(labels, scores, cuts=cuts, draws=500, rng=rng)
    cut, mean, sd, sensitivity, specificity, own_sd, low, high = np.array(list(ANCHOR.values())).T
    np.testing.assert_allclose(found["auroc"].value, [published[name] for name in ANCHOR], atol=5e-4)
    np.testing.assert_allclose(cuts, cut, atol=1e-4)
    for name, expected in (("auroc", mean), ("sensitivity", sensitivity), ("specificity", specificity)):
        # The digits given, and the error of two means over 500 draws.
        assert (abs(found[name].mean - expected) < 5e-4 + 4 * found[name].sd / 500**0.5).all()
    np.testing.assert_allclose(found["auroc"].sd, sd, atol=1.5e-3)
    np.testing.assert_allclose(full["auroc"].sd, own_sd, rtol=0.12)
    assert (abs(full["auroc"].low - low) < 5e-4 + 0.6 * own_sd).all()
    assert (abs(full["auroc"].high - high) < 5e-4 + 0.6 * own_sd).all()
    assert 1.35 < np.mean(found["auroc"].sd / full["auroc"].sd) < 1.65
    patient = diagnostic_bootstrap(labels, scores, cuts=cuts, groups=patients, draws=300, rng=rng)
    assert np.mean(patient["auroc"].sd / full["auroc"].sd) > 1.05
