"""The mass phantom: what it says of each crop is true, and it looks like film where that can be measured."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.stats import linregress
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lib.cohorts.phantoms import mass


def seeded(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def cohort():
    return mass.draw(patients=300, image_size=64, rng=seeded())


def inside_and_around(cohort):
    """Mean grey inside each mask, and in a ring of four pixels around it."""
    images, inside = cohort.images.astype(float), cohort.masks.astype(bool)
    disc = np.hypot(*np.mgrid[-4:5, -4:5])[None] <= 4
    ring = binary_dilation(inside, disc) & ~inside
    return [(images * where).sum((1, 2)) / where.sum((1, 2)) for where in (inside, ring)]


def irregularity(masks):
    """Share of each mask that lies outside the ellipse of the same second moments: 0 for an ellipse."""
    size = masks.shape[-1]
    at = np.stack(np.mgrid[:size, :size]).reshape(2, -1)
    weight = masks.reshape(len(masks), -1) / masks.sum((1, 2))[:, None]
    away = at - (weight @ at.T)[:, :, None]
    inverse = np.linalg.inv(np.einsum("np,nip,njp->nij", weight, away, away))
    return (weight * (np.einsum("nip,nij,njp->np", away, inverse, away, optimize=True) > 4)).sum(1)


def signs(cohort):
    """What a radiologist would measure: contrast, size, irregularity, brightness, spread: (N, 5)."""
    inside, around = inside_and_around(cohort)
    images = cohort.images.astype(float)
    columns = inside - around, np.log(cohort.masks.sum((1, 2))), irregularity(cohort.masks), images.mean((1, 2))
    return np.stack([*columns, images.std((1, 2))], axis=1)


def box_average(images, size):
    return images.reshape(len(images), size, images.shape[1] // size, size, -1).mean((2, 4))


def test_every_column_is_there_and_the_phantom_says_that_it_is_one(cohort):
    assert cohort.images.dtype == np.uint8
    assert cohort.images.shape == cohort.masks.shape == (len(cohort), 64, 64)
    assert set(np.unique(cohort.masks)) == {0, 1}
    assert (cohort.masks.sum((1, 2)) > 50).all()
    assert cohort.label_names == ("malignant", "benign")
    assert (cohort.name, cohort.modality) == ("phantom_mass", "MG")
    assert cohort.source == "drawn by lib.cohorts.phantoms.mass"
    assert cohort.licence == "CC0-1.0 (drawn, no patient)"
    assert (cohort.site == 0).all()
    assert len(set(cohort.source_name)) == len(cohort)


def test_patients_have_lesions_and_lesions_have_views_as_in_the_real_set(cohort):
    crops = np.bincount(cohort.patient)
    assert len(crops) == 300
    assert (crops.min(), crops.max()) == (1, 6)
    assert 1.75 < crops.mean() < 2.1
    assert 0.55 < (crops == 2).mean() < 0.8
    assert 0.4 < (cohort.labels == 0).mean() < 0.5
    for lesion in np.unique(cohort.lesion):
        seen = cohort.lesion == lesion
        assert len(np.unique(cohort.patient[seen])) == len(np.unique(cohort.labels[seen])) == 1
        assert sorted(cohort.view[seen]) in ([0], [1], [0, 1])


def test_splits_are_disjoint_by_patient_in_the_proportions_of_the_real_set(cohort):
    split = [set(cohort.patient[cohort.split == code]) for code in (0, 1, 2)]
    assert sum(map(len, split)) == len(set.union(*split)) == 300
    np.testing.assert_allclose([len(part) / 300 for part in split], (0.65, 0.11, 0.24), atol=0.01)


@pytest.mark.parametrize("patients", [7, 12, 40])
def test_every_split_has_both_labels(patients):
    for seed in range(5):
        cohort = mass.draw(patients=patients, image_size=16, rng=seeded(seed))
        assert len(np.unique(cohort.split * 2 + cohort.labels)) == 6


@pytest.mark.parametrize("patients", [3, 4, 6])
def test_the_smallest_cohorts_fill_three_splits(patients):
    assert set(mass.draw(patients=patients, image_size=16, rng=seeded()).split) == {0, 1, 2}


def test_the_mask_covers_the_lesion(cohort):
    inside, around = inside_and_around(cohort)
    assert (inside > around).mean() > 0.85
    assert np.mean(inside - around) > 8  # grey levels


def test_two_views_of_a_lesion_are_more_alike_than_two_patients(cohort):
    z = StandardScaler().fit_transform(signs(cohort))
    twin = np.flatnonzero(cohort.lesion[1:] == cohort.lesion[:-1])
    other = np.roll(twin, 1)
    same, different = (np.linalg.norm(z[twin] - z[index], axis=1) for index in (twin + 1, other + 1))
    assert (cohort.patient[twin] != cohort.patient[other + 1]).mean() > 0.9
    assert roc_auc_score(np.repeat([0, 1], len(twin)), np.r_[same, different]) > 0.75
    assert not (cohort.images[twin] == cohort.images[twin + 1]).all((1, 2)).any()


def test_cancer_has_the_more_irregular_margin_and_the_higher_density(cohort):
    malignant = cohort.labels == 0
    for sign in (irregularity(cohort.masks), np.subtract(*inside_and_around(cohort))):
        gap = sign[malignant].mean() - sign[~malignant].mean()
        assert gap > 3 * np.hypot(*(sign[where].std() / np.sqrt(where.sum()) for where in (malignant, ~malignant)))


def test_a_linear_classifier_does_better_than_chance_and_is_not_perfect(cohort):
    train, held_out = cohort.split == 0, cohort.split > 0
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(signs(cohort)[train], cohort.labels[train])
    auroc = roc_auc_score(cohort.labels[held_out], fitted.decision_function(signs(cohort)[held_out]))
    assert 0.7 < auroc < 0.95


def test_the_same_state_gives_the_same_bytes_and_another_seed_others():
    draws = [mass.draw(patients=5, image_size=32, rng=seeded(seed)) for seed in (1, 1, 2)]
    assert draws[0].digest == draws[1].digest != draws[2].digest
    assert (draws[0].masks == draws[1].masks).all()
    rng = seeded(1)
    first, second = (mass.draw(patients=5, image_size=32, rng=rng) for _ in range(2))
    assert first.digest == draws[0].digest != second.digest


@pytest.mark.parametrize("size", [128, 50])
def test_rendering_does_not_depend_on_the_chunk(size):
    truth = mass._anatomy(20, "digital", seeded())
    images, masks = mass._render(truth, size, "digital")
    for chunk in (1, 7, 50):
        again = mass._render(truth, size, "digital", chunk)
        assert (images == again[0]).all()
        assert (masks == again[1]).all()


@pytest.mark.parametrize("size", [64, 32])
def test_a_small_image_is_the_large_one_box_averaged(size):
    large, small = (mass.draw(patients=25, image_size=n, rng=seeded()) for n in (128, size))
    assert abs(box_average(large.images, size) - small.images).mean() < 1  # grey levels
    assert ((box_average(large.masks, size) > 0.5) == small.masks).mean() > 0.99
    for column in ("patient", "labels", "split", "lesion", "view", "source_name"):
        assert (getattr(large, column) == getattr(small, column)).all()


def test_radiograph_has_the_brightness_and_the_spectrum_of_real_crops():
    """CBIS-DDSM train: mean 132, SD within a crop 19, power above .25 cycles/px .0124, slope -2.9 below .1."""
    images = mass.draw(patients=100, rng=seeded()).images.astype(float)
    assert 122 < images.mean() < 142
    assert 15 < np.median(images.std((1, 2))) < 23
    power = abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    high = power[:, f > 0.25].sum(1) / power.sum((1, 2))
    assert 0.007 < np.median(high) < 0.018
    edges = np.geomspace(1 / 128, 0.1, 8)
    rings = [np.median(power[:, (f >= a) & (f < b)].mean(1)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert -3.3 < linregress(np.log(edges[:-1] * edges[1:]) / 2, np.log(rings)).slope < -2.5


def test_the_other_scanner_shows_other_pictures_of_the_same_patients(cohort):
    radiograph = cohort[: 2 * 60]
    digital = mass.draw(patients=300, image_size=64, rng=seeded(), scanner="digital")[: 2 * 60]
    assert (digital.site == 1).all()
    assert (radiograph.source_name == digital.source_name).all()
    assert (radiograph.labels == digital.labels).all()
    assert digital.images.mean() < radiograph.images.mean() - 20  # real: 97 against 132
    assert np.median(digital.images.std((1, 2))) > 1.4 * np.median(radiograph.images.std((1, 2)))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"patients": 2}, "at least 3"),
        ({"image_size": 8}, "from 16 to 256"),
        ({"image_size": 512}, "from 16 to 256"),
        ({"image_size": 33}, "even number"),
        ({"scanner": "ct"}, "film, digital"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        mass.draw(**{"patients": 10, "rng": seeded()} | wrong)
