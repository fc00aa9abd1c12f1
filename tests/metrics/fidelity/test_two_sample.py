"""The artefact test is at chance for one population, and certain for another."""

import numpy as np

from lib.metrics.fidelity import two_sample


def test_artefact_test_is_at_chance_for_one_population_and_certain_for_another():
    rng = np.random.default_rng(8)
    features, patients = rng.normal(size=(120, 6)), np.repeat(np.arange(60), 2)
    same = two_sample.artefact_test(
        real=features, synthetic=rng.normal(size=(90, 6)), rng=rng, real_groups=patients, trees=40
    )
    assert 0.35 < same.auroc < 0.65
    assert same.labels.sum() == 90
    assert len(np.unique(same.groups)) == 150
    other = two_sample.artefact_test(real=features, synthetic=rng.normal(size=(90, 6)) + 3, rng=rng, trees=40)
    assert other.auroc > 0.99


def test_artefact_test_keeps_a_patient_in_one_fold():
    rng = np.random.default_rng(9)
    # Each patient has one constant pattern: a forest that sees it in training would recognise it as real.
    patients = np.repeat(np.arange(30), 8)
    real = np.repeat(rng.normal(size=(30, 4)), 8, axis=0)
    leaky = two_sample.artefact_test(real=real, synthetic=rng.normal(size=(240, 4)), rng=rng, trees=40)
    grouped = two_sample.artefact_test(
        real=real, synthetic=rng.normal(size=(240, 4)), rng=rng, real_groups=patients, trees=40
    )
    assert leaky.auroc > 0.95
    assert grouped.auroc < 0.75


def test_two_halves_of_one_population_look_alike_when_both_sides_have_patients():
    rng = np.random.default_rng(10)
    halves = {side: np.repeat(rng.normal(size=(30, 4)), 8, axis=0) for side in ("real", "synthetic")}
    groups = {f"{side}_groups": np.repeat(np.arange(30), 8) for side in halves}
    assert two_sample.artefact_test(**halves, rng=rng, trees=40).auroc > 0.95
    assert two_sample.artefact_test(**halves, **groups, rng=rng, trees=40).auroc < 0.7
