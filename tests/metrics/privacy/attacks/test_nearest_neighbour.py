"""The memorisation test finds injected copies exactly, and is at chance where there are none."""

import numpy as np
import pytest

from lib.metrics.privacy.attacks import nearest_neighbour
from lib.metrics.privacy.attacks.nearest_neighbour import memorisation_test
from tests.metrics.privacy.toy import attacked


@pytest.mark.parametrize("similarity", nearest_neighbour.SIMILARITIES)
@pytest.mark.parametrize(
    ("name", "copies"), [("leak_5", 10), ("leak_10", 20), ("leak_30", 60), ("memorising generator", 160)]
)
def test_injected_copies_are_found_exactly(sets, name, copies, similarity):
    control = sets["controls"][name]
    result = attacked(sets, control.images, similarity=similarity)
    expected = np.unique(control.copied)
    assert len(expected) == copies
    np.testing.assert_array_equal(result.copied, expected)
    np.testing.assert_array_equal(sets["train"][expected], control.images[result.member_nearest[expected]])
    largest = 0 if similarity == "distance" else 1
    np.testing.assert_array_equal(np.flatnonzero(result.member == largest), expected)


def test_the_dose_response_rises_from_chance_to_certainty(sets):
    names = ("negative control", "leak_5", "leak_10", "leak_30", "memorising generator")
    attacks = [attacked(sets, sets["controls"][name].images).attack for name in names]
    auroc, tpr = [attack.auroc.value for attack in attacks], [attack.tpr.value for attack in attacks]
    assert auroc == sorted(auroc)
    assert tpr == sorted(tpr)
    assert attacks[0].auroc.low < 0.5 < attacks[0].auroc.high
    assert attacks[0].gap.low < 0 < attacks[0].gap.high
    # A copied share m of the members outranks everyone: .5 + m / 2, and up to .5 + m with the copies' siblings.
    for value, copies in zip(auroc[1:4], (10, 20, 60), strict=True):
        assert -0.04 < value - 0.5 - copies / 320 < copies / 320 + 0.04
    assert auroc[4] == tpr[4] == attacks[4].precision == 1
    assert attacks[2].precision == 1  # 20 copies, the 20 highest-ranked
    assert tpr[2] >= 20 / 160


def test_sets_of_disjoint_patients_are_at_chance_on_average():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        images = rng.normal(size=(3, 60, 30))
        result = memorisation_test(train=images[0], heldout=images[1], synthetic=images[2], rng=rng, draws=100)
        found.append(result.attack.auroc)
    assert np.mean([interval.value for interval in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([interval.low <= 0.5 <= interval.high for interval in found]) >= 0.85


def test_the_role_of_members_and_nonmembers_is_antisymmetric(sets):
    images = sets["controls"]["leak_30"].images
    result = attacked(sets, images)
    swapped = memorisation_test(
        train=sets["heldout"], heldout=sets["train"], synthetic=images, rng=np.random.default_rng(0), draws=50
    )
    assert swapped.attack.auroc.value == pytest.approx(1 - result.attack.auroc.value, abs=1e-12)
    assert swapped.attack.gap.value == pytest.approx(-result.attack.gap.value, abs=1e-9)
    assert len(swapped.copied) == 0


def test_correlation_finds_a_copy_of_other_contrast_and_is_the_literal_one(sets):
    train, heldout = (sets[name].astype(np.float64) for name in ("train", "heldout"))
    faded = 0.3 * train[:40] + 60
    options = {"train": train, "heldout": heldout, "synthetic": faded, "rng": np.random.default_rng(0), "draws": 50}
    result = memorisation_test(**options, similarity="correlation")
    np.testing.assert_allclose(result.member[:40], 1, atol=1e-12)
    literal = [max(np.corrcoef(one.ravel(), two.ravel())[0, 1] for two in faded) for one in heldout[:10]]
    np.testing.assert_allclose(result.nonmember[:10], literal, atol=1e-12)
    assert memorisation_test(**options).attack.auroc.value < 0.7  # the distance is fooled by contrast


def test_flips_find_a_mirrored_copy(sets):
    mirrored = sets["synthetic"].copy()
    mirrored[:9] = sets["train"][:9, :, ::-1]
    mirrored[9:18] = sets["train"][9:18, ::-1]
    assert len(attacked(sets, mirrored).copied) == 0
    found = attacked(sets, mirrored, flips=True)
    np.testing.assert_array_equal(found.copied, np.arange(18))
    np.testing.assert_array_equal(found.member_nearest[:18], np.arange(18))


def test_constant_synthetic_images_correlate_with_nothing(sets):
    synthetic = np.concatenate([np.full((5, 12, 12), 128, np.uint8), sets["controls"]["leak_10"].images])
    result = attacked(sets, synthetic, similarity="correlation")
    np.testing.assert_array_equal(result.copied, np.unique(sets["controls"]["leak_10"].copied))
    assert result.member_nearest.min() >= 5
