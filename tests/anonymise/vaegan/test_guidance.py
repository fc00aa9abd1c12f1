"""Auxiliary losses equal the literal loop over anchors; a frozen classifier is a copy."""

import torch

from lib.anonymise.vaegan.guidance import AuxiliaryLosses, FrozenClassifier
from lib.anonymise.vaegan.losses import margin_loss, soft_cross_entropy
from lib.core import seeding
from lib.models.classifiers.identity import ConvClassifier, distances, paired_distances
from lib.training.loop.dataset import DeviceDataset
from tests.anonymise.vaegan.toy import CPU, PEOPLE, Disc, Stripes, toy


def test_auxiliary_losses_equal_the_literal_loop_over_anchors():
    """All anchors at once from points computed beforehand, against one pass for each person."""
    images, _, people, _ = toy(3)
    examples = DeviceDataset(images, people, device=CPU)
    auxiliary = AuxiliaryLosses("distance", finding=Disc(), identity=Stripes(), examples=examples, margin=3.0)
    drawn, rows = torch.rand(5, 1, 16, 16) * 2 - 1, torch.tensor([0, 4, 7, 9, 11])
    with torch.random.fork_rng(devices=[]):
        anchors = auxiliary._anchors()
        torch.manual_seed(3)
        anchors = auxiliary._anchors()
        torch.manual_seed(3)
        losses = auxiliary.of_examples(drawn, rows)
    assert people[anchors].tolist() == list(range(PEOPLE))
    original, x = examples.inputs(rows), Stripes()(drawn)
    each = [
        margin_loss(distances(x, Stripes()(examples.inputs(anchors[i : i + 1]))), margin=3.0) for i in range(PEOPLE)
    ]
    torch.testing.assert_close(losses["privacy"], torch.stack(each).mean())
    torch.testing.assert_close(losses["source"], margin_loss(paired_distances(x, Stripes()(original)), margin=3.0))
    finding = soft_cross_entropy(Disc()(original).softmax(dim=1), Disc()(drawn))
    torch.testing.assert_close(losses["finding"], finding)


def test_the_inert_loss_is_zero():
    images, _, people, _ = toy(3)
    examples = DeviceDataset(images, people, device=CPU)
    auxiliary = AuxiliaryLosses(
        "distance", finding=Disc(), identity=Stripes(), examples=examples, margin=50.0, inert=True
    )
    assert float(auxiliary.of_examples(torch.rand(5, 1, 16, 16), torch.arange(5))["privacy"]) == 0


def test_a_frozen_classifier_is_a_copy():
    images, _, people, _ = toy(3)
    with seeding.initialising(0):
        network = ConvClassifier(16, PEOPLE, width=4).train()
    examples = DeviceDataset(images, people, device=CPU)
    frozen = FrozenClassifier(network, examples)
    before = {name: value.clone() for name, value in frozen.network.state_dict().items()}
    x = torch.rand(4, 1, 16, 16, requires_grad=True)
    frozen(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert network.training
    assert all(torch.equal(value, frozen.network.state_dict()[name]) for name, value in before.items())
    torch.testing.assert_close(frozen.of(torch.arange(4)), network.eval()(examples.inputs(slice(0, 4))))
