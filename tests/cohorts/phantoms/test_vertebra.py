"""Phantom vertebral units: what is known of them is true of their pixels, at every size and chunk."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lib.cohorts.phantoms import vertebra
from lib.cohorts.phantoms import vertebra_rendering as sagittal


def draw(seed=0, **arguments):
    return vertebra.draw(**({"patients": 6, "image_size": 32} | arguments), rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def many():
    return draw(patients=40)


def flat(images):
    return images.reshape(len(images), -1).astype(np.float64)


def box_average(images, size):
    high, wide = images.shape[-2] // size[0], images.shape[-1] // size[1]
    blocks = images.reshape(*images.shape[:2], size[0], high, size[1], wide)
    return blocks.mean((3, 5))


def alike(a, b):
    """Mean correlation of images a[i] with b[i]."""
    a, b = (x - x.mean(1, keepdims=True) for x in (flat(a), flat(b)))
    return np.mean((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def test_what_is_known_of_each_unit():
    cohort = draw(patients=10, units=(2, 5, 2))
    assert cohort.images.shape == (90, 9, 32, 32)
    assert cohort.images.dtype == np.uint8
    assert (cohort.label_names, cohort.value_range) == (("cervical", "thoracic", "lumbar"), (0, 255))
    np.testing.assert_array_equal(cohort.region, np.tile([0, 0, 1, 1, 1, 1, 1, 2, 2], 10))
    np.testing.assert_array_equal(cohort.labels, cohort.region)
    np.testing.assert_array_equal(cohort.patient, np.repeat(np.arange(10), 9))
    names = [name.removeprefix("patient1_") for name in cohort.source_name[9:18]]
    places = [vertebra.LEVELS[region].index(name) for region, name in zip(cohort.region[9:18], names, strict=True)]
    assert all(np.diff(places)[[0, 2, 3, 4, 5, 7]] > 0)  # downwards within a region, none twice
    assert set(cohort.site) == {0}
    assert "no patient" in cohort.licence


@pytest.mark.parametrize(("units", "region"), [((0, 0, 5), 2), ((6, 0, 0), 0)])
def test_part_of_a_spine(units, region):
    assert set(draw(units=units).region) == {region}
    assert len(set(draw(units=units).source_name)) == 6 * sum(units)


def test_the_same_seed_draws_the_same_units_and_another_does_not():
    assert draw().digest == draw().digest
    assert not np.array_equal(draw().images, draw(seed=1).images)


@pytest.mark.parametrize("size", [(32, 32), (20, 46)])
def test_chunks_change_no_byte(size):
    rng = np.random.default_rng(0)
    truth, _ = vertebra._anatomy(3, (1, 2, 1), rng)
    truth |= {"site_gain": np.ones(12), "site_offset": np.zeros(12), "noise": np.full(12, 0.02)}
    truth |= {"blur": np.linspace(0.01, 0.02, 12)}
    whole = sagittal.render(truth, size, 12)
    for chunk in (1, 5):
        np.testing.assert_array_equal(sagittal.render(truth, size, chunk), whole)


def test_splits_are_disjoint_by_patient_and_keep_their_shares():
    cohort = draw(patients=118, image_size=16, units=(1, 1, 1))
    patients = [set(cohort.subset(name).patient) for name in ("train", "validation", "test")]
    assert [len(p) for p in patients] == [70, 24, 24]
    assert len(set.union(*patients)) == 118
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(np.bincount(cohort.subset(name).region), [len(cohort.subset(name)) // 3] * 3)
    assert np.any(np.diff(cohort.split[::3].astype(int)) < 0)  # no run of patients makes a split
    assert set(draw(splits=(0, 0, 1)).split) == {2}
    assert set(draw(patients=3, splits=(98, 1, 1)).split) == {0, 1, 2}


def test_levels_are_those_of_the_whole_spine_and_differ_between_patients():
    names = draw(patients=60, image_size=16).source_name
    assert {name.split("_")[1] for name in names} == {level for of in vertebra.LEVELS for level in of}
    whole = draw(units=(6, 12, 5), image_size=16)
    assert [name.split("_")[1] for name in whole.source_name[:23]] == [level for of in vertebra.LEVELS for level in of]


def test_a_linear_classifier_tells_most_regions_of_unseen_patients_and_not_those_at_the_borders(many):
    middle = flat(many.resized(16).images[:, 4]) / 255
    learn = many.split == 0
    model = LogisticRegression(max_iter=2000).fit(middle[learn], many.labels[learn])
    right = model.predict(middle[~learn]) == many.labels[~learn]
    place = [level_of(name) for name in many.source_name[~learn]]
    away = np.min(np.abs(np.subtract.outer(place, vertebra.BORDERS)), axis=1) > 1
    assert right[away].mean() >= 0.9
    assert right[~away].mean() < right[away].mean()  # where one region passes into the next


def level_of(name):
    """The level of a unit, counted from C2/3."""
    return [level for of in vertebra.LEVELS for level in of].index(name.split("_")[1])


def known(patients=400, units=(6, 12, 5)):
    truth, level = vertebra._anatomy(patients, units, np.random.default_rng(0))
    return truth, level, {name: truth[name] for name in ("neck", "chest", "loin")}


def test_a_region_passes_into_the_next_within_a_few_levels():
    truth, level, shares = known()
    np.testing.assert_allclose(sum(shares.values()), 1)
    own = np.stack(list(shares.values()), axis=1)[np.arange(len(level)), truth["region"]]
    middle = (truth["region"] == 1) & (level > 4) & (level < 8)
    assert own[middle].min() > 0.95
    border = (truth["region"] == 1) & (level == 11)
    assert 0.5 < own[border].mean() < 0.85
    assert own[border].std() > 0.2  # transitional vertebrae


def test_lordosis_varies_between_patients_as_it_was_measured_lying():
    """SD 13.2° over T12 to S1 (PMC6680033): the sum of the discs' wedges and of the bends, without their mean."""
    truth, level, _ = known()
    lumbar = (truth["region"] == 2) | ((truth["region"] == 1) & (level == 11))
    tilt = truth["wedge"] + truth["bow"] * 0.25 * 2  # radians: of the disc, and of the halves of two bodies
    total = np.degrees(np.bincount(truth["owner"][lumbar], tilt[lumbar]))
    assert 9 < total.std() < 18


def test_half_of_the_discs_are_worn_and_the_worn_have_spurs():
    truth, _, _ = known()
    height = truth["disc"] / np.median(truth["disc"])
    spur = truth["spur"].max(axis=1)
    assert 0.02 < np.mean(spur > 0.03) < 0.3
    assert np.corrcoef(spur, truth["bulge"])[0, 1] > 0.3
    assert height.std() > 0.25


@pytest.mark.parametrize("view", [0.8, 1.25])
def test_the_field_of_view_magnifies_about_the_centre(view):
    truth, _ = vertebra._anatomy(3, (0, 0, 2), np.random.default_rng(0))
    truth |= {"site_gain": np.ones(6), "site_offset": np.zeros(6), "noise": np.zeros(6), "blur": np.full(6, 0.012)}
    truth |= {"strands": np.zeros(6), "mottle": np.zeros(6), "coil": np.zeros(6)}
    whole, seen = (
        sagittal.render(truth | {"view": np.full(6, of)}, (64, 128))[:, 3:6].astype(float) for of in (1.0, view)
    )
    wide, narrow = (whole, seen) if view < 1 else (seen, whole)
    cut = wide[..., 6:-6, 13:-13]  # 0.8 of 64 by 128, nearly
    at = [
        np.linspace(0, side - 1, few).round().astype(int) for side, few in ((64, cut.shape[-2]), (128, cut.shape[-1]))
    ]
    shown = narrow[..., at[0][:, None], at[1]]
    assert (
        alike(cut.reshape(18, -1), shown.reshape(18, -1))
        > 0.9
        > alike(wide[..., at[0][:, None], at[1]].reshape(18, -1), shown.reshape(18, -1))
    )


def test_units_of_a_patient_are_more_alike_than_of_others(many):
    for region in range(3):
        rows = many.region == region
        x, patient = flat(many.images[rows]), many.patient[rows]
        square = (x**2).sum(1)
        distance = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))
        same = patient[:, None] == patient
        other = same & ~np.eye(len(x), dtype=bool)
        assert distance[other].mean() < 0.8 * distance[~same].mean()
        assert distance[other].min() > 100  # not copies of each other


def test_the_second_scanner_is_brighter_offset_and_noisier(many):
    other = draw(patients=40, scanner="trial_b")
    assert set(other.site) == {1}
    for column in ("patient", "labels", "split", "source_name"):
        np.testing.assert_array_equal(getattr(other, column), getattr(many, column))
    a, b = flat(many.images) / 255, flat(other.images) / 255
    seen = (a > 0.03) & (b < 0.99)
    gain, offset = np.polyfit(a[seen], b[seen], 1)
    assert gain == pytest.approx(1.15, abs=0.02)
    assert offset == pytest.approx(0.06, abs=0.01)
    assert np.mean(b == 1) < 0.02  # the scale holds it
    # Noise: what is left in the lung, which is empty, of a thoracic unit's outermost slice.
    lung = [c.images[c.region == 1][:, 0, 4:28, :4] / 255 for c in (many, other)]
    empty = lung[0].mean((1, 2)) < 0.06
    assert empty.sum() > 20
    assert lung[1][empty].std((1, 2)).mean() > 1.5 * lung[0][empty].std((1, 2)).mean()


def test_the_test_condition_alone_may_come_from_the_second_scanner():
    mixed = draw(test_scanner="trial_b")
    np.testing.assert_array_equal(mixed.site, mixed.split == 2)
    for scanner, rows in (("trial_a", mixed.site == 0), ("trial_b", mixed.site == 1)):
        np.testing.assert_array_equal(mixed.images[rows], draw(scanner=scanner).images[rows])


@pytest.mark.parametrize(
    ("size", "error"), [((56, 112), 1.5), ((112, 112), 1.5), ((28, 56), 3.0), ((56, 56), 3.0), ((16, 32), 4.0)]
)
def test_a_small_unit_is_the_native_one_box_averaged(size, error):
    large = box_average(draw(patients=3, image_size=(112, 224), units=(1, 1, 1)).images, size)
    small = draw(patients=3, image_size=size, units=(1, 1, 1)).images
    assert small.shape == (9, 9, *size)
    assert np.abs(large - small).mean() < error  # grey levels
    assert alike(large, small) > 0.98


def test_slices_mirror_at_the_midline_but_are_not_copies(many):
    for k in range(4):
        left, right = many.images[:, k], many.images[:, 8 - k]
        assert alike(left, right) > 0.4
        assert alike(left, right) > alike(left, many.images[:, 4]) or k == 3
        assert np.all(np.abs(flat(left) - flat(right)).mean(1) > 1)
    outer = alike(many.images[:, 0], many.images[:, 4])
    assert outer < 0.3 < alike(many.images[:, 3], many.images[:, 4])  # pedicles are not the canal


def test_marrow_is_brighter_than_disc_and_disc_than_cortex():
    """T1 contrast, in the middle of the midline slice: fat > marrow > disc > endplate."""
    units = draw(patients=20, image_size=(112, 224), units=(0, 0, 1))
    column = units.images[:, 4, :, 106:118].astype(float).mean(-1)
    disc, marrow = column[:, 54:58].mean(1), (column[:, 12:24].mean(1) + column[:, 88:100].mean(1)) / 2
    endplate = np.minimum(column[:, 30:54].min(1), column[:, 58:84].min(1))
    assert np.mean(marrow > disc) > 0.9
    assert np.mean(disc > endplate) > 0.9
    assert np.percentile(units.images[:, 4], 99) > np.median(marrow) * 1.2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patients": 0}, "patients is 0; 3 splits need at least as many"),
        ({"patients": 2}, "patients is 2; 3 splits"),
        ({"patients": 6.5}, "patients is 6.5; give a whole number"),
        ({"image_size": 8}, "image_size is 8; give height and width from 16 to 256"),
        ({"image_size": (64, 512)}, r"image_size is \(64, 512\)"),
        ({"image_size": (64, 64, 64)}, r"image_size is \(64, 64, 64\)"),
        ({"image_size": 64.5}, "image_size is 64.5"),
        ({"scanner": "trial_c"}, "unknown scanner 'trial_c': choose one of trial_a, trial_b"),
        ({"test_scanner": "b"}, "unknown scanner 'b'"),
        ({"units": (2, 5)}, r"units is \(2, 5\); give three counts, at most \(6, 12, 5\)"),
        ({"units": (2, 5, 6)}, "at most"),
        ({"units": (0, 0, 0)}, "not all zero"),
        ({"units": (1, 1.5, 1)}, "give three counts"),
        ({"splits": (1, 1)}, "give three proportions"),
        ({"splits": (1, -1, 1)}, "none below 0"),
        ({"splits": (0, 0, 0)}, "not all 0"),
        ({"splits": (1, float("nan"), 1)}, "give three proportions"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        draw(**wrong)
    assert "\n" not in str(caught.value)
