"""The test of the same patient: literal formulas, exact p-values, size over null splits, injected patients found."""

from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from lib.metrics.privacy.reidentification.same_patient import (
    Nearest,
    nearest_patients,
    normalised_nearness,
    null_scores,
    permuted_within,
    same_patient_test,
)

SPLITS, LEVEL = 200, 0.05


def points(
    patient: np.ndarray, rng: np.random.Generator, *, of: np.ndarray | None = None, noise: float = 0.8
) -> np.ndarray:
    """Unit vectors (n, 24) of an embedding that knows patients: a centre of each (p, 24), and noise."""
    centres = rng.standard_normal((int(patient.max()) + 1, 24)) if of is None else of
    found = centres[patient] + noise * rng.standard_normal((len(patient), 24))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def pvalue(synthetic, real, patient, member, rng, **options) -> float:
    """p of the test, of points."""
    to_synthetic, to_real = normalised_nearness(synthetic=synthetic, real=real, patient=patient)
    null = null_scores(nearest_patients(to_real), patient)
    options |= {"null": null, "member": member, "permutations": 199, "rng": rng}
    return same_patient_test(nearest_patients(to_synthetic), **options).pvalue


def test_nearness_is_the_literal_one():
    rng = np.random.default_rng(0)
    patient = np.array([0, 0, 1, 2, 2, 2, 3])
    real, synthetic = points(patient, rng), points(np.zeros(3, int), rng)
    found, among = normalised_nearness(synthetic=synthetic, real=real, patient=patient)
    raw = np.array([[max(one @ real[i] for i in np.flatnonzero(patient == p)) for p in range(4)] for one in real])
    made = np.array([[max(one @ real[i] for i in np.flatnonzero(patient == p)) for p in range(4)] for one in synthetic])
    for p in range(4):
        cohort = [raw[i, p] for i in range(len(real)) if patient[i] != p]
        for s in range(3):
            by_patient = (made[s, p] - np.mean(cohort)) / np.std(cohort)
            by_image = (made[s, p] - made[s].mean()) / made[s].std()
            assert found[s, p] == pytest.approx((by_patient + by_image) / 2, abs=1e-3)
        for i in np.flatnonzero(patient != p):
            others = np.delete(raw[i], patient[i])
            by_image = (raw[i, p] - others.mean()) / others.std()
            literal = ((raw[i, p] - np.mean(cohort)) / np.std(cohort) + by_image) / 2
            assert among[i, p] == pytest.approx(literal, abs=1e-3)
    assert np.isneginf(among[np.arange(7), patient]).all()
    assert nearest_patients(among).patient.tolist() == np.where(np.isinf(among), -9, among).argmax(axis=1).tolist()
    best = nearest_patients(among)
    assert null_scores(best, patient).tolist() == [best.score[patient == p].max() for p in range(4)]


@pytest.mark.parametrize("strata", [None, np.repeat([0, 1], 5)])
def test_p_is_that_of_all_permutations(strata):
    """Of ten patients four are reached, and they are the members: one permutation in all is as good."""
    member = np.isin(np.arange(10), [0, 1, 5, 6])
    reached = Nearest(np.flatnonzero(member), np.array([5.0, 4, 3, 6]))
    options = {"null": np.zeros(12), "member": member, "permutations": 20_000, "rng": np.random.default_rng(0)}
    every = comb(10, 4) if strata is None else comb(5, 2) ** 2
    found = same_patient_test(reached, strata=strata, **options)
    assert found.pvalue == pytest.approx(1 / every, rel=0.3)
    assert found.reached.tolist() == [5, 4, 0, 0, 0, 3, 6, 0, 0, 0]
    assert found.is_beyond.all()


def test_permutations_keep_to_their_strata():
    values, strata = np.arange(6), np.array([1, 0, 1, 0, 1, 0])
    found = permuted_within(values, strata, permutations=600, rng=np.random.default_rng(0))
    assert (np.sort(found[:, strata == 0], axis=1) == [1, 3, 5]).all()
    assert (np.sort(found[:, strata == 1], axis=1) == [0, 2, 4]).all()
    assert len(np.unique(found, axis=0)) == 36
    assert abs((found == values).mean() - 1 / 3) < 0.05


def test_a_patient_counts_once_however_many_images_come_near():
    member = np.arange(20) < 10
    often = Nearest(np.zeros(50, int), np.full(50, 9.0))
    once = Nearest(np.zeros(1, int), np.full(1, 9.0))
    options = {"null": np.zeros(12), "member": member, "permutations": 999}
    found = [same_patient_test(of, **options, rng=np.random.default_rng(0)).pvalue for of in (often, once)]
    assert found[0] == found[1]
    assert 0.4 < found[0] < 0.6


def test_without_anything_near_p_is_one():
    far = Nearest(np.arange(4), np.full(4, -1.0))
    options = {"null": np.zeros(12), "member": np.arange(8) < 4, "permutations": 99, "rng": np.random.default_rng(0)}
    assert same_patient_test(far, **options).pvalue == 1


@pytest.mark.parametrize("images", [(3, 3), (6, 1)], ids=["alike", "held-out patients have one image"])
def test_null_splits_are_flagged_at_the_level(images):
    """Two hundred splits of patients of whom nobody is shown; of training patients there may be more images."""
    flagged, rng = 0, np.random.default_rng(1)
    for _ in range(SPLITS):
        patient = np.repeat(np.arange(50), np.repeat(images, (30, 20)))
        real, synthetic = points(patient, rng), points(np.repeat(np.arange(15), 4), rng)
        flagged += pvalue(synthetic, real, patient, np.arange(50) < 30, rng) <= LEVEL
    assert flagged <= binom.ppf(0.999, SPLITS, LEVEL)
    assert flagged >= binom.ppf(0.001, SPLITS, LEVEL) or images != (3, 3)


def test_injected_images_of_training_patients_are_flagged():
    """Of 80 images 16 show a training patient each. That all are of training patients by chance has p = (2/3)^16."""
    flagged, rng = 0, np.random.default_rng(2)
    for _ in range(20):
        centres = rng.standard_normal((60, 24))
        patient = np.repeat(np.arange(60), 3)
        shown = points(np.arange(16), rng, of=centres, noise=0.4)
        synthetic = np.concatenate([points(np.arange(64), rng), shown])
        real = points(patient, rng, of=centres, noise=0.4)
        flagged += pvalue(synthetic, real, patient, np.arange(60) < 40, rng) <= LEVEL
    assert flagged >= 19


def test_bad_input_is_one_sentence():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(4), 2)
    real = points(patient, rng)
    for changed, sentence in (
        ({"synthetic": real[:, :5]}, "synthetic has 5 values a point and real 24"),
        ({"patient": patient[:3]}, "patient has shape"),
        ({"patient": patient // 2}, "real points are of 2 patients: give three"),
        ({"real": np.full_like(real, np.nan)}, "real holds NaN"),
        ({"real": np.tile(real[:1], (8, 1))}, "tells nobody apart"),
    ):
        with pytest.raises(ValueError, match=sentence):
            normalised_nearness(**({"synthetic": real, "real": real, "patient": patient} | changed))
    near, good = Nearest(np.arange(4), np.zeros(4)), {"null": np.zeros(12), "member": np.arange(4) < 2}
    for changed, sentence in (
        ({"member": np.ones(4, bool)}, "of one side only"),
        ({"member": np.arange(3) < 2}, "do not fit 4 scores and 3 patients"),
        ({"null": np.zeros(9)}, "9 null scores are too few"),
        ({"null": np.full(12, np.nan)}, "null holds 12 NaN"),
        ({"permutations": 0}, "draw at least one"),
        ({"strata": np.zeros(3)}, "strata has shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            same_patient_test(near, **(good | changed), rng=rng)
