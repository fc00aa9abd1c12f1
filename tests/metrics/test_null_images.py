"""Null images and labels have what they say, and nothing else."""

import numpy as np
import pytest
from scipy.stats import chisquare

from lib.core.seeding import numpy_generator
from lib.metrics.null_images import class_mean_noise, shuffled, uniform_noise


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
