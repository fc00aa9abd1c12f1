"""Losses that generators share, in closed form."""

import torch

from lib.training.gan.losses import laplacian_distance


def test_distance_of_laplacian_pyramids_by_hand():
    a = torch.zeros(2, 1, 8, 8)
    b = a.clone()
    b[0] += 0.5  # a constant: only what remains at 4 px differs
    b[1, :, ::2] = 1
    b[1, :, 1::2] = -1  # stripes of one pixel: only the finest level
    torch.testing.assert_close(laplacian_distance(a, b), torch.tensor([0.5, 1.0]))
