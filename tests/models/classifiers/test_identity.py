"""Classifiers: published sizes, the shapes of small ones, distances by hand."""

import pytest
import torch

from lib.models.classifiers.identity import ConvClassifier, Embedding, distances, paired_distances


def count(module) -> int:
    """Parameters and moving statistics, as Keras counts them."""
    return sum(v.numel() for name, v in module.state_dict().items() if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    ("network", "expected"),
    [(ConvClassifier(64, 2), 61_954), (ConvClassifier(64, 115), 65_683), (Embedding(), 488_832)],
    ids=["finding", "identity", "embedding"],
)
def test_published_sizes(network, expected):
    assert count(network) == expected


@pytest.mark.parametrize("size", [16, 32, 64])
def test_outputs_have_the_shapes_asked_for(size):
    images = torch.zeros(3, 1, size, size)
    assert ConvClassifier(size, 7, width=8).eval()(images).shape == (3, 7)
    assert Embedding(width=4, dimensions=5).eval()(images).shape == (3, 5)


def test_a_size_without_four_halvings_is_refused():
    with pytest.raises(ValueError, match="20 is not a multiple of 16"):
        ConvClassifier(20, 2)


def test_images_of_another_size_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="takes images of 32 px, not of 64×64: train one on these"):
        ConvClassifier(32, 2)(torch.zeros(2, 1, 64, 64))


def test_maps_halve_as_keras_pads_them():
    """'Same' pooling with stride 2 takes pixels 0-2, 2-4, ..., and at the end what is left."""
    pool = [layer for layer in ConvClassifier(16, 2).layers if isinstance(layer, torch.nn.MaxPool2d)][0]
    rising = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    assert pool(rising)[0, 0, 0].tolist() == [2, 4, 6, 8, 10, 12, 14, 15]


def test_distances_by_hand_and_their_gradient_at_zero():
    first, second = torch.tensor([[0.0, 0], [3, 4]]), torch.tensor([[0.0, 0], [0, 4], [6, 8]])
    expected = torch.tensor([[1e-4, 4, 10], [5, 3, 5]])
    torch.testing.assert_close(distances(first, second), expected)
    torch.testing.assert_close(paired_distances(first, second[:2]), expected.diagonal())
    point = torch.zeros(1, 2, requires_grad=True)
    paired_distances(point, torch.zeros(1, 2)).sum().backward()
    assert point.grad.eq(0).all()
