"""Null images and labels have what they say, and nothing else."""

import numpy as np
import pytest
from scipy.stats import chisquare

from lib.core.seeding import numpy_generator
from lib.metrics.null_images import class_mean_noise, label_mean_noise, shuffled, uniform_noise


def test_uniform_noise_is_uniform():
    images = uniform_noise((40, 32, 32), rng=numpy_generator(0, "noise"))
    assert images.dtype == np.uint8
    assert chisquare(np.bincount(images.ravel(), minlength=256)).pvalue > 1e-4


def test_class_means_and_their_sd_are_kept_and_nothing_else():
    rng = numpy_generator(0, "images")
    labels = rng.integers(0, 2, 600)
    common = rng.standard_normal((600, 1, 1))  # what ties the pixels of an image together
    images = (100 + 40 * labels[:, None, None] + 10 * common + rng.standard_normal((600, 8, 8))).astype(np.uint8)
    wanted = np.repeat([0, 1], 3000)
    made = class_mean_noise(images, labels, wanted=wanted, rng=rng).astype(float)
    for label in (0, 1):
        real = images[labels == label].astype(float)
        np.testing.assert_allclose(made[wanted == label].mean(axis=0), real.mean(axis=0), atol=1)
        np.testing.assert_allclose(made[wanted == label].std(axis=0), real.std(axis=0), rtol=0.06)
        assert real.mean(axis=(1, 2)).std() > 8
        assert made[wanted == label].mean(axis=(1, 2)).std() < 2
    with pytest.raises(ValueError, match="no image has the label 2"):
        class_mean_noise(images, labels, wanted=[2], rng=rng)


def test_label_means_are_those_of_least_squares_and_repeat_no_image():
    rng = numpy_generator(0, "images")
    labels = rng.integers(0, 2, (700, 3))
    labels[0], labels[1:, 2] = (0, 0, 1), 0  # one image alone has the third label
    common = rng.standard_normal((700, 1, 1))
    images = 100 + 40 * labels[:, :1, None] - 30 * labels[:, 1:2, None] + 10 * common + rng.standard_normal((700, 8, 8))
    images = images.astype(np.uint8)
    wanted = np.repeat([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0, 0, 1]], 1500, axis=0)
    made = label_mean_noise(images, labels, wanted=wanted, rng=rng).astype(float).reshape(4, 1500, 8, 8)
    design = np.column_stack([np.ones(700), labels])
    slopes, *_ = np.linalg.lstsq(design, images.reshape(700, -1).astype(float))
    left = (images.reshape(700, -1) - design @ slopes).std(axis=0).reshape(8, 8)
    for asked, of in zip(wanted[::1500], made, strict=True):
        np.testing.assert_allclose(of.mean(axis=0).ravel(), np.r_[1, asked] @ slopes, atol=1.2)
        np.testing.assert_allclose(of.std(axis=0), left, rtol=0.08)
        assert of.mean(axis=(1, 2)).std() < 2  # what tied the pixels of an image together is lost
    assert (np.abs(made[3] - images[0]).mean(axis=(1, 2)) > 3).all()  # nor is the image of a label that stands once


def test_label_means_of_one_label_an_image_are_class_means():
    rng = numpy_generator(0, "images")
    classes = rng.integers(0, 3, 900)
    images = (60 + 50 * classes[:, None, None] + 8 * rng.standard_normal((900, 6, 6))).astype(np.uint8)
    asked = np.repeat([0, 1, 2], 2000)
    by_class = class_mean_noise(images, classes, wanted=asked, rng=rng).astype(float)
    by_label = label_mean_noise(images, np.eye(3)[classes], wanted=np.eye(3)[asked], rng=rng).astype(float)
    for label in range(3):
        one, two = by_class[asked == label], by_label[asked == label]
        np.testing.assert_allclose(one.mean(axis=0), two.mean(axis=0), atol=1)
        np.testing.assert_allclose(one.std(axis=0), two.std(axis=0), rtol=0.15)


@pytest.mark.parametrize(
    ("labels", "wanted"), [([0] * 4, [[0]]), ([[0]] * 4, [0]), ([[0]] * 3, [[0]]), ([[0]] * 4, [[0, 1]])]
)
def test_labels_that_are_no_rows_are_refused(labels, wanted):
    with pytest.raises(ValueError, match=r"give \(n, k\), \(m, k\)"):
        label_mean_noise(np.zeros((4, 2, 2), np.uint8), labels, wanted=wanted, rng=numpy_generator(0, "refused"))


def test_shuffled_labels_stay_with_patients_of_one_size():
    rng = numpy_generator(0, "labels")
    groups = rng.permutation(np.repeat(np.arange(300), np.repeat([1, 2, 3], 100)))
    labels = groups * 10  # of each patient its own
    given = shuffled(labels, groups=groups, rng=rng)
    assert sorted(given) == sorted(labels)
    for patient in range(300):
        (theirs,) = set(given[groups == patient])
        assert theirs // 1000 == patient // 100  # from a patient with as many images
    assert (given != labels).mean() > 0.95


def test_shuffled_labels_tell_nothing():
    rng = numpy_generator(0, "labels")
    labels = np.repeat([0, 1], 500)
    given = np.stack([shuffled(labels, groups=np.arange(1000), rng=rng) for _ in range(200)])
    assert (given == labels).mean() == pytest.approx(0.5, abs=0.005)
