"""Wide ResNet-50: published size, torchvision's names, a literal forward pass."""

import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.classifiers.wide_resnet import WideResNet50


@pytest.mark.parametrize(("classes", "count"), [(1000, 68_883_240), (2, 66_838_338), (5, 66_844_485)])
def test_parameter_counts(classes, count):
    """With 1,000 classes the count that torchvision publishes; a head of c classes has 2,049 c of them."""
    with torch.device("meta"):
        assert sum(p.numel() for p in WideResNet50(classes).parameters()) == count == 66_834_240 + 2049 * classes


def test_names_and_shapes_are_torchvisions():
    """Spelt out from torchvision's documented layout, so that its weights load strictly."""
    expected = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    inputs = 64
    for stage, (blocks, planes) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            at, inner, outputs = f"layer{stage}.{block}", 2 * planes, 4 * planes
            expected[f"{at}.conv1.weight"] = (inner, inputs, 1, 1)
            expected[f"{at}.conv2.weight"] = (inner, inner, 3, 3)
            expected[f"{at}.conv3.weight"] = (outputs, inner, 1, 1)
            expected |= _norm(f"{at}.bn1", inner) | _norm(f"{at}.bn2", inner) | _norm(f"{at}.bn3", outputs)
            if block == 0:
                expected[f"{at}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                expected |= _norm(f"{at}.downsample.1", outputs)
            inputs = outputs
    expected |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    with torch.device("meta"):
        state = WideResNet50(1000).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected


def _norm(name, channels):
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


@pytest.fixture(scope="module")
def small():
    with initialising(0):
        model = WideResNet50(3, width=4).double()
        for module in model.modules():  # running statistics that are not the neutral ones
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def test_forward_equals_a_literal_one(small):
    images = torch.randn(2, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    state = small.state_dict()

    def convolved(x, name, norm, stride=1, padding=0):
        y = F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
        mean, var, weight, bias = (
            state[f"{norm}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-5).sqrt() * weight + bias

    x = images.repeat(1, 3, 1, 1)
    x = F.max_pool2d(convolved(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = convolved(x, f"{at}.conv1", f"{at}.bn1").relu()
            y = convolved(y, f"{at}.conv2", f"{at}.bn2", stride, 1).relu()
            y = convolved(y, f"{at}.conv3", f"{at}.bn3")
            beside = convolved(x, f"{at}.downsample.0", f"{at}.downsample.1", stride) if block == 0 else x
            x = (y + beside).relu()
    expected = x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(small(images), expected, rtol=1e-9, atol=1e-11)


def test_grey_and_coloured_images_and_no_others(small):
    grey = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(small(grey), small(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match="takes"):
        small(grey.expand(-1, 2, -1, -1))
