"""The numbers read off papers agree with each other, and with the public files where those are at hand."""

import json
import runpy

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import leaves_list, linkage

from lib.cohorts.public import chexnet_predictions, chexpert, nih_cxr14
from lib.core.paths import published
from lib.statistics.weighted import WeightedAuroc
from tests.paths import SHARED

MATRIX = pd.read_csv(published("han2019/correlation_matrix_published.csv"), index_col=0)
STORED = json.loads(published("han2019/correlation_matrix_published_and_real.json").read_text())
BARS = pd.read_csv(published("han2019/msssim_bars_digitised.csv"))
HISTOGRAMS = json.loads(published("han2019/msssim_histograms_digitised.json").read_text())
SCORES = pd.read_csv(published("han2019/classifier_scores.csv.gz"))
REFERENCE = pd.read_csv(published("han2019/public_bootstrap.csv"), index_col="finding")


def cells(finding):
    """Label, score and number of the radiographs of one finding, radiographs of equal score and label together."""
    of = SCORES[SCORES["finding"] == finding]
    return np.repeat([0, 1], len(of)), np.tile(of["score"], 2), np.concatenate([of["without"], of["with"]])


def test_a_number_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"nobody\.csv: no such published numbers"):
        published("han2019/nobody.csv")


def test_e1_clustering_returns_the_printed_order():
    tree = linkage(MATRIX.T, "average")
    assert [MATRIX.columns[leaf] for leaf in leaves_list(tree)] == [*MATRIX.columns] == [*MATRIX.index]
    np.testing.assert_allclose(tree[-3:, 2], [0.976, 1.007, 1.366], atol=0.001)
    np.testing.assert_array_equal(MATRIX, STORED["published"])


def test_the_matrix_has_the_stated_moments():
    values, own = MATRIX.to_numpy(), np.eye(14, dtype=bool)
    assert values[own].mean() == pytest.approx(0.599, abs=0.0005)
    assert values[~own].mean() == pytest.approx(0.200, abs=0.0005)
    assert (values[~own] < 0).mean() == pytest.approx(0.143, abs=0.0005)
    assert np.abs(values - values.T)[~own].mean() == pytest.approx(0.129, abs=0.0005)
    assert (values.argmax(axis=0) == np.arange(14)).all()
    assert (values.argmax(axis=1) != np.arange(14)).sum() == 1


def test_e2_the_counts_give_the_released_aucs():
    released = pd.read_csv(published("han2019/reproduce_chexnet_aucs.csv"), index_col="label")["auc"]
    for finding in chexnet_predictions.FINDINGS:
        truth, scores, radiographs = cells(finding)
        assert WeightedAuroc(truth, scores)(radiographs[None])[0] == pytest.approx(released[finding], abs=0.0005)
    assert released[REFERENCE.index].mean() == pytest.approx(0.849, abs=0.0005)


def test_e3_histograms_and_bars_agree():
    assert len(HISTOGRAMS) == 56
    by_label = BARS.set_index(["dataset", "label"])
    for name, of in HISTOGRAMS.items():
        (side, dataset), label = name.split("|")[0].split("_"), name.split("|")[1]
        middle = np.linspace(of["lo"], of["hi"], 101)[1::2]
        mean = np.average(middle, weights=of["counts"])
        sd = np.sqrt(np.average((middle - mean) ** 2, weights=of["counts"]))
        bar = by_label.loc[(dataset, label)]
        assert (len(of["counts"]), sum(of["counts"])) == (50, bar[f"{side.lower()}_pairs"])
        assert abs(mean - bar[f"{side.lower()}_mean"]) <= 0.001
        assert abs(sd - bar[f"{side.lower()}_sd"]) <= 0.001


def test_the_bars_have_the_stated_means():
    means = BARS.groupby("dataset")[["real_mean", "fake_mean"]].mean()
    np.testing.assert_allclose(means.loc["NIH"], [0.234, 0.257], atol=0.0006)
    np.testing.assert_allclose(means.loc["CheXpert"], [0.186, 0.214], atol=0.0006)
    rises = BARS["fake_mean"] > BARS["real_mean"]
    assert dict(rises.groupby(BARS["dataset"]).sum()) == {"NIH": 11, "CheXpert": 13}
    assert BARS[["real_pairs", "fake_pairs"]].min().min() == 829


def test_the_pooled_generators_have_the_stated_means():
    bars = pd.read_csv(published("han2019/results_png_digitised.csv"))
    means = bars.groupby("metric")[["nih_gan_mean", "pooled_mean"]].mean()
    for metric, expected in {
        "AUC": [0.748, 0.791],
        "Sensitivity": [0.671, 0.725],
        "Specificity": [0.706, 0.727],
    }.items():
        np.testing.assert_allclose(means.loc[metric], expected, atol=0.0011)
    auc = bars[bars["metric"] == "AUC"]
    assert (auc["pooled_mean"] > auc["nih_gan_mean"]).all()


@pytest.mark.slow
def test_e4_drawing_10000_radiographs_widens_the_sd():
    rng, ratios = np.random.default_rng(5), []
    for finding in REFERENCE.index:
        truth, scores, radiographs = cells(finding)
        area = WeightedAuroc(truth, scores)
        sd, sized = (
            area(rng.multinomial(n, radiographs / radiographs.sum(), 200)).std() for n in (10_000, radiographs.sum())
        )
        np.testing.assert_allclose([sd, sized], REFERENCE.loc[finding, ["AUC_sd", "AUC_sd_n"]].tolist(), rtol=0.25)
        ratios.append(sd / sized)
    assert 1.35 <= np.mean(ratios) <= 1.65


@pytest.mark.parametrize("finding", REFERENCE.index)
def test_r5_the_threshold_and_its_rates(finding):
    truth, scores, radiographs = cells(finding)
    grid = np.linspace(0, 1, 10_000)[:3000]  # slow and literal, where all cuts lie
    found = (
        np.array([radiographs[(truth == 1) & (scores >= cut)].sum() for cut in grid]) / radiographs[truth == 1].sum()
    )
    right = np.array([radiographs[(truth == 0) & (scores < cut)].sum() for cut in grid]) / radiographs[truth == 0].sum()
    best = np.argmin((1 - found) ** 2 + (1 - right) ** 2)
    assert grid[best] == pytest.approx(REFERENCE.loc[finding, "cut"], abs=5e-5)
    expected = REFERENCE.loc[finding, ["sensitivity", "specificity"]].tolist()
    np.testing.assert_allclose([found[best], right[best]], expected, atol=0.0025)  # the reference is a mean of draws


def test_r6_counts_are_the_specified_ones():
    counts = pd.read_csv(published("han2019/nih_label_counts.csv"), index_col="finding")
    assert counts.loc["Hernia"].tolist() == [227, 42]
    assert counts.loc["Pneumonia"].tolist() == [1431, 260]
    assert counts.loc["Infiltration"].tolist() == [19_894, 3_944]
    radiographs = SCORES.groupby("finding")[["without", "with"]].sum()
    assert (radiographs.sum(axis=1) == 22_433).all()
    np.testing.assert_array_equal(radiographs["with"][counts.index], counts["test"])
    sizes = pd.read_csv(published("han2019/data_sets.csv")).set_index(["set", "quantity"])["value"]
    nih, stanford, rsna = (sizes[name] for name in ("NIH", "CheXpert", "RSNA"))
    assert nih["radiographs PA"] + nih["radiographs AP"] == nih["radiographs"] == 112_120
    assert nih[["train radiographs", "validation radiographs", "test radiographs"]].sum() == 112_120
    assert stanford[["radiographs frontal", "radiographs lateral"]].sum() == stanford["radiographs"]
    assert stanford["radiographs the generator was trained on"] - stanford["radiographs frontal"] == 202
    assert rsna[["radiographs with an opacity", "radiographs without"]].sum() == rsna["radiographs"]


@pytest.mark.parametrize(("of", "r"), [("phi", 0.53), ("probabilities", 0.76), ("logits", 0.83)])
def test_r7_what_the_matrix_resembles(of, r):
    if of == "phi":
        other = np.array(STORED["nih_label_phi_v2020"])
    else:
        other = pd.read_csv(published(f"han2019/classifier_correlation_{of}.csv"), index_col=0).to_numpy()
    response, upper = (MATRIX.to_numpy() + MATRIX.to_numpy().T) / 2, np.triu_indices(14, 1)
    assert np.corrcoef(response[upper], other[upper])[0, 1] == pytest.approx(r, abs=0.01)


def test_the_printed_label_vectors_are_of_the_set():
    """E7, as far as it goes without CheXpert's table: test_chexpert compares with it where it is."""
    vectors = pd.read_csv(published("han2019/chexpert_label_vectors.csv"))
    assert tuple(vectors.columns) == chexpert.FINDINGS
    assert (len(vectors), set(vectors.to_numpy().ravel())) == (20, {0, 1})
    alone = vectors[vectors["No Finding"] == 1].drop(columns=["No Finding", "Support Devices"])
    assert len(alone) == 5
    assert not alone.to_numpy().any()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """NIH's label table and the public predictions, where they are."""
    try:
        _, table = chexnet_predictions.find_files(SHARED)
    except ValueError:
        pytest.skip("no ../shared/data with preds.csv and NIH's label table")
    [path] = chexnet_predictions.prepare(SHARED, tmp_path_factory.mktemp("cohorts"))
    return nih_cxr14.read_table(table), chexnet_predictions.Predictions.open(path)


@pytest.mark.slow
def test_the_derived_files_are_recomputed(originals):
    derive = runpy.run_path(str(published("han2019/derive.py")))["derive"]
    for name, frame in derive(*originals).items():
        shipped = pd.read_csv(published(f"han2019/{name}"))
        for column in shipped:
            if shipped[column].dtype.kind in "if":
                np.testing.assert_allclose(frame[column].astype(float), shipped[column], atol=1.1e-4)
            else:
                assert frame[column].tolist() == shipped[column].tolist()


@pytest.mark.slow
def test_the_public_files_have_the_stated_facts(originals):
    table, predictions = originals
    patients, labels, views = (np.array(column) for column in zip(*table.values(), strict=True))
    findings = labels.sum(axis=1)
    facts = {
        "radiographs": len(table), "radiographs PA": (views == 0).sum(), "radiographs AP": (views == 1).sum(),
        "patients": len(np.unique(patients)), "radiographs without finding": (findings == 0).sum(),
        "radiographs with two findings or more": (findings >= 2).sum(), "test radiographs": len(predictions.radiograph),
        "test patients": len(np.unique(predictions.patient)),
    }  # fmt: skip
    sizes = pd.read_csv(published("han2019/data_sets.csv"))
    sizes = sizes[sizes["source"] == "recomputed"].set_index("quantity")["value"]
    assert dict(sizes) == facts
    assert not set(predictions.patient) & set(patients[~np.isin([*table], predictions.radiograph)])
    place = [nih_cxr14.FINDINGS.index(finding) for finding in MATRIX.columns]
    np.testing.assert_allclose(np.corrcoef(labels[:, place].T), STORED["nih_label_phi_v2020"], atol=1e-4)
