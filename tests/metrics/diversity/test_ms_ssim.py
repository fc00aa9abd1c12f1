import json

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from lib.metrics.diversity.ms_ssim import WEIGHTS, fitting_scales, label_pairs, ms_ssim
from tests.paths import ORACLES

TEXTURES = np.load(ORACLES / "msssim_images.npz")
TEXTURES = np.concatenate([TEXTURES[name].reshape(-1, 256, 256) for name in TEXTURES.files])


def literal(x, y, data_range, *, scales=5, as_published=False):
    """The formula of one pair, in float64, in x and y, by a two-dimensional convolution."""
    x, y, value = x.astype(float), y.astype(float), 1.0
    weights = np.array(WEIGHTS[:scales]) * (sum(WEIGHTS) / sum(WEIGHTS[:scales]))
    for scale, weight in enumerate(weights):
        size = min(11, *x.shape)
        window = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
        window = torch.from_numpy(window).to(torch.float32 if as_published else torch.float64)
        window = (window / window.sum()).double().numpy()
        window = np.outer(window, window)

        def mean(image, window=window):
            return convolve2d(image, window[::-1, ::-1], mode="valid")

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        term = (2 * cov + c2) / (vx + vy + c2)
        if scale == scales - 1:
            term = term * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            weight = weight * (scale if as_published else 1)
        factor = term.mean() if as_published else max(term.mean(), 0)
        value *= np.nan if factor < 0 else factor**weight
        h, w = (side // 2 for side in x.shape)
        x, y = (image[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean(axis=(1, 3)) for image in (x, y))
    return value


def blobs(rng, n, size, noise=0.1):
    """Smooth uint8 images, neighbours in the batch partly alike."""
    coarse = np.kron(rng.random((n, 8, 8)), np.ones((-(-size[0] // 8), -(-size[1] // 8))))[:, : size[0], : size[1]]
    image = 0.6 * coarse + 0.4 * np.roll(coarse, 1, axis=0) + noise * rng.normal(size=(n, *size))
    return (255 * image.clip(0, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "scales"), [((256, 256), 5), ((181, 203), 5), ((64, 64), 3), ((32, 32), 2), ((11, 30), 1)]
)
def test_ms_ssim_is_the_literal_one(size, scales):
    images = blobs(np.random.default_rng(size[0]), 5, size)
    first, second = images, np.roll(images, 1, axis=0)
    expected = [literal(x, y, 255, scales=scales) for x, y in zip(first, second, strict=True)]
    found = ms_ssim(first, second, data_range=255, scales=scales)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert min(expected) > 0.05


def test_saturated_and_dark_images_keep_their_digits():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(4, 176, 176))
    pairs = [
        (np.full_like(noise, 255), (255 + 10 * noise).clip(0, 255)),
        (np.zeros_like(noise), abs(2 * noise)),
        (255.0 * (noise > 1), 255.0 * (np.roll(noise, 1, axis=1) > 1)),
        (np.where(noise.cumsum(axis=2) > 0, 250.0, 3), np.where(noise.cumsum(axis=1) > 0, 255.0, 0) + noise),
    ]
    for first, second in pairs:
        expected = [literal(x, y, 255) for x, y in zip(first, second, strict=True)]
        np.testing.assert_allclose(ms_ssim(first, second, data_range=255), expected, rtol=0, atol=1e-12)


def oracle_pairs():
    for entry in json.loads((ORACLES / "msssim_released.json").read_text()):
        first, second = entry["pair"].split(",", 1)
        a = TEXTURES[int(first)]
        if "inverted" in second:
            b = 255 - a
        elif second.startswith("round"):
            other = int(second.split("*")[-1].rstrip(")"))
            b = np.round(np.float32(0.7) * a + np.float32(0.3) * TEXTURES[other]).astype(np.uint8)  # of float32
        else:
            b = TEXTURES[int(second)]
        yield entry["pair"], a, b, entry["released"]


@pytest.mark.parametrize(("pair", "a", "b", "released"), oracle_pairs(), ids=lambda v: v if isinstance(v, str) else "")
def test_as_published_equals_the_released_values_with_their_nan(pair, a, b, released):
    found = ms_ssim(a[None], b[None], data_range=255, as_published=True)
    np.testing.assert_allclose(found, [released], rtol=0, atol=3e-6, equal_nan=True)
    corrected = ms_ssim(a[None], b[None], data_range=255)[0]
    assert corrected == 0 if np.isnan(released) else corrected > released


@pytest.mark.parametrize("size", [(256, 256), (100, 120), (32, 32), (16, 24)])
def test_as_published_shrinks_its_window(size):
    images = blobs(np.random.default_rng(2), 6, size)
    first, second = images, np.roll(images, 1, axis=0)
    expected = [literal(x, y, 255, as_published=True) for x, y in zip(first, second, strict=True)]
    np.testing.assert_allclose(ms_ssim(first, second, data_range=255, as_published=True), expected, atol=1e-9)
    assert np.isfinite(expected).any()


def test_the_defect_is_the_exponent_of_the_last_scale():
    """Equal structure, one image brighter: every cs is 1 at a constant, so the luminance term stands alone."""
    first, second = np.full((1, 176, 176), 60.0), np.full((1, 176, 176), 120.0)
    luminance = (2 * 60 * 120 + 2.55**2) / (60**2 + 120**2 + 2.55**2)
    assert ms_ssim(first, second, data_range=255)[0] == pytest.approx(luminance ** WEIGHTS[4], rel=1e-12)
    published = ms_ssim(first, second, data_range=255, as_published=True)[0]
    assert published == pytest.approx(luminance ** (4 * WEIGHTS[4]), rel=1e-4)


def test_the_published_range_is_guessed_per_pair():
    images = blobs(np.random.default_rng(3), 4, (64, 64))
    dark = images // 2
    first, second = np.concatenate([images, dark]), np.roll(np.concatenate([images, dark]), 1, axis=0)
    found = ms_ssim(first, second, data_range=None, as_published=True)
    bright = ms_ssim(first, second, data_range=255, as_published=True)
    unit = ms_ssim(first, second, data_range=1, as_published=True)
    np.testing.assert_array_equal(found, np.where(first.max(axis=(1, 2)) > 128, bright, unit))
    assert (bright[4:] != unit[4:]).all()


def test_invariances():
    rng = np.random.default_rng(4)
    images = blobs(rng, 20, (64, 64))
    first, second = images, np.roll(images, 1, axis=0)
    value = ms_ssim(first, second, data_range=255, scales=3)
    np.testing.assert_allclose(ms_ssim(second, first, data_range=255, scales=3), value, atol=1e-6)
    np.testing.assert_allclose(ms_ssim(first / 255.0, second / 255.0, data_range=1, scales=3), value, atol=1e-6)
    flipped = ms_ssim(torch.from_numpy(first).flip(2), torch.from_numpy(second).flip(2), data_range=255, scales=3)
    np.testing.assert_allclose(flipped, value, atol=1e-6)
    np.testing.assert_allclose(ms_ssim(first[3:4], second[3:4], data_range=255, scales=3), value[3:4], atol=1e-7)
    np.testing.assert_array_equal(ms_ssim(first, first, data_range=255, scales=3), 1)
    np.testing.assert_array_equal(ms_ssim(first, 255 - first, data_range=255, scales=3), 0)


def test_fitting_scales_hold_the_window():
    for side in range(11, 400):
        scales = fitting_scales(side)
        assert side // 2 ** (scales - 1) >= 11
        assert scales == 5 or side // 2**scales < 11


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": 5}, "images of 32 pixels a side take 1 to 2"),
        ({"scales": 0}, "take 1 to 2"),
        ({"data_range": None, "scales": 2}, "data_range is None"),
        ({"data_range": -1, "scales": 2}, "data_range is -1"),
        ({"scales": 2, "as_published": True}, "the published variant has 5"),
        ({"first": np.zeros((2, 8, 8)), "second": np.zeros((2, 8, 8))}, "the window needs 11"),
        ({"first": np.zeros((2, 8, 8)), "second": np.zeros((2, 8, 8)), "as_published": True}, "need at least 16"),
        ({"second": np.zeros((3, 32, 32))}, "give one pair per item"),
        ({"first": np.zeros((2, 1, 32, 32))}, "give grey images"),
        ({"first": np.full((2, 32, 32), np.nan)}, "first holds NaN"),
    ],
)
def test_bad_images_are_named(arguments, message):
    images = {"first": np.zeros((2, 32, 32)), "second": np.zeros((2, 32, 32)), "data_range": 1.0} | arguments
    with pytest.raises(ValueError, match=message):
        ms_ssim(images.pop("first"), images.pop("second"), **images)


def test_pairs_are_distinct_and_of_the_label():
    rng = np.random.default_rng(5)
    labels = (rng.random((300, 4)) < [0.5, 0.1, 0.02, 1]).astype(int)
    labels[:2, 2] = 1
    patients = np.arange(300) // 3
    for groups in (None, patients):
        for column, found in enumerate(label_pairs(labels, 400, rng=rng, groups=groups)):
            assert labels[found, column].all()
            assert (found[:, 0] < found[:, 1]).all()
            assert len(np.unique(found, axis=0)) == len(found)
            rows = np.flatnonzero(labels[:, column])
            one, two = np.triu_indices(len(rows), 1)
            every = len(one) if groups is None else (patients[rows[one]] != patients[rows[two]]).sum()
            assert len(found) == min(400, every)
            assert groups is None or (patients[found[:, 0]] != patients[found[:, 1]]).all()


def test_pairs_are_uniform_and_follow_the_seed():
    labels, patients = np.ones(6), np.array([0, 0, 0, 1, 1, 2])
    counts = np.zeros((6, 6))
    rng = np.random.default_rng(6)
    for _ in range(2000):
        np.add.at(counts, tuple(label_pairs(labels, 3, rng=rng, groups=patients)[0].T), 1)
    chosen = counts[counts > 0]
    assert len(chosen) == 11  # 15 pairs, 4 of them within a patient
    assert chosen.sum() == 6000
    assert abs(chosen - 6000 / 11).max() < 5 * (6000 / 11) ** 0.5
    again = [label_pairs(np.ones(5000), 9, rng=np.random.default_rng(7))[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([[1, 1], [1, 0], [0, 0]], None, "label 1 has no pair"),
        ([1, 1, 0], [4, 4, 5], "label 0 has no pair of images of two patients"),
        ([0, 2, 1], None, "other values than 0 and 1"),
    ],
)
def test_bad_labels_are_named(labels, groups, message):
    with pytest.raises(ValueError, match=message):
        label_pairs(labels, 5, rng=np.random.default_rng(0), groups=groups)
