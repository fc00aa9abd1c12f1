"""Linkage: people are found by their other images, and nobody where nothing is released."""

import numpy as np
import pytest

from lib.metrics.privacy.attacks import linkage
from lib.metrics.privacy.attacks.linkage import link
from lib.statistics.roc import auroc
from tests.metrics.privacy.toy import normal


def faces(seed, people, each, d=12):
    rng = np.random.default_rng(seed)
    own = 3 * rng.normal(size=(people, d))
    return np.repeat(own, each, axis=0) + rng.normal(size=(people * each, d)), np.repeat(np.arange(people), each)


def test_people_are_linked_by_their_other_images_and_others_are_not():
    """Of 40 cohorts: everyone released is found in each; disjoint patients give an AUROC of a half on average.

    One such AUROC of 15 against 15 people has a standard deviation of √(31 / 2700) = .107, the mean of 40 one of .017.
    """
    null = []
    for seed in range(40):
        images, who = faces(seed, 30, 5)
        place = np.arange(len(who)) % 5
        known, released = place >= 2, (place < 2) & (who < 15)
        found = link(images[released], known=images[known], people=who[known])
        assert np.allclose(found.posterior.sum(axis=1), 1)
        assert (found.people[found.posterior.argmax(axis=1)] == who[released]).mean() > 0.9
        assert auroc(found.people < 15, found.scores) > 0.95
        disjoint_patients = link(faces(1000 + seed, 30, 1)[0], known=images[known], people=who[known])
        null.append(auroc(disjoint_patients.people < 15, disjoint_patients.scores))
    assert 0.42 < np.mean(null) < 0.58


def test_linkage_does_not_depend_on_scale_and_refuses_single_images():
    images, who = faces(1, 8, 4)
    first = link(images[:5], known=images, people=who)
    second = link(255 * images[:5], known=255 * images, people=who)
    assert np.allclose(first.posterior, second.posterior)
    with pytest.raises(ValueError, match="two images"):
        link(images[:5], known=images[::4], people=who[::4])


@pytest.mark.parametrize("components", [5, 150])
@pytest.mark.parametrize("rows", [7, 60])
def test_blocks_are_the_whole(rows, components, monkeypatch):
    images, who = faces(2, 30, 5)
    options = {"known": images, "people": who, "components": components}
    whole = link(images[::3] + 0.5, **options)
    monkeypatch.setattr(linkage, "_ROWS", rows)
    blocks = link(images[::3] + 0.5, **options)
    np.testing.assert_allclose(blocks.posterior, whole.posterior, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-9)
    with pytest.raises(ValueError, match="released holds 1 NaN"):
        link(np.where(np.arange(12) == 3, np.nan, images[-1:]), **options)


def test_nothing_released_links_to_nobody():
    with pytest.raises(ValueError, match="released is empty"):
        link(normal(0, 0), known=normal(1, 4), people=[0, 0, 1, 1])
