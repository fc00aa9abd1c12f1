"""The iris phantom: identity lies in the disc exactly as far as it was injected, disease there only."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import iris


def draw(seed=0, **arguments):
    return iris.draw(**({"patients": 3, "images": 4} | arguments), rng=np.random.default_rng(seed))


@pytest.fixture(scope="module", params=[0.0, 0.12])
def injected(request):
    return request.param, draw(patients=8, images=30, leak=request.param)


def nearest_mean(images, cohort, among):
    """Share of test images, of the rows `among`, that lie nearest to the train mean of their own patient."""
    learn, test = among & (cohort.split == 0), among & (cohort.split == 2)
    means = np.stack([images[learn & (cohort.patient == i)].mean(0) for i in np.unique(cohort.patient)])
    distance = ((images[test, None] - means) ** 2).sum(-1)
    return (distance.argmin(1) == cohort.patient[test]).mean(), test.sum()


def discs(cohort, reach=13):
    """Pixels within `reach` of each disc's centre, moved to the middle and standardised: (N, n)."""
    at = np.arange(cohort.masks.shape[-1])
    area = cohort.masks.sum((1, 2))
    x, y = (np.rint((cohort.masks.sum(axis) @ at) / area).astype(int) for axis in (1, 2))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    down, right = offsets[:, np.hypot(*offsets) <= reach]
    found = cohort.images[np.arange(len(cohort))[:, None], y[:, None] + down, x[:, None] + right].astype(float)
    return (found - found.mean(1, keepdims=True)) / found.std(1, keepdims=True)


def test_what_is_known_of_each_image():
    cohort = draw(patients=4, images=20)
    assert cohort.images.shape == cohort.masks.shape == (160, 64, 64)
    assert cohort.images.dtype == cohort.masks.dtype == np.uint8
    np.testing.assert_array_equal(cohort.patient, np.repeat(np.arange(4), 40))
    np.testing.assert_array_equal(cohort.view, np.tile(np.repeat([0, 1], 20), 4))
    assert (cohort.label_names, cohort.closed_set, cohort.modality) == (("no glaucoma", "glaucoma"), True, "NIR")
    assert len(set(cohort.source_name)) == 160
    assert "leak 0.06" in cohort.source
    for patient in range(4):
        np.testing.assert_array_equal(np.bincount(cohort.split[cohort.patient == patient]), [28, 4, 8])


def test_it_is_saved_and_opened_with_its_overlap_declared(tmp_path):
    cohort = draw()
    again = Cohort.open(cohort.save(tmp_path / "iris.h5"))
    assert again.digest == cohort.digest
    assert again.closed_set


def test_the_same_seed_draws_the_same_eyes_and_another_does_not():
    assert draw().digest == draw().digest
    assert draw().digest != draw(seed=1).digest


def test_chunks_change_no_byte():
    rng = np.random.default_rng(0)
    eye = np.repeat(np.arange(4), 3)
    faces, truth = iris._faces(2, 2, rng), iris._images(eye, eye == 1, eye % 2, rng)
    for whole, part in zip(*(iris._render(faces, truth, 64, 0.06, chunk=n) for n in (12, 5)), strict=True):
        np.testing.assert_array_equal(whole, part)


@pytest.mark.parametrize("size", [32, 64])
def test_without_leak_the_disc_is_the_same_whoever_the_patient_is(size):
    rng = np.random.default_rng(0)
    eye = np.arange(8)
    faces, truth = iris._faces(4, 2, rng), iris._images(eye, eye > 3, eye % 2, rng)
    other = truth | {"eye": np.roll(eye, 3)}
    (one, masks), (two, same) = (iris._render(faces, t, size, 0.0) for t in (truth, other))
    np.testing.assert_array_equal(masks, same)
    np.testing.assert_array_equal(one[masks > 0], two[masks > 0])
    assert np.abs(one - two)[masks == 0].mean() > 0.05


def test_identity_in_the_disc_is_what_was_injected(injected):
    leak, cohort = injected
    for disease in (0, 1):
        share, n = nearest_mean(discs(cohort), cohort, cohort.labels == disease)
        chance = 1 / 8 + 3 * np.sqrt(1 / 8 * 7 / 8 / n)
        # A wide pupil leaves half the iris, and fewer images are ill.
        assert share < chance if leak == 0 else share > (0.9, 0.35)[disease]


def test_identity_outside_the_disc_is_there_at_any_leak(injected):
    _, cohort = injected
    outside = np.where(cohort.masks, 128, cohort.images)[:, ::2, ::2].reshape(len(cohort), -1).astype(float)
    assert nearest_mean(outside, cohort, np.ones(len(cohort), bool))[0] > 0.8


def test_disease_is_seen_in_the_disc_of_unseen_patients_and_not_outside(injected):
    _, cohort = injected
    learn = cohort.patient < 5

    def score(x):
        model = LogisticRegression(C=0.01, max_iter=500).fit(x[learn], cohort.labels[learn])
        return balanced_accuracy_score(cohort.labels[~learn], model.predict(x[~learn]))

    outside = np.where(cohort.masks, 0, cohort.images)[:, :24].reshape(len(cohort), 12, 2, 32, 2).mean((2, 4))
    assert score(discs(cohort)) > 0.95
    assert score(outside.reshape(len(cohort), -1) / 64) < 0.65


@pytest.mark.slow
def test_regimes():
    free, tied = (draw(patients=12, images=20, regime=name, image_size=32) for name in iris.REGIMES)
    eye = 2 * free.patient + free.view
    spread = [[c.labels[eye == i].mean() for i in range(24)] for c in (free, tied)]
    assert set(spread[1]) == {0, 1}
    assert 0 < min(spread[0]) < max(spread[0]) < 1
    assert free.labels.mean() == pytest.approx(iris.PREVALENCE)
    assert np.sum(spread[1]) == round(24 * iris.PREVALENCE)
    # The regime changes what is ill, and nothing else.
    alike = free.labels == tied.labels
    np.testing.assert_array_equal(free.images[alike], tied.images[alike])


@pytest.mark.parametrize("size", [32, 64])
def test_the_mask_is_the_drawn_disc(size):
    cohort = draw(patients=6, noise=0.0, leak=0.0, image_size=size)
    area = cohort.masks.sum((1, 2)) * (64 / size) ** 2
    assert np.all((area > np.pi * 13.4**2 - 20) & (area < np.pi * 14.8**2 + 20))
    # The pixel before its left and right border is dark; the third beyond it is sclera.
    images, masks = cohort.images.astype(float), cohort.masks.astype(bool)
    row = np.rint(masks.sum(2) @ np.arange(size) / masks.sum((1, 2))).astype(int)
    rows, inside = images[np.arange(len(images)), row], masks[np.arange(len(images)), row]
    left, right = inside.argmax(1), size - 1 - inside[:, ::-1].argmax(1)
    n = np.arange(len(images))
    for border, out in ((left, -1), (right, 1)):
        assert np.all(rows[n, border - out * 1] < 0.6 * rows[n, border + out * 3])


def test_a_small_image_is_the_large_one_box_averaged_but_for_the_rim():
    large, small = (draw(noise=0.0, image_size=size) for size in (64, 32))
    average = large.resized(32).images.astype(float)
    assert np.abs(average - small.images).mean() < 1.5
    np.testing.assert_array_equal(large.labels, small.labels)
    assert (np.abs(average - small.images) <= 1).mean() > 0.85


def test_noise_and_leak_are_in_units_of_minus_one_to_one():
    clean, noisy = draw(noise=0.0), draw(noise=0.07)
    inner = (clean.images > 40) & (clean.images < 200)
    assert (noisy.images.astype(float) - clean.images)[inner].std() / 127.5 == pytest.approx(0.07, abs=0.004)
    flat, leaky = draw(noise=0.0, leak=0.0), draw(noise=0.0, leak=0.12)
    change = (leaky.images.astype(float) - flat.images)[flat.masks > 0] / 127.5
    assert 0.05 < change.std() < 0.12  # pupil, haze and lids cover a part of the texture


def test_both_eyes_of_a_patient_share_the_frame():
    cohort = draw(patients=10, images=20, noise=0.0)
    eyes = [(cohort.patient == p) & (cohort.view == v) for p in range(10) for v in (0, 1)]
    mean = np.stack([cohort.images[eye].mean(0) for eye in eyes])
    mean = mean.reshape(20, -1) - mean.mean(0).reshape(-1)
    likeness = np.corrcoef(mean)
    own = likeness[np.arange(0, 20, 2), np.arange(1, 20, 2)]
    assert own.min() > 0.6
    assert own.mean() > likeness[::2, 1::2][~np.eye(10, dtype=bool)].mean() + 0.5


def test_one_eye_and_one_patient_suffice():
    assert len(draw(patients=1, eyes=1, images=3)) == 3


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patients": 0}, "patients is 0; give a whole number from 1"),
        ({"patients": 2.5}, "patients is 2.5; give a whole number"),
        ({"eyes": 3}, "eyes is 3; give a whole number from 1 to 2"),
        ({"images": 0}, "images is 0; give a whole number from 1"),
        ({"images": 1}, "a patient has 2 images; three splits need at least 3"),
        ({"image_size": 48}, "image_size is 48; choose one of 32, 64"),
        ({"regime": "patient"}, "unknown regime 'patient': choose one of factorial, eye"),
        ({"leak": -0.1}, "leak is -0.1; give a value from 0 to 0.5"),
        ({"noise": float("nan")}, "noise is nan; give a value from 0 to 0.5"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        draw(**wrong)
    assert "\n" not in str(caught.value)


def test_less_variety_makes_faces_alike_and_leaves_discs_and_noise():
    whole, alike, same = (draw(patients=6, images=6, eyes=1, variety=of, noise=0.0) for of in (1.0, 0.2, 0.0))
    inside = whole.masks == 1
    assert np.abs(whole.images[inside].astype(int) - alike.images[inside]).mean() < 1  # a rim shows its surroundings

    def between(cohort):
        means = np.stack([cohort.images[cohort.patient == i].mean(axis=0) for i in range(6)])
        return means.std(axis=0)[~inside.any(axis=0)].mean()

    assert between(same) < between(alike) < 0.6 * between(whole)


def test_a_slight_glaucoma_shows_less():
    """The mean eyes of both findings differ less inside the disc; healthy eyes are the same."""
    plain, slight = (draw(noise=0.0, patients=8, images=12, severity=least) for least in (0.7, 0.0))
    healthy = plain.labels == 0
    np.testing.assert_array_equal(plain.images[healthy], slight.images[healthy])
    usual = plain.images[healthy].mean(axis=0)
    inside = plain.masks[:].mean(axis=0) > 0.9
    apart = [np.abs(of.images[~healthy].mean(axis=0) - usual)[inside].mean() for of in (plain, slight)]
    assert apart[1] < 0.95 * apart[0]


@pytest.mark.parametrize("wrong", [{"variety": 1.5}, {"severity": -0.1}])
def test_variety_and_severity_are_shares(wrong):
    with pytest.raises(ValueError, match="give a value from 0 to 1"):
        draw(**wrong)
