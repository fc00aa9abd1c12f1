"""A convolution of grey images, and the derivatives of both orders, against torch's own."""

import pytest
import torch
from torch import nn

from lib.core import seeding
from lib.models.layers.convolution import Convolution

# kernel, stride, padding; height and width that blocks of four divide, and that they do not
SHAPES = [(5, 1, 2), (5, 2, 2), (4, 2, 1), (7, 2, 3), (3, 4, 1), (3, 4, 0), (1, 1, 0), (5, 1, 0), (2, 1, 3)]


def _pair(*shape, **options):
    plain, ours = nn.Conv2d(*shape, **options).double(), Convolution(*shape, **options).double()
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def _images(*shape):
    return torch.randn(*shape, generator=seeding.torch_generator(0, "test"), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("size", [(16, 24), (13, 18)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_grey_convolution_equals_torchs_and_so_do_its_derivatives(shape, size):
    found = []
    for layer in _pair(1, 6, *shape):
        images = _images(3, 1, *size)
        output = layer(images)
        first = torch.autograd.grad(output.pow(3).sum(), [images, *layer.parameters()], create_graph=True)
        of = [images, layer.weight]
        second = [g for one in first for g in torch.autograd.grad(one.square().sum(), of, retain_graph=True)]
        found.append([output, *first, *second])
    assert type(output.grad_fn).__name__ == "_GreyBackward"
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (1, {"padding_mode": "reflect"}), (1, {"dilation": 2}), (1, {"stride": 3}), (1, {"padding": "same"}), (2, {}),
        (1, {"kernel_size": (3, 5)}), (1, {"stride": (1, 2)}), (1, {"padding": (0, 1)}),
    ],
)  # fmt: skip
def test_what_the_fast_form_does_not_cover_is_left_to_torch(channels, options):
    found = []
    for layer in _pair(channels, 4, **({"kernel_size": 3, "padding": 1} | options)):
        images = _images(2, channels, 15, 15)
        output = layer(images)
        found.append([output, *torch.autograd.grad(output.square().sum(), [images, layer.weight])])
    assert "Grey" not in type(output.grad_fn).__name__
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_a_single_image_without_a_batch_is_left_to_torch():
    found = []
    for layer in _pair(1, 4, 5, padding=2):
        images = _images(1, 12, 12)
        found.append(torch.autograd.grad(layer(images).square().sum(), images)[0])
    assert torch.equal(*found)


def test_autocast_casts_as_it_would_without():
    plain, ours = _pair(1, 4, 5, padding=2)
    found = []
    for layer in (plain.float(), ours.float()):
        images = _images(2, 1, 12, 12).detach().float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer(images)
        assert output.dtype == torch.bfloat16
        found.append(torch.autograd.grad(output.float().sum(), images)[0])
    assert torch.equal(*found)


def test_images_that_ask_for_no_gradient_take_torchs_way():
    plain, ours = _pair(1, 4, 5, padding=2)
    images = _images(2, 1, 12, 12).detach()
    assert torch.equal(plain(images), ours(images))
    assert "Grey" not in type(ours(images).grad_fn).__name__
