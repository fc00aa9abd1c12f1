"""Pairs of one class, ends with a patient between them, and what is released."""

import numpy as np
import pytest
import torch

from lib.anonymise.latent_walk.endpoints import class_draws, injected_endpoints, released, same_class_pairs
from lib.anonymise.latent_walk.plan import linear

LABELS = np.array([0, 1, 0, 1, 1, 0, 0])


def test_all_pairs_or_some_of_one_class():
    every = same_class_pairs(LABELS, rng=np.random.default_rng(0))
    assert len(every.first) == 6 + 3
    assert (LABELS[every.first] == every.labels).all()
    assert (LABELS[every.last] == every.labels).all()
    assert len({frozenset(pair) for pair in zip(every.first, every.last, strict=True)}) == 9
    some = same_class_pairs(LABELS, per_class=3, rng=np.random.default_rng(0))
    assert np.bincount(some.labels).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("labels", "per_class", "message"),
    [
        ([0, 0, 1], None, "class 1 has one point"),
        ([0, 0, 1, 1], 2, "class 0 has 1 pairs of its 2 points, but 2"),
        ([0.5, 0.5], None, "integer class"),
        ([], None, "integer class"),
    ],
)
def test_classes_without_pairs_are_refused(labels, per_class, message):
    with pytest.raises(ValueError, match=message):
        same_class_pairs(labels, per_class=per_class, rng=np.random.default_rng(0))


def test_injected_ends_have_the_patient_in_the_middle():
    latents = torch.randn(9, 2, 6, generator=torch.Generator().manual_seed(0))
    first, last = injected_endpoints(latents, rows=[4, 7], rng=np.random.default_rng(0))
    torch.testing.assert_close(linear(first, last, points=5)[:, 2], latents[[4, 7]])
    apart = torch.cdist(latents.flatten(1), latents.flatten(1))
    mean = apart[~torch.eye(9, dtype=torch.bool)].mean()
    torch.testing.assert_close((last - first).flatten(1).norm(dim=1), mean.expand(2))
    with pytest.raises(ValueError, match="rows"):
        injected_endpoints(latents, rows=[9], rng=np.random.default_rng(0))


@pytest.mark.parametrize("ends", [False, True])
def test_released_are_drawn_once_and_without_ends(ends):
    walks = torch.arange(4 * 6, dtype=torch.float32).view(4, 6, 1)
    labels = np.array([1, 0, 1, 1])
    drawn = released(walks, labels, per_class={0: 3, 1: 7}, ends=ends, rng=np.random.default_rng(0))
    values = drawn.latents.flatten().int().numpy()
    assert len(set(values.tolist())) == 10
    assert (values // 6 == drawn.walk).all()
    assert (labels[drawn.walk] == drawn.labels).all()
    assert np.bincount(drawn.labels).tolist() == [3, 7]
    every = released(walks, labels, per_class={1: 18 if ends else 12}, ends=ends, rng=np.random.default_rng(0))
    steps = every.latents.flatten().int().numpy() % 6
    assert set(steps.tolist()) == set(range(6) if ends else range(1, 5))
    with pytest.raises(ValueError, match="class 0 has .* points on its walks, not 7"):
        released(walks, labels, per_class={0: 7}, ends=ends, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="one class per walk"):
        released(walks, labels[:2], per_class={0: 1}, rng=np.random.default_rng(0))


def test_class_draws_have_the_law_of_their_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    latents = torch.from_numpy(rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)) + 5 * labels[:, None])
    wanted = rng.permutation(np.repeat([0, 1], 20000))
    found = class_draws(latents, labels=labels, wanted=wanted, rng=rng)
    for label in (0, 1):
        points, drawn = latents[labels == label], found[wanted == label]
        torch.testing.assert_close(drawn.mean(dim=0), points.mean(dim=0), atol=0.1, rtol=0)
        torch.testing.assert_close(torch.cov(drawn.T), torch.cov(points.T), atol=0.2, rtol=0.05)
    with pytest.raises(ValueError, match="class 2 has 0 points: its law needs two"):
        class_draws(latents, labels=labels, wanted=[2], rng=rng)
