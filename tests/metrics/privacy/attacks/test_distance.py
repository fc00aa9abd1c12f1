import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from lib.metrics.privacy.attacks import distance as attacks
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.controls.contamination import controls
from lib.metrics.privacy.membership import membership_attack
from lib.statistics import roc


def cases():
    rng = np.random.default_rng(0)
    normal, far = rng.normal(size=(150, 40)), rng.normal(size=(150, 40)) + 1000
    centres = 10 * rng.normal(size=(3, 40))
    clusters = centres[rng.integers(0, 3, 240)] + 1e-3 * rng.normal(size=(240, 40))
    return {
        "float64": (rng.normal(size=(90, 40)), normal),
        "odd": (rng.normal(size=(90, 40)), normal[:149]),
        "float32 far from 0": (far[:60].astype("f"), far[60:].astype("f")),
        "uint8 images": (rng.integers(0, 256, (80, 7, 9), np.uint8), rng.integers(0, 256, (120, 7, 9), np.uint8)),
        "long rows": (rng.normal(size=(20, 5000)), rng.normal(size=(30, 5000))),
        "collapsed in three places": (clusters[:90], clusters[90:]),
        "with copies": (normal[:90], np.vstack([normal[:30], rng.normal(size=(70, 40))])),
        "a plane": (rng.normal(size=(300, 2)), rng.normal(size=(400, 2))),
        "very small": (1e-30 * rng.normal(size=(50, 9)), 1e-30 * rng.normal(size=(60, 9))),
    }


CASES = cases()
MEMORY = (2**29, 2**17)  # kept at once, or computed anew in small blocks


def brute(name):
    return cdist(*(np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in CASES[name]))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("name", CASES)
def test_pairwise_is_the_literal_one(name, memory):
    expected = brute(name)
    found = pairwise_attack(*CASES[name], memory=memory)
    np.testing.assert_allclose(found.minimum, expected.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.median, np.median(expected, axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.ratio, expected.min(axis=1) / np.median(expected, axis=1), rtol=1e-9)
    np.testing.assert_array_equal(found.nearest, expected.argmin(axis=1))
    np.testing.assert_array_equal(found.scores, -found.ratio)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize(
    ("quantile", "memory"), [(0.5, 2**29), (0.01, 2**29), (0.001, 2**29), (3 / 13_000, 2**29), (0.01, 2**17)]
)
@pytest.mark.parametrize("name", CASES)
def test_density_is_the_literal_one(name, quantile, memory, as_published):
    expected = brute(name)
    ordered = np.sort(expected, axis=None)
    quantile = max(quantile, 1.5 / ordered.size)
    share = round(quantile * ordered.size, 6)
    radius = ordered[int(share)] if as_published else ordered[int(np.ceil(share)) - 1]
    found = density_attack(*CASES[name], quantile=quantile, memory=memory, as_published=as_published)
    assert found.radius == pytest.approx(radius, rel=1e-12, abs=0)
    # In the brute force the pair at the radius may be off by its rounding, here not.
    inside = expected < radius * (1 - 1e-13) if as_published else expected <= radius * (1 + 1e-13)
    np.testing.assert_array_equal(found.scores, inside.sum(axis=1))
    if name != "with copies":
        assert found.scores.sum() == (int(share) if as_published else np.ceil(share))


@pytest.mark.parametrize("memory", MEMORY)
def test_a_radius_may_be_given(memory):
    expected = brute("float64")
    for radius in (0, 8.0, 1e3):
        found = density_attack(*CASES["float64"], radius=radius, memory=memory)
        assert found.radius == radius
        np.testing.assert_array_equal(found.scores, (expected <= radius).sum(axis=1))


def test_many_distances_are_not_kept_and_give_the_same(monkeypatch):
    calls = []
    literal = attacks._squares
    monkeypatch.setattr(attacks, "_squares", lambda *a: calls.append(len(a[0]) * len(a[1])) or literal(*a))
    kept, anew = (density_attack(*CASES["a plane"], quantile=0.02, memory=memory) for memory in (2**29, 2**17))
    np.testing.assert_array_equal(kept.scores, anew.scores)
    assert kept.radius == anew.radius
    assert sum(calls) // 120_000 - 1 in (2, 3)
    assert max(calls[1:]) < 2**17 / 8


def test_copies_are_at_exactly_zero():
    rng = np.random.default_rng(1)
    candidates = (200 + 20 * rng.normal(size=(60, 4096))).astype("f")
    synthetic = np.concatenate([candidates[:20], candidates[:20], rng.permuted(candidates, axis=1)])
    found = pairwise_attack(candidates, synthetic)
    assert (found.minimum[:20] == 0).all()
    assert (found.scores[:20] == 0).all()
    assert found.ratio[20:].min() > 0.5
    np.testing.assert_array_equal(found.nearest[:20], np.arange(20))
    for options in ({"radius": 0}, {"quantile": 40 / 6000}, {"quantile": 30 / 6000}):
        result = density_attack(candidates, synthetic, **options)
        assert result.radius == 0
        np.testing.assert_array_equal(result.scores, np.repeat([2, 0], [20, 40]))
    # The published rule counts below the radius: among tied pairs that is none of them, one index on it is all.
    assert density_attack(candidates, synthetic, quantile=30 / 6000, as_published=True).scores.sum() == 0
    assert density_attack(candidates, synthetic, quantile=40 / 6000, as_published=True).scores.sum() == 40


def test_a_median_of_zero_is_a_ratio_of_zero():
    candidates, synthetic = np.eye(3), np.vstack([np.tile(np.eye(3)[0], (5, 1)), np.eye(3)[1:]])
    found = pairwise_attack(candidates, synthetic)
    assert found.minimum.tolist() == found.ratio.tolist() == [0, 0, 0]
    assert found.median[0] < 1e-7
    np.testing.assert_allclose(found.median[1:], 2**0.5)
    same = pairwise_attack(np.ones((4, 6)), np.ones((5, 6)))
    assert same.ratio.tolist() == [0] * 4
    assert density_attack(np.ones((4, 6)), np.ones((5, 6)), quantile=0.3).scores.tolist() == [5] * 4
    # All equally far, which rounding must not turn around.
    assert pairwise_attack(np.zeros((1, 64)), np.eye(64)[:9] / 3).ratio.tolist() == [1]


def test_the_ratio_knows_no_unit_and_neither_attack_an_order():
    candidates, synthetic = CASES["float64"]
    rng = np.random.default_rng(2)
    first, second = rng.permutation(90), rng.permutation(150)
    for attack, options in ((pairwise_attack, {}), (density_attack, {"quantile": 0.02})):
        expected = attack(candidates, synthetic, **options).scores
        shuffled = attack(candidates[first], synthetic[second], **options).scores
        np.testing.assert_allclose(shuffled, expected[first], rtol=1e-12)
        moved = attack(7 * candidates + 30, 7 * synthetic + 30, **options).scores
        np.testing.assert_allclose(moved, expected, rtol=1e-9)


def test_scores_and_their_auroc_are_those_of_a_direct_computation():
    candidates, synthetic = CASES["a plane"]
    expected = cdist(candidates, synthetic)
    labels = np.arange(300) < 140
    ratio = expected.min(axis=1) / np.median(expected, axis=1)
    count = (expected < np.sort(expected, axis=None)[1200]).sum(axis=1)  # tied: midranks
    for found, scores in (
        (pairwise_attack(candidates, synthetic), -ratio),
        (density_attack(candidates, synthetic, quantile=0.01, as_published=True), count),
    ):
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
        area = roc.auroc(labels, found.scores)
        assert area == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        evaluated = membership_attack(
            member=found.scores[:140], nonmember=found.scores[140:], rng=np.random.default_rng(0), draws=50
        )
        assert evaluated.auroc.value == pytest.approx(area, abs=1e-12)


@pytest.fixture(scope="module")
def leaks():
    """Images of four smooth patterns, two of a patient: train, held out, and synthetic sets that leak."""
    rng = np.random.default_rng(3)
    patterns = np.cos(np.arange(1, 5)[:, None, None] * np.linspace(0, 3, 16)[:, None] * np.linspace(0.2, 1, 16))

    def images(n):
        mixed = np.repeat(rng.normal(size=(n // 2, 4)), 2, axis=0) + 0.5 * rng.normal(size=(n, 4))
        return np.tensordot(mixed, patterns, 1) + 0.01 * rng.normal(size=(n, 16, 16))

    train, heldout, generated, disjoint = (images(n) for n in (400, 400, 400, 400))
    sets = controls(generated, train=train, disjoint=disjoint, rng=rng)
    noisy = np.concatenate([train, train]) + 0.02 * rng.normal(size=(800, 16, 16))
    return (
        train,
        heldout,
        {name: injected.images for name, injected in sets.items()} | {"noisy memorising generator": noisy},
    )


def evaluated(leaks, name, **options):
    """AUROC of the pairwise attack, or of the density attack where it is given a quantile."""
    train, heldout, sets = leaks
    attack = density_attack if options else pairwise_attack
    scores = attack(np.concatenate([train, heldout]), sets[name], **options).scores
    return roc.auroc(np.arange(len(scores)) < len(train), scores)


@pytest.mark.parametrize("name", ["memorising generator", "noisy memorising generator"])
def test_a_memorising_generator_is_found_unless_the_radius_is_the_published_one(leaks, name):
    train, heldout, sets = leaks
    copies = len(sets[name])
    pairs = (len(train) + len(heldout)) * copies
    assert evaluated(leaks, name) >= 0.99
    assert evaluated(leaks, name, quantile=copies / pairs) >= 0.95
    assert evaluated(leaks, name, quantile=0.01) < 0.75


def test_the_dose_response_rises(leaks):
    names = ("negative control", "leak_5", "leak_10", "leak_30", "memorising generator")
    pairwise = [evaluated(leaks, name) for name in names]
    density = [
        evaluated(leaks, name, quantile=n / 320_000) for name, n in zip(names, (20, 20, 40, 120, 400), strict=True)
    ]
    for found in (pairwise, density):
        assert (np.diff(found) > 0).all()
        assert found[0] == pytest.approx(0.5, abs=0.08)
        assert found[3] >= 0.6
        assert found[4] >= 0.99


def test_sets_of_disjoint_patients_are_at_chance_on_average():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        candidates, synthetic = rng.normal(size=(120, 30)), rng.normal(size=(80, 30))
        labels = np.arange(120) < 60
        scores = (pairwise_attack(candidates, synthetic), density_attack(candidates, synthetic, quantile=0.01))
        found.append([roc.auroc(labels, result.scores) for result in scores])
    assert np.mean(found, axis=0) == pytest.approx(0.5, abs=0.03)


def test_tensors_and_caller_precision_make_no_difference():
    candidates, synthetic = CASES["float32 far from 0"]
    expected = density_attack(candidates, synthetic, quantile=0.02)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = density_attack(torch.from_numpy(candidates), torch.from_numpy(synthetic), quantile=0.02)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    ("candidates", "synthetic", "options", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), {}, "candidates has 4 values a row and synthetic has 5"),
        (np.ones((3, 4)), np.ones((1, 4)), {}, "one synthetic image is its own median"),
        (np.array([[0, np.nan]]), np.ones((3, 2)), {}, "candidates holds NaN"),
        (np.ones((3, 2)), np.array([[0, np.inf], [0, 1]]), {}, "synthetic holds NaN or infinite values in 1 rows"),
        (np.ones((3, 2)), np.ones((0, 2)), {}, "synthetic has shape"),
        (np.ones((3, 4)), np.ones((3, 5)), {"quantile": 0.1}, "candidates has 4 values a row and synthetic has 5"),
        (np.ones((3, 2)), np.ones((3, 2)), {"quantile": 0.1}, "less than one pair: give more synthetic images"),
        (np.ones((3, 2)), np.ones((3, 2)), {"quantile": 1.0}, "quantile is 1.0: give a share of the pairs in"),
        (np.ones((3, 2)), np.ones((3, 2)), {"quantile": 0.1, "radius": 1}, "either quantile= or radius="),
        (np.ones((3, 2)), np.ones((3, 2)), {"quantile": None}, "either quantile= or radius="),
        (np.ones((3, 2)), np.ones((3, 2)), {"radius": -1.0}, "radius is -1.0"),
        (np.ones((3, 2)), np.ones((3, 2)), {"radius": np.nan}, "radius is nan"),
    ],
)
def test_bad_input_is_named(candidates, synthetic, options, message):
    with pytest.raises(ValueError, match=message):
        (density_attack if options else pairwise_attack)(candidates, synthetic, **options)


def test_images_of_another_shape_or_range_are_refused():
    rng = np.random.default_rng(0)
    for attack in (pairwise_attack, lambda a, b: density_attack(a, b, quantile=0.1)):
        with pytest.raises(ValueError, match=r"candidates are \(4, 4\) each and synthetic \(2, 8\)"):
            attack(rng.random((5, 4, 4)), rng.random((6, 2, 8)))
        with pytest.raises(ValueError, match="one value range and dtype"):
            attack(rng.integers(0, 255, (5, 4), dtype=np.uint8), rng.random((6, 4)))


def test_the_median_of_copies_is_exactly_zero():
    row = np.random.default_rng(0).random((1, 7))
    found = pairwise_attack(row, np.repeat(row, 5, axis=0))
    assert (found.minimum[0], found.median[0], found.ratio[0]) == (0, 0, 0)
