import numpy as np
import pytest

from lib.metrics.privacy.controls.contamination import inject_copies
from lib.metrics.privacy.membership import membership_attack, precision_curve
from lib.statistics import roc
from tests.metrics.privacy.toy import attacked


def test_membership_attack_takes_any_score():
    rng = np.random.default_rng(3)
    member, nonmember = rng.normal(size=200) + 1, rng.normal(size=150)
    result = membership_attack(member=member, nonmember=nonmember, rng=rng, top=30, fpr=0.1, draws=200)
    labels, scores = np.repeat([1, 0], [200, 150]), np.concatenate([member, nonmember])
    assert result.auroc.value == pytest.approx(roc.auroc(labels, scores), abs=1e-12)
    assert result.tpr.value == pytest.approx(roc.tpr_at_fpr(labels, scores, fpr=0.1), abs=1e-12)
    assert result.precision == pytest.approx(roc.precision_at(labels, scores, k=30))
    assert result.gap.value == pytest.approx(member.mean() - nonmember.mean(), abs=1e-12)
    assert result.base_rate == pytest.approx(200 / 350)
    assert result.gap.low < 1 < result.gap.high


def test_patients_of_both_sides_share_one_numbering():
    rng = np.random.default_rng(4)
    groups = {"member_groups": ["a", "a", "b"] * 10, "nonmember_groups": ["b", "c"] * 9}
    options = {"rng": rng, "top": 5, "draws": 50}
    result = membership_attack(member=rng.normal(size=30), nonmember=rng.normal(size=18), **groups, **options)
    assert result.auroc.units == 3
    groups["nonmember_groups"] = None
    result = membership_attack(member=rng.normal(size=30), nonmember=rng.normal(size=18), **groups, **options)
    assert result.auroc.units == 20


def test_bad_input_is_named(sets):
    rng = np.random.default_rng(0)
    images, options = sets["synthetic"], {"source": sets["train"], "rng": rng}
    for call, message in (
        (lambda: attacked(sets, images, similarity="ssim"), "choose one of distance, correlation"),
        (lambda: attacked(sets, images[:, :5]), "train has 144 values a row and synthetic has 60"),
        (lambda: attacked(sets, images, top=999), "top is 999"),
        (lambda: attacked(sets, images.reshape(200, -1), flips=True), "flips need images"),
        (lambda: attacked(sets, np.zeros_like(images), similarity="correlation"), "every synthetic image is constant"),
        (lambda: attacked(sets | {"train": 0 * images}, images, similarity="correlation"), "train holds a constant"),
        (lambda: inject_copies(images, share=0.001, **options), "injects nothing"),
        (lambda: inject_copies(images, share=1.5, **options), "injects nothing"),
        (lambda: inject_copies(images / 255, share=0.5, **options), "one size, dtype and value range"),
        (lambda: membership_attack(member=[[1.0]], nonmember=[1.0], rng=rng), "one score per image"),
        (lambda: membership_attack(member=[], nonmember=[1.0], rng=rng), "not empty"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_an_attack_has_a_pvalue_where_it_is_asked_for(sets):
    options = {"rng": np.random.default_rng(6), "draws": 50}
    found = {}
    for name in ("negative control", "memorising generator"):
        result = attacked(sets, sets["controls"][name].images)
        assert result.attack.pvalue is None
        groups = {"member_groups": sets["groups"]["train_groups"], "nonmember_groups": sets["groups"]["heldout_groups"]}
        sides = {"member": result.member, "nonmember": result.nonmember}
        found[name] = membership_attack(**sides, **groups, **options, permutations=499).pvalue
    assert found["memorising generator"] == 1 / 500
    assert found["negative control"] > 0.01


def published_curve(ordered):
    """Precision against each origin and shares of the first k, k = 5 … n − 2, by the words of the paper."""
    curves = {"validation": [], "test": [], "shares": []}
    for k in range(5, len(ordered) - 1):
        top = list(ordered[:k])
        counts = {name: top.count(name) for name in ("train", "validation", "test")}
        curves["shares"].append([counts[name] / k for name in ("train", "validation", "test")])
        for name in ("validation", "test"):
            both = counts["train"] + counts[name]
            curves[name].append(counts["train"] / both if both else np.nan)
    return {name: np.array(values) for name, values in curves.items()}


def test_the_precision_curve_is_the_literal_one():
    rng = np.random.default_rng(7)
    origin = np.repeat(["train", "validation", "test"], [334, 333, 333])
    scores = rng.normal(size=1000) + (origin == "validation") - (origin == "test")
    expected = published_curve(origin[np.argsort(-scores)])
    found = precision_curve(scores, origin)
    np.testing.assert_array_equal(found.k, np.arange(5, 999))
    for name in ("validation", "test"):
        np.testing.assert_allclose(found.precision[name], expected[name], atol=1e-12)
    shares = [found.shares[name] for name in ("train", "validation", "test")]
    np.testing.assert_allclose(np.transpose(shares), expected["shares"], atol=1e-12)
    shifted = precision_curve(scores, origin, as_published=True)
    assert shifted.k[333] == 333
    assert found.k[333] == 338
    np.testing.assert_array_equal(shifted.precision["test"], found.precision["test"])


def test_tied_scores_have_the_expected_precision():
    rng = np.random.default_rng(8)
    origin = np.repeat([1, 0], [30, 20])
    scores = rng.integers(0, 4, 50)
    found = precision_curve(scores, origin, member=1)
    broken = [origin[np.lexsort([rng.random(50), -scores])] for _ in range(4000)]
    share = np.cumsum(broken, axis=1).mean(axis=0)[4:48] / np.arange(5, 49)
    np.testing.assert_allclose(found.shares[1], share, atol=0.02)
    np.testing.assert_allclose(found.precision[0], found.shares[1])
    flat = precision_curve(np.ones(50), origin, member=1)
    np.testing.assert_allclose(flat.precision[0], 0.6)
    never = precision_curve(np.arange(50), np.repeat([1, 2, 0], [20, 20, 10]), member=1)
    assert np.isnan(never.precision[2][:6]).all()


@pytest.mark.parametrize(
    ("scores", "origin", "options", "message"),
    [
        ([1, 2, 3], ["train", "test"], {}, "give one origin per image"),
        ([1, 2, 3], ["validation", "test", "test"], {}, "'train' and another at least"),
        ([1, 2, 3], ["train"] * 3, {}, "'train' and another at least"),
        ([1, 2, 3, 4], ["train", "test"] * 2, {}, "first is 5 for 4 images"),
        ([1, np.nan], ["train", "test"], {}, "scores holds 1 NaN"),
    ],
)
def test_bad_origins_are_named(scores, origin, options, message):
    with pytest.raises(ValueError, match=message):
        precision_curve(scores, origin, **options)


def test_a_top_of_more_than_the_images_is_refused_by_its_own_name():
    with pytest.raises(ValueError, match="top is 20 of 4 images"):
        membership_attack(member=[1.0, 2.0], nonmember=[0.0, 1.0], rng=np.random.default_rng(0))
