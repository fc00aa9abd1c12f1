"""Intervals of the Fréchet distance, by patient, and of the kernel distance."""

import numpy as np
import pytest

from lib.metrics.fidelity import kernel
from lib.metrics.fidelity.intervals import bootstrap_frechet, patient_subsets, subsample_kernel


def test_the_kernel_interval_holds_what_it_estimates():
    rng, shift = np.random.default_rng(0), 1.0
    real, synthetic = rng.normal(size=(200, 3)), rng.normal(shift, 1, size=(200, 3))
    found = subsample_kernel(real=real, synthetic=synthetic, rng=rng)
    assert found.value == pytest.approx(kernel.kernel_distance(real=real, synthetic=synthetic))
    big = kernel.kernel_distance(real=rng.normal(size=(4000, 3)), synthetic=rng.normal(shift, 1, size=(4000, 3)))
    assert found.low < big < found.high


def test_coverage_of_frechet_by_patient():
    """The interval is for the expected distance at these sizes, which a simulation gives."""
    rng = np.random.default_rng(12)
    patients = np.repeat(np.arange(40), 2)

    def sets():
        shared = np.repeat(rng.normal(size=(40, 3)), 2, axis=0) * 0.8
        return shared + 0.6 * rng.normal(size=(80, 3)), 1.3 * rng.normal(size=(120, 3)) + 0.8

    cases = [sets() for _ in range(120)]
    found = [
        bootstrap_frechet(real=real, synthetic=synthetic, real_groups=patients, draws=40, rng=rng)
        for real, synthetic in cases
    ]
    expected = np.mean([one.value for one in found])
    assert 0.87 <= np.mean([one.low <= expected <= one.high for one in found]) <= 0.99
    assert np.mean([one.draws.mean() for one in found]) < 1.15 * expected  # no bias by duplicates


@pytest.mark.parametrize("d", [3, 90])
def test_a_corrected_frechet_interval_is_for_the_populations(d):
    rng = np.random.default_rng(13)
    scale = np.arange(1, d + 1) ** -1.5  # a falling spectrum, as features have; with 90 of them 50 images are few
    truth = ((0.3 * scale) ** 2).sum() + 0.3**2
    found, plain = [], []
    for _ in range(60):
        real, synthetic = scale * rng.normal(size=(50, d)), 1.3 * scale * rng.normal(size=(50, d))
        synthetic[:, 0] += 0.3
        found.append(bootstrap_frechet(real=real, synthetic=synthetic, draws=40, corrected=True, rng=rng))
        plain.append(bootstrap_frechet(real=real, synthetic=synthetic, draws=2, rng=rng).value)
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / 60**0.5
    assert np.mean(plain) - truth > 3 * np.std(plain) / 60**0.5
    assert 0.86 <= np.mean([one.low <= truth <= one.high for one in found])


def test_subsets_of_patients_spread_a_mean_by_its_standard_error():
    """Of single images: the variance of the draws times the factor is s²/n, whatever share is left out."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200)
    for deleted in (0.1, 0.2, 0.5):
        subsets = patient_subsets(np.arange(200), deleted=deleted, draws=4000, rng=rng)
        means = (subsets.keep * values).sum(axis=1) / subsets.keep.sum(axis=1)
        assert subsets.factor * means.var() == pytest.approx(values.var(ddof=1) / 200, rel=0.1)


def test_subsets_of_patients_leave_out_all_images_of_a_patient():
    patient = np.repeat(np.arange(20), 3)
    subsets = patient_subsets(patient, draws=50, rng=np.random.default_rng(0))
    of_patient = subsets.keep.reshape(50, 20, 3)
    assert (of_patient.all(axis=2) == of_patient.any(axis=2)).all()
    assert (of_patient.any(axis=2).sum(axis=1) == 16).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [({"deleted": 0.6, "draws": 10}, "leave out a share"), ({"draws": 1}, "at least two"), ({"draws": 9}, "too few")],
)
def test_subsets_that_say_nothing_are_refused(options, says):
    groups = np.arange(9 if says == "too few" else 30)
    with pytest.raises(ValueError, match=says):
        patient_subsets(groups, rng=np.random.default_rng(0), **options)
