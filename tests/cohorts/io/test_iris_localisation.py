"""The circle of an iris: found on drawn circles and drawn eyes, absent where there is none, and its mask."""

import numpy as np
import pytest

from lib.cohorts.io import iris_localisation as iris_circle
from lib.cohorts.phantoms import iris


def circle(size, x, y, radius, noise=9, seed=0):
    """A dark disc on a bright ground: uint8 of `size` (H, W)."""
    at_y, at_x = np.mgrid[: size[0], : size[1]]
    dark = np.hypot(at_x - x, at_y - y) <= radius
    return (np.where(dark, 50, 170) + noise * np.random.default_rng(seed).standard_normal(size)).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "x", "y", "radius", "within"),
    [
        ((64, 64), 32.0, 31.0, 14.0, 1.5),
        ((64, 64), 29.3, 34.6, 12.0, 1.5),
        ((64, 64), 33.0, 30.0, 19.0, 1.5),
        ((240, 320), 150.0, 130.0, 50.0, 2.5),
        ((469, 640), 300.5, 250.0, 110.0, 5),
        ((469, 640), 420.0, 200.0, 150.0, 5),
    ],
)
def test_a_drawn_circle_is_found(size, x, y, radius, within):
    found = iris_circle.find_circle(circle(size, x, y, radius))
    np.testing.assert_allclose(found, (x, y, radius), atol=within)


def test_the_larger_of_two_supports_wins():
    both = np.minimum(circle((240, 320), 100, 120, 60), circle((240, 320), 240, 60, 42))
    np.testing.assert_allclose(iris_circle.find_circle(both), (100, 120, 60), atol=2.5)


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64), 128, np.uint8),
        np.zeros((64, 64), np.uint8),
        np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1)),  # one straight edge
        circle((64, 64), 32, 32, 5),  # smaller than H/6
        circle((64, 64), 32, 32, 29),  # larger than H/3
    ],
    ids=["grey", "black", "ramp", "small", "large"],
)
def test_without_circle_the_mask_is_empty(image):
    assert iris_circle.find_circle(image) is None
    assert iris_circle.disc_mask(image).sum() == 0


def test_brightness_does_not_move_the_circle():
    image = circle((64, 64), 31, 33, 14, noise=0)
    dim = (image * 0.8 + 5).astype(np.uint8)
    np.testing.assert_allclose(iris_circle.find_circle(image), iris_circle.find_circle(dim), atol=1)


def test_on_drawn_eyes_it_is_the_iris():
    eyes = iris.draw(patients=6, images=8, leak=0.03, rng=np.random.default_rng(0))
    found = np.array([iris_circle.find_circle(image) for image in eyes.images], float)
    at, area = np.arange(64), eyes.masks.sum((1, 2))
    centre = np.stack([eyes.masks.sum(axis) @ at / area for axis in (1, 2)], 1)
    assert np.isfinite(found).all()
    off = np.hypot(*(found[:, :2] - centre).T)
    assert np.median(off) < 1
    assert np.mean(off < 2) > 0.9
    assert np.mean(np.abs(found[:, 2] - np.sqrt(area / np.pi)) < 2) > 0.9
    masks = np.stack([iris_circle.disc_mask(image) for image in eyes.images])
    overlap = 2 * (masks & eyes.masks).sum((1, 2)) / (masks.sum((1, 2)) + area)
    assert np.median(overlap) > 0.93


@pytest.mark.parametrize(
    ("x", "y", "radius", "expected"),
    [
        (32, 33, 20, (32, 33, 17)),  # the cap
        (37, 38, 14, (37, 38, 14)),
        (39, 31, 14, (35, 31, 14)),  # halfway to 32
        (46, 32, 14, (32, 32, 14)),
        (25, 24, 14, (28, 28, 14)),
        (32, 42, 14, (32, 32, 14)),
        (32, 39, 14, (32, 35, 14)),
    ],
)
def test_the_mask_caps_the_radius_and_repairs_the_centre(monkeypatch, x, y, radius, expected):
    monkeypatch.setattr(iris_circle, "find_circle", lambda image: (x + 0.2, y - 0.2, radius + 0.3))
    mask = iris_circle.disc_mask(np.zeros((64, 64), np.uint8))
    assert mask.dtype == np.uint8
    at = np.arange(64)
    assert (mask.sum(0) @ at, mask.sum(1) @ at) == (expected[0] * mask.sum(), expected[1] * mask.sum())
    assert mask.sum() == {14: 613, 17: 901}[expected[2]]
    assert mask[expected[1], expected[0] + expected[2]] == 1
    assert mask[expected[1], expected[0] + expected[2] + 1] == 0


@pytest.mark.parametrize("right", [False, True])
def test_an_eye_is_cut_mirrored_centred_and_squeezed(right):
    image = circle((480, 640), 260, 200, 100)
    image[-11:] = 0
    whole = iris_circle.centred(image[:, ::-1] if right else image, right=right)
    assert whole.shape == (64, 64)
    assert whole.min() > 20  # the bottom rows are gone, the border is repeated
    x, y = (np.average(np.arange(64), weights=(whole < 100).sum(axis)) for axis in (0, 1))
    assert (x, y) == pytest.approx((31.5, 31.5), abs=0.6)


@pytest.mark.parametrize("x", [160, None])
def test_a_circle_too_far_off_or_absent_moves_nothing(x):
    image = np.full((480, 640), 170, np.uint8) if x is None else circle((480, 640), x, 230, 100, noise=0)
    image[:, -20:] = 90
    whole = iris_circle.centred(image, right=False)
    assert whole[0, -1] == 90
    if x:
        assert np.average(np.arange(64), weights=(whole < 70).sum(0)) == pytest.approx(x / 10 - 0.5, abs=0.5)


@pytest.mark.parametrize(
    ("call", "image", "sentence"),
    [
        ("find_circle", np.zeros((64, 64, 3), np.uint8), r"image is uint8 of shape \(64, 64, 3\); give grey uint8"),
        ("find_circle", np.zeros((64, 64)), "image is float64"),
        ("find_circle", np.zeros((8, 64), np.uint8), "at least 12 pixels a side"),
        ("disc_mask", np.zeros((32, 32), np.uint8), r"image has shape \(32, 32\); give a centred grey eye of 64×64"),
    ],
)
def test_a_bad_image_is_refused_in_one_sentence(call, image, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        getattr(iris_circle, call)(image)
    assert "\n" not in str(caught.value)
