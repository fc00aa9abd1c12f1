"""The pilot classifier: its size, its features."""

import pytest
import torch

from lib.models.classifiers.factory import classifier
from lib.models.classifiers.small_cnn import SmallCNN


@pytest.mark.parametrize("size", [32, 64])
def test_size_and_shapes(size):
    model = SmallCNN()
    assert sum(p.numel() for p in model.parameters()) == 14_594
    images = torch.rand(3, 1, size, size)
    features = model.features(images)
    assert features.shape == (3, 64)
    assert (features[:, 32:] >= features[:, :32]).all()  # maximum beside mean
    assert torch.equal(model(images), model.head(features))


def test_images_do_not_mix():
    model, images = SmallCNN().double(), torch.rand(4, 1, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model(images)[1:2], model(images[1:2]))


def test_colour_images_have_three_channels():
    model = classifier("small_cnn", classes=5, channels=3, seed=0)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert classifier("wide_resnet", channels=3, seed=0).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    for name, channels in (("swin", 3), ("small_cnn", 2)):
        with pytest.raises(ValueError, match=f"{name} does not take images of {channels} channels"):
            classifier(name, channels=channels, seed=0)
