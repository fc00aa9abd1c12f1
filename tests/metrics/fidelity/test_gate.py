"""The gate lets real images of further patients through, and holds noise, class means and copies of one image back."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lib.cohorts.phantoms import mass
from lib.core.seeding import numpy_generator
from lib.metrics.diversity.prdc import support
from lib.metrics.fidelity.gate import COMPONENTS, NEIGHBOURS, Fidelity, fidelity, outcome, shortfalls
from lib.metrics.null_images import class_mean_noise, uniform_noise
from lib.statistics.repetitions import Estimate


@pytest.fixture(scope="module")
def crops():
    drawn = [mass.draw(patients=150, image_size=24, rng=numpy_generator(seed, "crops")) for seed in range(3)]
    return [(of.images[:], of.labels) for of in drawn]


def measured(crops, synthetic):
    return fidelity(real=crops[0][0], disjoint=crops[1][0], synthetic=synthetic, rng=numpy_generator(0, "gate"))


def test_disjoint_patients_pass(crops):
    assert shortfalls([measured(crops, crops[2][0])]) == []


def test_what_is_no_generator_fails_and_each_reason_is_given(crops):
    (images, labels), rng = crops[0], numpy_generator(0, "null")
    noise = uniform_noise(images.shape, rng=rng)
    means = class_mean_noise(images, labels, wanted=labels, rng=rng)
    one = np.repeat(images[:1], len(images), axis=0)
    assert {reason.split()[0] for reason in shortfalls([measured(crops, noise)])} == {"coverage", "the"}
    assert any("image means" in reason for reason in shortfalls([measured(crops, means)]))
    assert any("coverage" in reason for reason in shortfalls([measured(crops, means)]))
    assert any("pixels" in reason for reason in shortfalls([measured(crops, one)]))


def test_precision_alone_would_let_class_means_through(crops):
    images, labels = crops[0]
    smooth = class_mean_noise(images, labels, wanted=labels, rng=numpy_generator(0, "null"))
    assert measured(crops, smooth).precision > 0.9


def test_components_are_those_of_the_whole_decomposition(crops):
    """Coverage, precision and recall count neighbours: those in the components of a full one, and no others."""
    real, disjoint, made = (of[0][:200].reshape(200, -1).astype(float) for of in crops)
    space = PCA(COMPONENTS, svd_solver="full").fit(real)
    slow = support(real=space.transform(real), synthetic=space.transform(made), k=NEIGHBOURS)
    reached = support(real=space.transform(real), synthetic=space.transform(disjoint), k=NEIGHBOURS)
    sets = {"real": real, "disjoint": disjoint, "synthetic": made}
    fast = fidelity(**sets, rng=numpy_generator(0, "gate"))
    found = [fast.coverage, fast.coverage_disjoint, fast.precision, fast.recall]
    assert found == [slow.coverage, reached.coverage, slow.precision, slow.recall]


def test_it_is_the_mean_over_all_repetitions_that_decides():
    good, bad = Fidelity(0.6, 0.8, 1, 1, 1.0, 1.0), Fidelity(0.0, 0.8, 1, 1, 1.0, 1.0)
    assert shortfalls([good, good, bad]) == []
    assert shortfalls([good, bad, bad]) != []


@pytest.mark.parametrize(("coverage", "passes"), [(0.4, True), (0.399, False), (np.nan, False)])
def test_the_limits_are_those_declared(coverage, passes):
    assert (shortfalls([Fidelity(coverage, 0.8, 1, 1, 1.2, 0.8)]) == []) == passes
    assert shortfalls([Fidelity(0.8, 0.8, 1, 1, 1.21, 1.0)]) != []
    assert shortfalls([Fidelity(0.8, 0.8, 1, 1, 1.0, 0.79)]) != []


def test_one_too_narrow_and_one_too_wide_do_not_make_a_faithful_generator():
    (reason,) = shortfalls([Fidelity(0.8, 0.8, 1, 1, ratio, 1.0) for ratio in (0.5, 0.5, 1.5, 1.5, 1.0)])
    assert reason == "the SD of image means is 1.00 of that of real images, and 0.40 away from it in the mean"


def test_a_coverage_that_disjoint_patients_do_not_reach_either_lets_nothing_through():
    (reason,) = shortfalls([Fidelity(0.0, 0.0, 1, 1, 1.0, 1.0)])
    assert "cover none" in reason


def test_labels_are_asked_for_only_where_real_images_show_them():
    good = [Fidelity(0.8, 0.8, 1, 1, 1.0, 1.0)]

    def auroc(value, error):
        return Estimate(value, error, 4, 5, ())

    clear, unclear = auroc(0.8, 0.01), auroc(0.8, 0.1)
    assert shortfalls(good, on_real=clear, on_synthetic=auroc(0.74, 0.01)) == []
    (reason,) = shortfalls(good, on_real=clear, on_synthetic=auroc(0.73, 0.01))
    assert "AUROC 0.73" in reason
    assert shortfalls(good, on_real=unclear, on_synthetic=auroc(0.5, 0.01)) == []
    with pytest.raises(ValueError, match="or neither"):
        shortfalls(good, on_real=clear)
    with pytest.raises(ValueError, match="no repetition"):
        shortfalls([])


def test_what_does_not_fit_is_refused(crops):
    images = crops[0][0]
    with pytest.raises(ValueError, match="one size"):
        fidelity(real=images, disjoint=images, synthetic=images[:, :8], rng=numpy_generator(0, "gate"))
    with pytest.raises(ValueError, match="48 or more"):
        fidelity(real=images, disjoint=images[:40], synthetic=images, rng=numpy_generator(0, "gate"))
    with pytest.raises(ValueError, match="all equal"):
        fidelity(real=images * 0, disjoint=images, synthetic=images, rng=numpy_generator(0, "gate"))


def test_a_table_says_where_labels_were_not_tested():
    clear, unclear = (Estimate(0.8, error, 4, 5, ()) for error in (0.01, 0.1))
    assert outcome([], on_real=[unclear, clear]) == "passed"
    assert outcome([], on_real=[unclear]) == outcome([]) == "passed, labels not tested"
    assert outcome(["one", "two"], on_real=[clear]) == "one; two"
