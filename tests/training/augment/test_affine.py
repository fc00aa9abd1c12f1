"""Flips, crops and turns against a literal loop and against geometry."""

import numpy as np
import torch
import torch.nn.functional as F

from lib.training.augment.affine import flipped_and_cropped, zoomed_and_turned


def test_augmentation_equals_crop_and_resize():
    """Against a literal loop: crop whole pixels, resize bilinearly, flip. The border blends with what was cut off."""
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.random((12, 1, 32, 32)))
    draws = torch.from_numpy(rng.random((12, 24)))
    fast = flipped_and_cropped(images, draws)
    whole = 0
    for image, row, result in zip(images, draws.numpy(), fast, strict=True):
        w, h = 32, 32
        for area, aspect in zip(row[:10], row[10:20], strict=True):
            area, aspect = 1024 * (0.95 + 0.05 * area), np.exp(np.log(0.95) + np.log(1.1 / 0.95) * aspect)
            tried = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if max(tried) <= 32:
                w, h = tried
                break
        whole += (w, h) == (32, 32)
        left, top = int(row[20] * (33 - w)), int(row[21] * (33 - h))
        slow = F.interpolate(image[None, :, top : top + h, left : left + w], size=(32, 32), mode="bilinear")[0]
        axes = [axis for axis, draw in ((2, row[22]), (1, row[23])) if draw < 0.5]
        torch.testing.assert_close(result[:, 1:-1, 1:-1], slow.flip(axes)[:, 1:-1, 1:-1], rtol=0, atol=1e-9)
    assert 0 < whole < 12


def test_augmentation_moves_a_plane_as_geometry_says():
    """A brightness that rises linearly stays so under zoom, turn and shift: exact in the interior."""
    rng = np.random.default_rng(1)
    draws = torch.from_numpy(rng.random((6, 5)))
    u = (torch.arange(32, dtype=torch.float64) + 0.5) / 16 - 1
    y, x = torch.meshgrid(u, u, indexing="ij")
    slopes = torch.from_numpy(rng.normal(size=(6, 2, 2)))  # image, channel, direction
    images = slopes[:, :, :1, None] * x + slopes[:, :, 1:, None] * y
    moved = zoomed_and_turned(images, draws)
    for image, row, (a, b) in zip(moved, draws, slopes.unbind(0), strict=False):
        zoom, angle = 1 + 0.15 * row[0], torch.deg2rad(12 * row[1] - 6)
        right, down = (zoom - 1) * (2 * row[2] - 1) + x, (zoom - 1) * (2 * row[3] - 1) + y
        left = (angle.cos() * right - angle.sin() * down) / zoom
        top = (angle.sin() * right + angle.cos() * down) / zoom
        inside = (left.abs() < 0.96) & (top.abs() < 0.96)
        assert inside.double().mean() > 0.8
        for channel, slope in zip(image, (a, b), strict=True):
            expected = slope[0] * left + slope[1] * top + 0.2 * row[4] - 0.1
            torch.testing.assert_close(channel[inside], expected[inside], rtol=0, atol=1e-9)


def test_augmentation_at_rest_is_the_identity():
    images = torch.rand(2, 9, 16, 16)
    draws = torch.tensor([[0.0, 0.5, 0.3, 0.9, 0.5]]).expand(2, -1)
    torch.testing.assert_close(zoomed_and_turned(images, draws), images, rtol=0, atol=1e-5)
