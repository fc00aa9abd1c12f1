"""Grey rows answer as the features they stand for, bit for bit, and are made numbers a block at a time."""

import numpy as np
import pytest
import torch

from lib.features import extract
from lib.metrics.neighbours import grey_rows
from lib.metrics.neighbours.grey_rows import GreyRows
from lib.metrics.neighbours.search import nearest
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack

MEMORY = (2**29, 2**17)  # all at once, or in small blocks


@pytest.fixture(scope="module")
def images():
    """Candidates and synthetic images, of which some are copies, and some equally far."""
    rng = np.random.default_rng(0)
    candidates, synthetic = (rng.integers(0, 256, (n, 12, 12), np.uint8) for n in (90, 211))
    synthetic[:20], synthetic[20:40] = candidates[:20], candidates[5]
    return candidates, synthetic


def test_every_grey_level_is_that_of_the_features():
    levels = np.arange(256, dtype=np.uint8)[None]
    rows = GreyRows(levels)
    assert np.array_equal(rows.to(torch.float32).cpu().numpy(), extract("pixels", levels))
    assert (rows.dtype, rows.shape, len(rows)) == (torch.float32, (1, 256), 1)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("k", [1, 4])
def test_neighbours_are_the_same(images, memory, k):
    features = [extract("pixels", part) for part in images]
    expected = nearest(*features, k=k, memory=memory)
    for rows in ([GreyRows(part) for part in images], [GreyRows(images[0]), features[1]]):
        for found, wanted in zip(nearest(*rows, k=k, memory=memory), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    own = GreyRows(images[1])
    found = nearest(own, own, k=k, exclude_self=True, memory=memory)
    np.testing.assert_array_equal(found.indices, nearest(*2 * features[1:], k=k, exclude_self=True).indices)


@pytest.mark.parametrize("memory", MEMORY)
def test_attacks_are_the_same(images, memory):
    features = [extract("pixels", part) for part in images]
    rows = [GreyRows(part) for part in images]
    for found, wanted in zip(
        pairwise_attack(*rows, memory=memory), pairwise_attack(*features, memory=memory), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    for quantile in (1 / 90, 0.02, 0.5):
        found = density_attack(*rows, quantile=quantile, memory=memory)
        wanted = density_attack(*features, quantile=quantile, memory=memory)
        assert found.radius == wanted.radius
        np.testing.assert_array_equal(found.scores, wanted.scores)


def test_numbers_are_made_of_a_block_at_a_time(images, monkeypatch):
    made, values = [], grey_rows._values
    monkeypatch.setattr(grey_rows, "_values", lambda grey: (made.append(grey.numel()), values(grey))[1])
    many = GreyRows(np.repeat(images[1], 30, axis=0))  # 911,520 pixels
    pairwise_attack(GreyRows(images[0]), many, memory=2**17)
    assert sum(made) > many.shape.numel() > 5 * max(made)


def test_what_is_no_grey_image_is_refused():
    for images in (np.zeros((3, 4), np.float32), np.zeros(3, np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="give uint8 images"):
            GreyRows(images)
