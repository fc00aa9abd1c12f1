"""ResNet-18: published size, torchvision's names, and a literal forward pass."""

import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.classifiers.resnet import ResNet18


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("channels", "classes", "count"), [(9, 3, 11_196_867), (3, 1000, 11_689_512)])
def test_parameter_counts_are_the_published_ones(channels, classes, count):
    with torch.device("meta"):
        assert _count(ResNet18(channels, classes)) == count


def test_names_and_shapes_are_torchvisions():
    """Spelt out from torchvision's documented layout, so that its weights load strictly."""
    expected = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            at, before = f"layer{stage}.{block}", inputs if block == 0 else outputs
            expected |= {f"{at}.conv1.weight": (outputs, before, 3, 3), f"{at}.conv2.weight": (outputs, outputs, 3, 3)}
            expected |= _norm(f"{at}.bn1", outputs) | _norm(f"{at}.bn2", outputs)
        if stage > 1:
            expected |= {f"layer{stage}.0.downsample.0.weight": (outputs, inputs, 1, 1)}
            expected |= _norm(f"layer{stage}.0.downsample.1", outputs)
        inputs = outputs
    expected |= {"fc.weight": (1000, 512), "fc.bias": (1000,)}
    with torch.device("meta"):
        state = ResNet18(3, 1000).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == expected


def _norm(name, channels):
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def test_forward_equals_a_literal_one():
    with initialising(0):
        model, images = ResNet18(2, 3, width=4).double(), torch.randn(3, 2, 32, 32, dtype=torch.float64)
        for module in model.modules():  # running statistics that are not the neutral ones
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    state = model.eval().state_dict()

    def convolved(x, name, norm, stride, padding):
        y = F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
        mean, var, weight, bias = (
            state[f"{norm}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-5).sqrt() * weight + bias

    x = F.max_pool2d(convolved(images, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for at in (f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)):
        stride = 2 if f"{at}.downsample.0.weight" in state else 1
        y = convolved(x, f"{at}.conv1", f"{at}.bn1", stride, 1).relu()
        y = convolved(y, f"{at}.conv2", f"{at}.bn2", 1, 1)
        beside = convolved(x, f"{at}.downsample.0", f"{at}.downsample.1", 2, 0) if stride == 2 else x
        x = (y + beside).relu()
    expected = x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


def test_smaller_widths_take_any_size_and_train():
    with initialising(0):
        model, images = ResNet18(width=8), torch.randn(4, 9, 64, 64)
    assert model(images[:2, :, :32, :32]).shape == (2, 3)
    F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())
