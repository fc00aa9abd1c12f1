"""Each image is mirrored by its own draw."""

import torch

from lib.training.loop.images import flipped


def test_flips_mirror_each_image_by_its_own_draw():
    images = torch.arange(2 * 1 * 2 * 3).view(2, 1, 2, 3)
    out = flipped(images, torch.tensor([[True, False], [True, True]]))
    torch.testing.assert_close(out[0], images[0].flip(2))
    torch.testing.assert_close(out[1], images[1].flip(1, 2))
