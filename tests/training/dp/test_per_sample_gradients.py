"""Per-sample gradients are those of single images and Opacus' own; what cannot have them is refused."""

import pytest
import torch
import torch.nn.functional as F
from opacus import GradSampleModule
from torch import nn

from lib.core import seeding
from lib.training.dp.per_sample_gradients import ENGINES, FlatParameters, check_engine, per_sample_gradients
from tests.training.dp.toy import NETWORKS, example, small_cnn, smoothed


@pytest.mark.parametrize("engine", ["layers", "vmap"])
@pytest.mark.parametrize("name", NETWORKS)
def test_per_sample_gradients_are_those_of_single_images(name, engine):
    model, images, labels = example(name)
    flat = FlatParameters(model)
    ours, losses = per_sample_gradients(flat, images, labels, loss=smoothed, engine=engine)
    for i in range(len(images)):
        loss = smoothed(model(images[i : i + 1]), labels[i : i + 1])[0]
        gradients = torch.autograd.grad(loss, flat.parameters, allow_unused=True)
        for parameter, gradient in zip(flat.parameters, gradients, strict=True):
            expected = torch.zeros_like(parameter) if gradient is None else gradient
            torch.testing.assert_close(flat.part(ours, parameter)[i], expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(losses[i], loss.detach(), rtol=1e-5, atol=1e-6)


def test_per_sample_gradients_are_opacus_own():
    model, images, labels = example("small_cnn", n=7)
    plain = small_cnn()
    plain.layers[0] = nn.Conv2d(1, 16, 5, 2, 2)  # Opacus goes by the exact type, and takes torch.func for ours
    theirs = GradSampleModule(plain, loss_reduction="sum")
    theirs.load_state_dict({f"_module.{k}": v for k, v in model.state_dict().items()})
    smoothed(theirs(images.clone().requires_grad_()), labels).sum().backward()
    flat = FlatParameters(model)
    ours, _ = per_sample_gradients(flat, images, labels, loss=smoothed)
    for parameter, their in zip(flat.parameters, theirs.parameters(), strict=True):
        torch.testing.assert_close(flat.part(ours, parameter), their.grad_sample, rtol=1e-4, atol=1e-6)


def test_flat_parameters_share_memory_until_released():
    model = small_cnn()
    before = [p.detach().clone() for p in model.parameters()]
    flat = FlatParameters(model)
    assert flat.vector.numel() == 14_594
    for parameter, value in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, value, rtol=0, atol=0, check_stride=False)
    with torch.no_grad():
        flat.vector.add_(1)
    flat.release()
    with torch.no_grad():
        flat.vector.zero_()
    for parameter, value in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), value + 1, rtol=0, atol=0, check_stride=False)


def test_a_network_that_mixes_images_is_refused():
    with seeding.initialising(0):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(16, 2))
        images = torch.randn(4, 1, 4, 4)
    with pytest.raises(ValueError, match="0.weight.*mixes images"):
        check_engine(FlatParameters(model), images, torch.arange(4) % 2, loss=smoothed, engine="layers")


def test_a_parameter_used_outside_its_layer_is_refused():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(F.linear(self.a(x), self.a.weight))

    with seeding.initialising(0):
        model, inputs = Functional(), torch.randn(4, 4)
    flat, labels = FlatParameters(model), torch.arange(4) % 2
    with pytest.raises(ValueError, match=r"a\.weight by 'layers'"):
        check_engine(flat, inputs, labels, loss=smoothed, engine="layers")
    check_engine(flat, inputs, labels, loss=smoothed, engine="vmap")


def test_a_layer_without_a_rule_is_named():
    model = nn.Sequential(nn.PReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="No per-sample rule for the layer PReLU"):
        per_sample_gradients(FlatParameters(model), torch.randn(2, 4), torch.tensor([0, 1]), loss=smoothed)


def test_an_unknown_engine_lists_the_known():
    with pytest.raises(ValueError, match="choose one of layers, vmap, microbatch"):
        per_sample_gradients(FlatParameters(nn.Linear(1, 1)), torch.zeros(1, 1), torch.zeros(1), loss=None, engine="x")
    assert list(ENGINES) == ["layers", "vmap", "microbatch"]
