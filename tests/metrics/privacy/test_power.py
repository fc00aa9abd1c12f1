"""Scores equal those of the attacks on images, tests keep their size, and injected copies are seen."""

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import ndtr
from scipy.stats import binom, mannwhitneyu

from lib.metrics.privacy import power
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.attacks.nearest_neighbour import memorisation_test
from lib.metrics.privacy.copying.authenticity import authentic
from lib.metrics.privacy.copying.data_copying import DataCopying


def rows(n, seed=0, d=12):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("values", [1000, 4])
def test_area_pvalue_is_that_of_mann_and_whitney(values):
    rng = np.random.default_rng(0)
    candidate, reference = rng.integers(0, values, (5, 40)), rng.integers(0, values, (5, 30))
    slow = [
        mannwhitneyu(a, b, alternative="greater", method="asymptotic", use_continuity=False).pvalue
        for a, b in zip(candidate, reference, strict=True)
    ]
    assert np.allclose(power.area_pvalue(candidate, reference), slow)
    assert power.area_pvalue(np.zeros((1, 5)), np.zeros((1, 5))) == 1


def test_top_pvalue_is_the_share_of_all_splits():
    """Every way to assign six ranks as three candidates and three references."""
    splits = [set(side) for side in combinations(range(6), 3)]
    candidate = np.array([sorted(side) for side in splits], float)
    reference = np.array([sorted(set(range(6)) - side) for side in splits], float)
    found = (candidate > np.sort(reference, axis=1)[:, -2:-1]).sum(axis=1)  # above all but one: fpr of a third
    literal = [(found >= t).mean() for t in found]
    assert np.allclose(power.top_pvalue(candidate, reference, fpr=0.34), literal)


def test_scores_are_those_of_the_attacks_on_the_images():
    train, heldout, synthetic = rows(30, 1), rows(30, 2), rows(25, 3)
    synthetic[:4] = train[:4]
    real = np.concatenate([train, heldout])
    found = power.membership_scores(cdist(real, synthetic), 1 - cdist(real, synthetic, "correlation"), quantile=0.02)
    assert np.allclose(found["pairwise"], pairwise_attack(real, synthetic).scores)
    assert np.array_equal(found["density"], density_attack(real, synthetic, quantile=0.02).scores)
    for similarity in ("distance", "correlation"):
        options = {"similarity": similarity, "rng": np.random.default_rng(0), "top": 5, "draws": 2}
        test = memorisation_test(train=train, heldout=heldout, synthetic=synthetic, **options)
        assert np.allclose(found[f"nearest, {similarity}"], np.concatenate([test.member, test.nonmember]), atol=1e-7)
    among = cdist(train, train) + np.diag(np.full(30, np.inf))
    copying = power.copying_scores(cdist(train, synthetic), among.min(axis=1))
    assert np.array_equal(copying["authenticity"] == 0, authentic(train=train, synthetic=synthetic))
    null = power.copying_scores(cdist(train, heldout), among.min(axis=1))
    others = synthetic[4:]  # without ties, for which C_T does not correct
    z = DataCopying(train=train, heldout=heldout, synthetic=others, cells=1, rng=np.random.default_rng(0)).value
    assert power.area_pvalue(copying["C_T"][4:], null["C_T"]) == pytest.approx(ndtr(z), abs=1e-9)
    slow = np.sort(cdist(synthetic, train), axis=1)
    assert np.allclose(copying["neighbour ratio"], -slow[:, 0] / slow[:, 1])


def test_distances_and_correlations_are_exact():
    images = np.random.default_rng(4).integers(0, 256, (9, 5, 5), dtype=np.uint8)
    distance, correlation = power.between(images, images[:4])
    flat = images.reshape(9, -1).astype(float)
    assert np.allclose(distance, cdist(flat, flat[:4]), rtol=1e-12)
    assert np.array_equal(np.diag(distance[:4]), np.zeros(4))
    assert np.allclose(correlation, 1 - cdist(flat, flat[:4], "correlation"))
    with pytest.raises(ValueError, match="uint8"):
        power.between(flat, flat)
    with pytest.raises(ValueError, match="constant"):
        power.between(images, np.zeros((2, 5, 5), np.uint8))


def inject_copies(images, altered, **options):
    between = [cdist(images, altered), 1 - cdist(images, altered, "correlation")]
    own = [cdist(images, images), 1 - cdist(images, images, "correlation")]
    options = {"side": 30, "repeats": 400, "copies": (0, 3, 15), "rng": np.random.default_rng(0)} | options
    return power.rejections(*own, copy_distance=between[0], copy_correlation=between[1], **options)


def test_size_is_kept_and_power_grows_with_the_copies():
    images = rows(100)
    found = inject_copies(images, images)
    assert len(found) == 2 * len(power.MEASURES) - 1
    for (measure, test), rejected in found.items():
        assert rejected.shape == (3, 400)
        assert rejected[0].sum() <= binom.ppf(0.9999, 400, 0.055), (measure, test)
        if measure != "density":  # too few pairs count within its radius to be sure
            assert rejected[2].mean() > (0.5 if measure == "authenticity" else 0.9), (measure, test)
        assert rejected[2].mean() >= rejected[1].mean() - 0.05


def test_copies_that_resemble_nobody_are_not_seen():
    images = rows(100)
    found = inject_copies(images, rows(100, seed=9), copies=(15,))
    assert max(rejected.mean() for rejected in found.values()) <= 0.1


def test_sides_and_shapes_that_do_not_fit_are_refused():
    images = rows(60)
    with pytest.raises(ValueError, match="do not fit"):
        inject_copies(images, images)
    with pytest.raises(ValueError, match="one \\(P, P\\)"):
        inject_copies(images, images[:50], side=20)


@pytest.mark.parametrize("test", [power.area_pvalue, power.top_pvalue])
@pytest.mark.parametrize(
    ("candidate", "reference"), [([1.0], []), ([], [1.0]), ([np.nan, 1], [0.0]), ([1.0], [0, np.nan])]
)
def test_scores_that_are_no_numbers_are_refused(test, candidate, reference):
    with pytest.raises(ValueError, match="empty or hold NaN"):
        test(candidate, reference)
