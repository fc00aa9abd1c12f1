"""k-Same: groups equal the literal greedy search, nobody stands in a group smaller than k, style moves as it should."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.anonymise.ksame import _Resemblance, average_with_nearest_people, k_salsa, k_same, same_size_groups
from lib.anonymise.latent_walk.endpoints import same_class_pairs
from lib.anonymise.latent_walk.plan import linear
from lib.core.seeding import initialising


def _literal_groups(points, k):
    points, free, group = points.numpy(), list(range(len(points))), np.full(len(points), -1)
    for number in range(len(points) // k):
        total = [sum(np.linalg.norm(points[i] - points[j]) for j in free) for i in free]
        seed = free[int(np.argmax(total))]
        others = sorted((i for i in free if i != seed), key=lambda i: np.linalg.norm(points[i] - points[seed]))
        for member in [seed, *others[: k - 1]]:
            group[member] = number
            free.remove(member)
    means = [points[group == number].mean(axis=0) for number in range(len(points) // k)]
    for i in free:
        group[i] = int(np.argmin([np.linalg.norm(points[i] - mean) for mean in means]))
    return group


@pytest.mark.parametrize(("n", "k"), [(20, 5), (23, 4), (9, 9), (12, 2)])
def test_groups_equal_the_literal_search(n, k):
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    group = same_size_groups(points, k=k)
    np.testing.assert_array_equal(group, _literal_groups(points, k))
    assert np.bincount(group).min() >= k
    assert len(np.bincount(group)) == n // k


def test_twins_are_one_group_whatever_their_number():
    points = torch.tensor([[0.0], [0.0], [0.0], [5.0], [5.0], [5.0]])
    group = same_size_groups(points, k=3)
    assert len(set(group[:3])) == len(set(group[3:])) == 1
    assert same_size_groups(torch.zeros(7, 2), k=3).tolist().count(0) >= 3


def test_averages_labels_and_shares():
    points = torch.tensor([[0.0, 0], [2, 0], [10, 0], [12, 4], [11, 2]])
    labels = np.array([0, 0, 1, 1, 1])
    found = k_same(points, labels, k=2)
    assert found.group.tolist()[:2] == [0, 0]
    torch.testing.assert_close(found.averages, torch.tensor([[1.0, 0], [11, 2]]))
    assert found.labels.tolist() == [0, 1]
    assert found.shares.tolist() == [[1, 0], [0, 1]]
    mixed = k_same(points, np.array([0, 1, 1, 1, 1]), k=2, within_class=False)
    assert mixed.shares[mixed.group[0]].tolist() == [0.5, 0.5]
    assert mixed.labels[mixed.group[0]] == 0  # of equals the smaller
    images = torch.full((4, 8, 8), 7, dtype=torch.uint8)
    assert k_same(images, np.zeros(4, dtype=int), k=4).averages.eq(7).all()


def test_linear_walks_between_averages_are_lci():
    """The groups of the same class, their averages as ends: every point of a walk is a mixture of 2k people."""
    points, labels = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), np.repeat([0, 1], 12)
    groups = k_same(points, labels, k=4)
    pairs = same_class_pairs(groups.labels, rng=np.random.default_rng(0))
    walks = linear(groups.averages[pairs.first], groups.averages[pairs.last], points=3)
    assert walks.shape == (6, 3, 5)
    members = points[(groups.group == pairs.first[0]) | (groups.group == pairs.last[0])]
    torch.testing.assert_close(walks[0, 1], members.mean(dim=0))


@pytest.mark.parametrize(
    ("labels", "k", "within", "message"),
    [
        ([0, 0, 0, 1, 1], 3, True, "k is 3, but class 1 has 2 images"),
        ([0, 0, 0, 1, 1], 6, False, "k is 6 for 5 points"),
        ([0, 0, 0, 1, 1], 1, True, "k is 1"),
        ([0, 0, 0], 2, True, "5 integers"),
    ],
)
def test_bad_groups_are_refused(labels, k, within, message):
    with pytest.raises(ValueError, match=message):
        k_same(torch.zeros(5, 2), labels, k=k, within_class=within)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        same_size_groups(torch.tensor([[0.0], [torch.nan]]), k=2)


class _Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 256)

    def forward(self, w):
        return torch.tanh(self.map(w)).view(-1, 1, 16, 16)


@pytest.fixture(scope="module")
def networks():
    with initialising(0):
        style = nn.Sequential(nn.Conv2d(1, 3, 3, 1, 1), nn.ReLU())
        content = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        return {"synthesis": _Generator(), "content": content, "style": style}


def test_content_and_style_equal_their_literal_definition(networks):
    members = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = _Resemblance(**networks, members=members, grid=4).losses(latents)
        generate, content, style = networks.values()
        for group in range(2):
            mine = generate(latents[group][None])
            distance, difference = [], []
            patches = [style(mine)[0][:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] for i in range(4) for j in range(4)]
            for w in members[group]:
                other = generate(w[None])
                distance.append(1 - F.cosine_similarity(content(mine), content(other)))
                maps = style(other)[0]
                for i in range(4):
                    for j in range(4):
                        source = maps[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                        alike = [F.cosine_similarity(source.flatten(), p.flatten(), dim=0) for p in patches]
                        match = patches[int(torch.stack(alike).argmax())]
                        grams = [p.flatten(1) @ p.flatten(1).T for p in (source, match)]
                        difference.append((grams[0] - grams[1]).square().mean())
            torch.testing.assert_close(found[0, group], torch.cat(distance).mean())
            torch.testing.assert_close(found[1, group], torch.stack(difference).mean())


@pytest.mark.parametrize("memory", [1, 64])
def test_alignment_resembles_the_group_more_than_its_average(networks, memory):
    latents = torch.randn(13, 6, generator=torch.Generator().manual_seed(2))
    group = same_size_groups(latents, k=4)  # one group has five
    options = {"content_weight": 1.0, "style_weight": 0.1, "steps": 40, "learning_rate": 0.05}
    aligned = k_salsa(**networks, latents=latents, group=group, memory_images=memory, **options)
    for number in range(3):
        members = latents[group == number]
        evaluated = _Resemblance(**networks, members=members[None], grid=4)
        with torch.no_grad():
            before, after = (
                evaluated.losses(w[None])[:, 0] @ torch.tensor([1.0, 0.1]) for w in (members.mean(0), aligned[number])
            )
        assert after < before
    whole = k_salsa(**networks, latents=latents, group=group, **options)
    torch.testing.assert_close(aligned, whole, rtol=1e-3, atol=1e-3)  # blocks do not change the result
    assert all(p.grad is None and p.requires_grad for p in networks["content"].parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": np.array([0, 0, 2, 2])}, "none empty"),
        ({"group": np.array([0, 0])}, "none empty"),
        ({"grid": 17}, "no grid of 17"),
        ({"learning_rate": float("inf")}, "diverged"),
    ],
)
def test_bad_alignment_is_refused(networks, changes, message):
    options = {"latents": torch.eye(4, 6), "group": np.array([0, 0, 1, 1]), "steps": 1, **networks}
    with pytest.raises(ValueError, match=message):
        k_salsa(**options | changes)


def test_a_case_is_averaged_with_the_nearest_image_of_the_nearest_other_people():
    rng = np.random.default_rng(0)
    people, labels = np.repeat(np.arange(6), 4), rng.integers(0, 2, 24)
    labels[::4], labels[1::4] = 0, 1  # each person has both findings
    images, gallery = rng.integers(0, 256, (24, 5, 5), dtype=np.uint8), np.arange(24) % 4 < 3
    for same in (None, labels):
        found = average_with_nearest_people(images, people, gallery=gallery, k=3, labels=same)
        for i in range(24):
            best = {}
            for j in np.flatnonzero(gallery):
                if people[j] != people[i] and (same is None or labels[j] == labels[i]):
                    far = np.linalg.norm(images[i].astype(float) - images[j])
                    best[people[j]] = min(best.get(people[j], (np.inf, 0)), (far, j))
            near = [j for _, j in sorted(best.values())[:2]]
            expected = (images[i].astype(float) + images[near].astype(float).sum(axis=0)) / 3
            assert np.abs(found[i] - expected).max() <= 0.5
    with pytest.raises(ValueError, match="5 other people"):
        average_with_nearest_people(images, people, gallery=gallery, k=7)
