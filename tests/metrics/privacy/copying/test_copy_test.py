"""The audit's copy test: injected truth, false alarms, invariances, and the slow literal."""

import numpy as np
import pandas as pd
import pytest
import torch

from lib.audit.copies import (
    GIVEN,
    NEGATIVE_CONTROL,
    PAIR_COLUMNS,
    POSITIVE_CONTROL,
    audit,
    control_rows,
    disguise_rows,
    pair_pictures,
    pair_rows,
)
from lib.cohorts.phantoms import mass
from lib.metrics.privacy.controls.near_copies import KINDS, altered
from lib.metrics.privacy.copying.copy_test import aligned, band_pass, copy_test, match, population_pvalue, rank_by_ratio
from lib.metrics.privacy.copying.copy_test_power import (
    false_alarms,
    injected_as,
    injected_matches,
    injection_power,
    null_splits,
    pvalue_interval,
    smallest_seen,
)
from lib.statistics.proportions import proportion

SIDE = 16


@pytest.fixture(scope="module")
def world():
    """Drawn masses of 90 patients, and of as many others as a synthetic set that copies nobody."""
    real, other = (mass.draw(patients=90, image_size=32, rng=np.random.default_rng(seed)) for seed in (0, 1))
    real, other = real.resized(SIDE), other.resized(SIDE)
    order = np.argsort(real.split > 0, kind="stable")
    real = real[order]
    return real.images[:], real.patient, real.split == 0, other.images[:]


@pytest.fixture(scope="module")
def matched(world):
    images, groups, member, synthetic = world
    real = band_pass(images)
    test = {"member": member, "groups": groups, "permutations": 199}
    test["null"] = match(real, real, groups=groups, own=groups).ratio
    return real, match(band_pass(synthetic), real, groups=groups), test


def rng(seed=0):
    return np.random.default_rng(seed)


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
    copies = altered(images[:30], kind, rng=rng())
    found = match(band_pass(copies), band_pass(images), groups=groups)
    np.testing.assert_array_equal(found.nearest, np.arange(30))
    assert np.median(found.ratio) < 0.25
    back = np.stack([aligned(*pair) for pair in zip(copies, images, found.mirror, strict=False)])
    if kind != "contrast":
        np.testing.assert_allclose(back, images[:30], atol=0.51)


def test_injected_copies_are_flagged_and_ranked_first(matched, world):
    real, base, test = matched
    images, groups, member, _ = world
    source = np.flatnonzero(member)
    copies = match(band_pass(altered(images[source], "mirrored", rng=rng())), real, groups=groups)
    for share, first in ((0.05, 0.85), (0.2, 0.95)):
        (found,) = injection_power(base, copies, source, shares=[share], repeats=10, level=0.05, rng=rng(), **test)
        assert found.flagged == 10
        assert found.first.mean() >= first
        assert found.right.mean() >= 0.98
    assert copy_test(base, rng=rng(), **test).pvalue > 0.05


def test_rows_may_be_injected_after_matching(matched, world):
    real, base, _ = matched
    images, groups, member, synthetic = world
    copies = match(real[member][:20], real, groups=groups)
    injected, at, which = injected_matches(base, copies, 15, rng=rng())
    offered = band_pass(synthetic)
    offered[at] = real[member][which]
    again = match(offered, real, groups=groups)
    np.testing.assert_array_equal(injected.nearest, again.nearest)
    np.testing.assert_allclose(injected.ratio, again.ratio, atol=1e-3)


def test_a_single_copy_is_detected_by_the_tail(matched, world):
    real, base, test = matched
    exact = match(real[:1], real, groups=world[1])
    injected, at, _ = injected_matches(base, exact, 1, rng=rng())
    found = copy_test(injected, rng=rng(), **test)
    assert found.pvalue <= 0.05
    assert found.pair_pvalues.argmin() == at[0]
    assert rank_by_ratio(injected, test["member"])[0] == at[0]


def test_copies_of_held_out_images_are_no_leak(matched, world):
    real, base, test = matched
    heldout = np.flatnonzero(~world[2])
    copies = match(real[heldout], real, groups=world[1])
    injected, _, _ = injected_matches(base, copies, 40, rng=rng())
    found = copy_test(injected, rng=rng(), **test)
    assert found.pvalue > 0.5
    assert (found.pair_pvalues[~test["member"][injected.nearest]] == 1).all()


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


def test_false_alarms_of_null_splits(world):
    images, groups, *_ = world
    options = {"splits": 60, "level": 0.05, "permutations": 99}
    assert false_alarms(band_pass(images), groups, **options, rng=rng()) <= 8
    found, member, code, null = next(null_splits(band_pass(images), groups, splits=1, rng=rng()))
    assert len(member) == len(code) == len(null) == len(found.reached)
    assert not set(code[member]) & set(code[~member])


def test_permutation_keeps_patients_together():
    """One patient, held out or not, who attracts every match: no evidence, however many the matches."""
    of = rng()
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
    options = {"groups": groups, "permutations": 199, "rng": rng()}
    assert population_pvalue(near, member=member, **options) > 0.01
    turned = images.copy()
    turned[~member] = np.clip(
        0.3 * turned[~member] + altered(images, "mirrored", rng=rng())[::-1][~member] * 0.7, 0, 255
    )
    stripes = np.where(np.arange(SIDE) % 4 < 2, 60, 0)
    turned[~member] = np.clip(turned[~member].astype(int) + stripes, 0, 255)
    shifted = band_pass(turned)
    near = match(shifted, shifted, groups=groups, own=groups).nearest
    assert population_pvalue(near, member=member, **options) <= 0.01


def test_the_whole_audit_and_its_tables(world):
    images, groups, member, synthetic = world
    of = {"train": images[member], "heldout": images[~member], "synthetic": synthetic}
    who = {"train": groups[member], "heldout": groups[~member]}
    found = audit(of, who, shares=(0.05, 0.2, 1), permutations=99, draws=50, rng=rng())
    assert list(found.sets) == [GIVEN, "5 % injected", "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL]
    rows = {row["set"]: row for row in control_rows(found, level=0.05)}
    assert [rows[name]["flagged"] for name in (GIVEN, "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL)] == [
        "no",
        "yes",
        "yes",
        "no",
    ]
    assert rows[POSITIVE_CONTROL]["AUROC"] > 0.95
    assert rows[POSITIVE_CONTROL]["source named"] > 0.95
    keys = {"train": np.arange(member.sum()).astype(str), "synthetic": np.arange(len(synthetic)).astype(str)}
    pairs = pair_rows(found, **keys, most=5)
    assert [row["rank"] for row in pairs] == [1, 2, 3, 4, 5]
    assert tuple(pairs[0]) == PAIR_COLUMNS
    shown = pair_pictures(found, GIVEN, synthetic, of["train"], most=5)
    assert len({title for title, _ in shown}) == 5
    for row, (title, pictures) in zip(pairs, shown, strict=True):
        assert title.startswith(f"{GIVEN}, rank {row['rank']}: ratio {row['ratio']:.2f}")
        np.testing.assert_array_equal(pictures[0], of["train"][int(row["training image"])])
    rows, copies = disguise_rows(found, of["train"], np.arange(20), share=0.2, repeats=2, level=0.05)
    assert [row["disguise"] for row in rows] == list(copies) == list(KINDS)
    assert rows[0]["20 % flagged"] == 1
    assert rows[0]["median ratio"] < 1e-3


def test_ten_images_of_each_set_are_audited():
    of = rng()
    images = {
        name: of.integers(0, 256, (10, SIDE, SIDE)).astype(np.uint8) for name in ("train", "heldout", "synthetic")
    }
    groups = {"train": np.arange(10), "heldout": np.arange(10, 20)}
    found = audit(images, groups, shares=(0.01, 0.05, 0.2, 1), permutations=99, draws=50, rng=of)
    assert found.sets[GIVEN].test.pvalue > 0.05
    assert found.sets[POSITIVE_CONTROL].test.pvalue <= 0.05
    assert found.by_share == {
        0.01: "10 % injected",
        0.05: "10 % injected",
        0.2: "20 % injected",
        1: POSITIVE_CONTROL,
    }
    assert list(found.sets) == [GIVEN, "10 % injected", "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL]
    rows, _ = disguise_rows(found, images["train"], np.arange(10), share=0.05, repeats=2, level=0.05)
    assert {"10 % flagged", "10 % ranked first"} <= set(rows[0])


def test_held_out_images_offered_as_synthetic_leave_no_pair_to_show():
    of = rng()
    images = {name: of.integers(0, 256, (12, SIDE, SIDE)).astype(np.uint8) for name in ("train", "heldout")}
    images["synthetic"] = images["heldout"]
    groups = {"train": np.arange(12), "heldout": np.arange(12, 24)}
    found = audit(images, groups, shares=(0.05, 1), permutations=99, draws=50, rng=of)
    rows = pair_rows(found, train=np.arange(12), synthetic=np.arange(12), most=20)
    assert rows == []
    assert pd.DataFrame(rows, columns=PAIR_COLUMNS).shape == (0, 7)
    (title, pictures), *more = pair_pictures(found, GIVEN, images["synthetic"], images["train"], most=3)
    assert (title, more) == ("as given: no synthetic image resembles a training image most", [])
    assert pictures.shape == (3, SIDE, SIDE)
    assert np.isnan(pictures).all()
    assert (
        len(
            pair_pictures(
                found,
                POSITIVE_CONTROL,
                found.sets[POSITIVE_CONTROL].injected.images,
                images["train"],
                most=3,
            )
        )
        == 3
    )
    # Copies that resemble held-out images most are nowhere among the closest pairs: 0, not the mean of nothing.
    base = found.sets[GIVEN].matches
    for copies, first in ((base, 0), (found.sets[POSITIVE_CONTROL].matches, 1)):
        options = {"shares": [0.25], "repeats": 2, "level": 0.05}
        (power,) = injection_power(base, copies, np.arange(12), **options, **found.test)
        assert power.first.tolist() == [first] * 2


def test_smallest_seen_and_proportion(matched, world):
    real, base, test = matched
    source = np.flatnonzero(world[2])
    copies = match(real[source], real, groups=world[1])
    options = {"shares": [0, 0.5, 1], "repeats": 5, "level": 0.05, "rng": rng()}
    power = injection_power(base, copies, source, **options, **test)
    assert smallest_seen(power) == 1 / len(base.nearest)  # a share of 0 injects one
    assert smallest_seen([p._replace(flagged=0) for p in power]) is None
    assert smallest_seen([power[0]._replace(flagged=5), power[1]._replace(flagged=2), power[2]]) == 1
    assert smallest_seen([power[0]._replace(share=0.05, copies=1, images=10), power[2]]) == 0.1
    assert [injected_as(share, 738) for share in (0.01, 0.05, 1)] == [(7, "1 %"), (37, "5 %"), (738, "100 %")]
    assert [injected_as(share, 10) for share in (0.01, 0.05, 0.2)] == [(1, "10 %"), (1, "10 %"), (2, "20 %")]
    assert proportion(0, 60)[2] == pytest.approx(1 - 0.025 ** (1 / 60))


def test_the_interval_of_a_pvalue_says_where_it_comes_from(matched, world):
    real, base, test = matched
    counted = copy_test(base, rng=rng(), **test)._replace(pvalue=0.5, count_pvalue=0.4, tail_pvalue=0.3)
    value, low, high, over = pvalue_interval(counted, 199)  # 80 of 200, over the count test's part of the false alarms
    assert (value, over) == (0.5, "199 permutations")
    np.testing.assert_allclose((low, high), np.array(proportion(80, 200)[1:]) / 0.8, rtol=1e-12)
    fitted = counted._replace(pvalue=0.01, tail_pvalue=0.002)
    assert fitted.is_by_tail
    assert pvalue_interval(fitted, 199)[:3] == (0.01, 0.01, 0.01)
    assert pvalue_interval(fitted, 199)[3].startswith("the tail test")


def test_altered_keeps_shape_and_never_erases():
    faint = np.full((4, SIDE, SIDE), 3, np.uint8)
    faint[:, 0, 0] = 4
    for kind in KINDS:
        changed = altered(faint, kind, rng=rng())
        assert (changed.dtype, changed.shape) == (np.uint8, faint.shape)
        assert (changed.max(axis=(1, 2)) > changed.min(axis=(1, 2))).all()
    with pytest.raises(ValueError, match="unknown kind 'upside down': choose one of exact, mirrored"):
        altered(faint, "upside down", rng=rng())
    with pytest.raises(ValueError, match="give uint8"):
        altered(faint.astype(float), "exact", rng=rng())


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
    real = band_pass(rng().standard_normal((8, SIDE, SIDE)))
    found = match(real, real, groups=np.arange(8))
    good = {"member": np.arange(8) < 4, "groups": np.arange(8), "null": np.linspace(0.5, 1, 16)}
    with pytest.raises(ValueError, match=sentence):
        copy_test(found, **(good | spoil), rng=rng())


def test_detail_refuses():
    with pytest.raises(ValueError, match="hold a constant image"):
        band_pass(np.zeros((2, 9, 9)))
    with pytest.raises(ValueError, match="give 8 a side at least"):
        band_pass(rng().standard_normal((2, 7, 9)))
