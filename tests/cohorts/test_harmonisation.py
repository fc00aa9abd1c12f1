"""Histogram matching, rank by rank."""

import tracemalloc

import numpy as np
import pytest

from lib.cohorts import harmonisation
from lib.cohorts.harmonisation import match_histogram
from lib.cohorts.rows import Pooled

RNG = np.random.default_rng(0)


IMAGES = RNG.integers(0, 40, (12, 8, 8), dtype=np.uint8)  # many ties


REFERENCE = RNG.normal(140, 30, (6, 8, 8)).clip(0, 255).astype(np.uint8)


def _histogram(images):
    return np.bincount(np.ravel(images), minlength=256)


@pytest.mark.parametrize("times", [1, 2, 6])
def test_histogram_becomes_that_of_the_reference_exactly(times):
    reference = REFERENCE.ravel()[: IMAGES.size // times].reshape(-1, 8)
    if times == 1:
        reference = RNG.integers(0, 256, IMAGES.size, dtype=np.uint8)
    np.testing.assert_array_equal(_histogram(match_histogram(IMAGES, reference)), times * _histogram(reference))


@pytest.mark.parametrize("size", [1, 7, 100, 999, 5000])
def test_cumulative_counts_of_any_reference_are_within_a_half(size):
    reference = RNG.integers(0, 256, size, dtype=np.uint8)
    matched = _histogram(match_histogram(IMAGES, reference)).cumsum()
    assert np.abs(matched - _histogram(reference).cumsum() * IMAGES.size / size).max() <= 0.5


def test_rank_by_rank_equals_the_quantile_definition():
    matched, levels = match_histogram(IMAGES, REFERENCE), np.sort(REFERENCE.ravel())
    n, m = IMAGES.size, REFERENCE.size
    expected = levels[[int((r + 0.5) * m / n) for r in range(n)]]
    np.testing.assert_array_equal(np.sort(matched.ravel()), expected)
    order = np.lexsort([matched.ravel(), IMAGES.ravel()])
    assert (np.diff(matched.ravel()[order].astype(int)) >= 0).all()  # a brighter pixel is never darker after


def literally(images, reference):
    """All pixels sorted at once, which takes 24 bytes a pixel."""
    padded = np.pad(images.astype(int), [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    high, wide = images.shape[-2:]
    around = sum(padded[..., i : i + high, j : j + wide] for i in range(3) for j in range(3))
    order = np.lexsort([np.arange(images.size), around.ravel(), images.ravel()])
    ranks = (2 * np.arange(images.size) + 1) * reference.size // (2 * images.size)
    matched = np.empty(images.size, np.uint8)
    matched[order] = np.sort(reference.ravel())[ranks]
    return matched.reshape(images.shape)


@pytest.mark.parametrize("at_once", [1, 100, 200, 2**22])
@pytest.mark.parametrize("size", [1, 7, 384, 999, 5000])
def test_blocks_are_the_whole(size, at_once, monkeypatch):
    monkeypatch.setattr(harmonisation, "_AT_ONCE", at_once)
    reference = RNG.integers(0, 256, size, dtype=np.uint8)
    flat = np.repeat(RNG.integers(0, 3, (9, 1, 1), dtype=np.uint8), 64, axis=1).reshape(9, 8, 8)  # one key a level
    for images in (IMAGES, IMAGES.reshape(6, 2, 8, 8), flat, RNG.integers(0, 256, (30, 5, 7), dtype=np.uint8)):
        wanted = literally(images, reference)
        np.testing.assert_array_equal(match_histogram(images, reference), wanted)
        np.testing.assert_array_equal(match_histogram(Pooled(images[:2], images[2:]), reference), wanted)


def test_little_is_held_beside_the_result(monkeypatch):
    monkeypatch.setattr(harmonisation, "_AT_ONCE", 2**16)
    images = RNG.integers(0, 256, (500, 96, 96), dtype=np.uint8)
    tracemalloc.start()
    match_histogram(images, images[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * images.nbytes + 5 * 8 * 256 * 2296  # and some tables of a number for each key


def test_its_own_reference_changes_nothing_and_ties_follow_the_neighbourhood():
    np.testing.assert_array_equal(match_histogram(IMAGES[:, None], IMAGES[::-1]), IMAGES[:, None])
    image = np.zeros((1, 5, 5), np.uint8)
    image[0, 0, 0] = 9  # the zeros beside it have the brighter neighbourhood
    matched = match_histogram(image, np.arange(25, dtype=np.uint8))[0]
    assert matched[0, 0] == 24
    assert {matched[0, 1], matched[1, 0], matched[1, 1]} == {21, 22, 23}


@pytest.mark.parametrize(
    ("images", "reference", "sentence"),
    [
        (IMAGES / 255, REFERENCE, "uint8 images"),
        (IMAGES, REFERENCE.astype(int), "uint8 images"),
        (IMAGES[0], REFERENCE, "uint8 images"),
        (IMAGES[:0], REFERENCE, "at least one pixel"),
        (IMAGES, REFERENCE[:0], "at least one pixel"),
    ],
)
def test_bad_input_of_matching_is_one_sentence(images, reference, sentence):
    with pytest.raises(ValueError, match=sentence):
        match_histogram(images, reference)
