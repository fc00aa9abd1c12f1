"""The audit's copy test: injected truth, false alarms, invariances, and the slow literal."""

import numpy as np
import pytest
import torch

from lib.metrics.privacy.controls.near_copies import altered
from lib.metrics.privacy.copying.copy_test import band_pass, copy_test, match, population_pvalue, rank_by_ratio
from lib.metrics.privacy.copying.copy_test_power import (
    injected_matches,
    injection_power,
)
from tests.metrics.privacy.copying.toy import SIDE


def test_match_is_the_literal_search(world):
    images, groups, _, synthetic = world
    real, asked = band_pass(images).numpy(), band_pass(synthetic[:7]).numpy()
    found = match(torch.tensor(asked), torch.tensor(real), groups=groups, memory=2**16)
    for i, query in enumerate(asked):
        alike = [[float((query * way).sum()) for way in (r, r[:, ::-1], r[::-1], r[::-1, ::-1])] for r in real]
        best = np.max(alike, axis=1)
        j = int(best.argmax())
        others = best[groups != groups[j]].max()
        assert (found.nearest[i], found.mirror[i]) == (j, int(np.argmax(alike[j])))
        assert found.similarity[i] == pytest.approx(best[j], abs=1e-5)
        assert found.ratio[i] == pytest.approx(np.sqrt((1 - best[j]) / (1 - others)), abs=1e-4)


def test_own_patients_are_out_of_the_question(world):
    images, groups, *_ = world
    real = band_pass(images)
    found = match(real, real, groups=groups, own=groups)
    assert (groups[found.nearest] != groups).all()
    assert found.similarity.max() < 0.9999


def test_detail_ignores_brightness_and_contrast_and_follows_mirrors(world):
    images = world[0][:20].astype(np.float32)
    plain = band_pass(images)
    assert torch.allclose(band_pass(0.3 * images + 50), plain, atol=1e-4)
    assert torch.allclose(band_pass(images[:, :, ::-1].copy()), plain.flip(2), atol=1e-4)
    assert torch.allclose(plain.flatten(1).norm(dim=1), torch.ones(20), atol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "mirrored", "contrast"])
def test_such_copies_are_named_and_mirrored_back(world, kind):
    images, groups, *_ = world
    copies = altered(images[:30], kind, rng=np.random.default_rng(0))
    found = match(band_pass(copies), band_pass(images), groups=groups)
    np.testing.assert_array_equal(found.nearest, np.arange(30))
    assert np.median(found.ratio) < 0.25


def test_injected_copies_are_flagged_and_ranked_first(matched, world):
    real, base, test = matched
    images, groups, member, _ = world
    source = np.flatnonzero(member)
    copies = match(band_pass(altered(images[source], "mirrored", rng=np.random.default_rng(0))), real, groups=groups)
    for share, first in ((0.05, 0.85), (0.2, 0.95)):
        (found,) = injection_power(
            base, copies, source, shares=[share], repeats=10, level=0.05, rng=np.random.default_rng(0), **test
        )
        assert found.flagged == 10
        assert found.first.mean() >= first
        assert found.right.mean() >= 0.98
    assert copy_test(base, rng=np.random.default_rng(0), **test).pvalue > 0.05


def test_a_single_copy_is_detected_by_the_tail(matched, world):
    real, base, test = matched
    exact = match(real[:1], real, groups=world[1])
    injected, at, _ = injected_matches(base, exact, 1, rng=np.random.default_rng(0))
    found = copy_test(injected, rng=np.random.default_rng(0), **test)
    assert found.pvalue <= 0.05
    assert found.pair_pvalues.argmin() == at[0]
    assert rank_by_ratio(injected, test["member"])[0] == at[0]


def test_copies_of_held_out_images_are_flagged_as_such(matched, world):
    """They are patients as well; and they are not what other matches are compared with."""
    real, base, test = matched
    heldout = np.flatnonzero(~world[2])
    copies = match(real[heldout], real, groups=world[1])
    injected, at, _ = injected_matches(base, copies, 40, rng=np.random.default_rng(0))
    found = copy_test(injected, rng=np.random.default_rng(0), **test)
    assert found.tail_pvalue <= 0.01
    assert found.count_pvalue > 0.5
    assert (found.pair_pvalues[at] <= 0.05).all()
    both, at, which = injected_matches(base, match(real, real, groups=world[1]), 40, rng=np.random.default_rng(0))
    found = copy_test(both, rng=np.random.default_rng(0), **test)
    assert (found.pair_pvalues[at] <= 0.05).all()


def test_false_alarms_stay_at_the_stated_level():
    """Forty worlds that share nothing, each with patients of several images: at most the level, but for counting."""
    flagged = 0
    for seed in range(40):
        of = np.random.default_rng(seed)
        people = np.repeat(np.arange(60), of.integers(1, 5, 60))
        common = of.standard_normal((60, SIDE, SIDE))[people]
        real = band_pass(common + of.standard_normal(common.shape))
        member = np.isin(people, of.permutation(60)[:40])
        test = {"member": member, "groups": people, "permutations": 99, "rng": of}
        test["null"] = match(real, real, groups=people, own=people).ratio
        found = match(band_pass(of.standard_normal((80, SIDE, SIDE))), real, groups=people)
        flagged += copy_test(found, **test).pvalue <= 0.05
    assert flagged <= 5  # P(more) = .014 at exactly 5 %


def test_permutation_keeps_patients_together():
    """One patient, held out or not, who attracts every match: no evidence, however many the matches."""
    of = np.random.default_rng(0)
    groups = np.concatenate([np.zeros(20, int), np.arange(1, 21)])
    member = (groups == 0) | (groups > 10)
    real = band_pass(of.standard_normal((40, SIDE, SIDE)))
    near = real[:20] + 0.8 * band_pass(of.standard_normal((20, SIDE, SIDE)))
    found = match(near / near.flatten(1).norm(dim=1)[:, None, None], real, groups=groups)
    assert (found.nearest < 20).all()
    result = copy_test(found, member=member, groups=groups, null=np.linspace(0.1, 1, 40), rng=of)
    assert result.count_pvalue > 0.3


def test_a_held_out_set_of_another_population_is_told(world):
    images, groups, member, _ = world
    real = band_pass(images)
    near = match(real, real, groups=groups, own=groups).nearest
    options = {"groups": groups, "permutations": 199, "rng": np.random.default_rng(0)}
    assert population_pvalue(near, member=member, **options) > 0.01
    turned = images.copy()
    turned[~member] = np.clip(
        0.3 * turned[~member] + altered(images, "mirrored", rng=np.random.default_rng(0))[::-1][~member] * 0.7, 0, 255
    )
    stripes = np.where(np.arange(SIDE) % 4 < 2, 60, 0)
    turned[~member] = np.clip(turned[~member].astype(int) + stripes, 0, 255)
    shifted = band_pass(turned)
    near = match(shifted, shifted, groups=groups, own=groups).nearest
    assert population_pvalue(near, member=member, **options) <= 0.01


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ({"member": np.ones(8, bool)}, "of one side only"),
        ({"groups": np.arange(8) // 8}, "images of 2 patients at least are needed, and these are of 1"),
        ({"groups": np.arange(8) % 7}, "both training and held out"),
        ({"null": np.ones(4)}, "4 null matches are too few"),
    ],
)
def test_what_the_test_refuses(spoil, sentence):
    real = band_pass(np.random.default_rng(0).standard_normal((8, SIDE, SIDE)))
    found = match(real, real, groups=np.arange(8))
    good = {"member": np.arange(8) < 4, "groups": np.arange(8), "null": np.linspace(0.5, 1, 16)}
    with pytest.raises(ValueError, match=sentence):
        copy_test(found, **(good | spoil), rng=np.random.default_rng(0))


def test_detail_refuses():
    with pytest.raises(ValueError, match="hold a constant image"):
        band_pass(np.zeros((2, 9, 9)))
    with pytest.raises(ValueError, match="give 8 a side at least"):
        band_pass(np.random.default_rng(0).standard_normal((2, 7, 9)))
