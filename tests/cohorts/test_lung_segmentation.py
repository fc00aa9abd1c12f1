"""Lungs are found where they are drawn, dense lung belongs to them, and what shows none has the ellipse."""

import numpy as np
import pytest

from lib.cohorts.lung_segmentation import ELLIPSES, inside, segmented


def drawn(moved=0.0, by=1.0, size=64, noise=6):
    """A bright body with two dark lungs, moved to the side and changed in size; the radiograph and the lungs."""
    lungs = [inside((x + moved, y + moved, wide, high), size, by=by) for x, y, wide, high in ELLIPSES]
    truth = np.logical_or(*lungs)
    grey = np.where(truth, 70, 170) + noise * np.random.default_rng(0).standard_normal((size, size))
    return grey.clip(0, 255).astype(np.uint8), truth


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize(("moved", "by"), [(0.0, 1.0), (0.03, 1.0), (-0.03, 1.0), (0.0, 0.8), (0.0, 1.2)])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_lungs_are_found_where_they_are_drawn(moved, by, size):
    image, truth = drawn(moved, by, size)
    lungs = segmented(image[None])
    assert lungs.found.all()
    assert dice(lungs.masks[0] == 1, truth) > 0.93


def test_dense_lung_belongs_to_the_mask():
    image, truth = drawn()
    dense = np.zeros_like(truth)
    dense[28:36, 18:26] = True
    image[dense] = 165
    assert (segmented(image[None]).masks[0][dense] == 1).all()


def test_each_radiograph_has_masks_of_its_own():
    pair = [drawn(moved)[0] for moved in (-0.03, 0.03)]
    both = segmented(np.stack(pair)).masks
    for image, mask in zip(pair, both, strict=True):
        np.testing.assert_array_equal(segmented(image[None]).masks[0], mask)
    assert dice(both[0] == 1, both[1] == 1) < 0.9


def test_where_no_lung_is_seen_the_ellipse_stands_in():
    flat = np.full((1, 64, 64), 150, np.uint8)
    flat[0, 0, 0] = 0
    lungs = segmented(flat)
    assert not lungs.found.any()
    np.testing.assert_array_equal(lungs.masks[0] == 1, np.logical_or(*(inside(of, 64) for of in ELLIPSES)))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 64, 32), np.uint8),
        np.zeros((64, 64), np.uint8),
        np.zeros((2, 64, 64)),
        np.zeros((0, 8, 8), np.uint8),
    ],
)
def test_other_images_are_refused(wrong):
    with pytest.raises(ValueError, match="give square grey ones"):
        segmented(wrong)
