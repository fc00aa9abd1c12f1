"""Siamese training: pairs by the letter, the loss by hand, people apart on a toy, bad input."""

import numpy as np
import pytest
import torch

from lib.models.classifiers.identity import distances
from lib.training.classifier.siamese import contrastive, embed, identity_pairs, train_siamese
from tests.training.runs import silent

TINY = {"seed": 1, "steps": 4, "batch": 8, "width": 4, "dimensions": 8, "learning_rate": 3e-3}


def stripes(people=4, each=6, seed=0):
    """Every person is a stripe at a height of its own."""
    rng = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), each)
    images = rng.normal(100, 12, (len(identities), 16, 16))
    images[np.arange(len(identities)), 2 + 3 * identities] += 100
    return images.clip(0, 255).astype(np.uint8), identities


def test_pairs_are_those_of_the_specification():
    identities = np.array([7, 3, 7, 3, 7, 5, 5, 7, 7])
    first, second, same = identity_pairs(identities, rng=np.random.default_rng(0))
    genuine = {tuple(sorted(pair)) for pair in zip(first[same].tolist(), second[same].tolist(), strict=True)}
    everyone = range(len(identities))
    assert genuine == {(i, j) for i in everyone for j in everyone if i < j and identities[i] == identities[j]}
    assert len(genuine) == same.sum()
    assert not (identities[first] == identities[second])[~same].any()
    for anchor in everyone:
        disjoint_patients = identities[second[~same][first[~same] == anchor]]
        wanted = int(np.ceil((np.sum(identities == identities[anchor]) - 1) / 2))
        assert len(disjoint_patients) == wanted == len(set(disjoint_patients))


def test_no_more_negative_control_than_other_people():
    first, _, same = identity_pairs(np.repeat([0, 1, 2], 9), rng=np.random.default_rng(0))
    assert (np.bincount(first[~same]) == 2).all()


def test_contrastive_loss_by_hand():
    loss = contrastive(torch.tensor([0.5, 0.5, 3.0, 12.0]), torch.tensor([1, 0, 0, 0]), margin=2.0)
    assert float(loss) == pytest.approx((0.25 + 1.5**2) / 4)


def test_people_come_apart(tmp_path):
    images, identities = stripes()
    model = train_siamese(images, identities, path=tmp_path, progress=silent, **(TINY | {
        "steps": 60, "batch": 32, "momentum": 0.1}))  # fmt: skip
    fresh, who = stripes(seed=1)
    points = torch.from_numpy(embed(model, fresh, device=torch.device("cpu")))
    apart, same = distances(points, points).numpy(), who[:, None] == who
    assert apart[same].mean() < 0.35
    assert apart[~same].mean() > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, who: (images, np.zeros_like(who)), "one person"),
        (lambda images, who: (images[:19], who[:19]), r"\[3\] have a single image"),
        (lambda images, who: (np.stack([images] * 3, axis=1), who), "3 channels: give grey"),
    ],
)
def test_bad_input_is_one_clear_sentence(tmp_path, change, message):
    images, identities = change(*stripes())
    with pytest.raises(ValueError, match=message):
        train_siamese(images, identities, path=tmp_path, progress=silent, **TINY)
