"""Adaptive augmentation: neutral at 0, exact where no pixel is interpolated."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib.training.augment.ada import augmented


def test_augmentation_is_neutral_at_0_and_reaches_a_share_p():
    images = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert augmented(images, 0.0, torch.Generator()) is images
    changed = augmented(images, 0.05, torch.Generator().manual_seed(1))
    untouched = (changed - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    # Seven changes of probability p (a shift may be by no pixel, once in 25), and two that are none in 1/2 and 1/4.
    expected = 0.95**6 * (1 - 0.05 * 24 / 25) * (1 - 0.025) * (1 - 0.0375)
    assert float(untouched.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 400))
    x = images[:4].clone().requires_grad_()
    seen = augmented(x, 0.8, torch.Generator().manual_seed(2))
    assert torch.isfinite(torch.autograd.grad(seen.square().sum(), x)[0]).all()


def test_whole_turns_and_mirrors_move_pixels_without_blurring_them():
    from lib.training.augment.ada import _scaling, _shifting, _turning

    image = torch.arange(16.0).view(1, 1, 4, 4)
    one = torch.ones(1)

    def moved(place):
        grid = F.affine_grid(place[:, :2], [1, 1, 4, 4], align_corners=False)
        return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)

    torch.testing.assert_close(moved(_scaling(-one, one)), image.flip(3))
    torch.testing.assert_close(moved(_turning(one * math.pi / 2)), image.rot90(1, (2, 3)))
    torch.testing.assert_close(moved(_shifting(one / 2, 0 * one))[..., :3], image[..., 1:])
