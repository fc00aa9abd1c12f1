"""Between stored images, uint8 from 0 to 255, and what networks see and draw, float32 from -1 to 1."""

import numpy as np
import torch
from torch import Tensor


def network_input(images: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1]; float32 unchanged."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images


def to_uint8(images: Tensor) -> Tensor:
    """The inverse of `network_input`: [-1, 1] as uint8 0..255, rounded; what lies outside is clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def pixels(images: Tensor) -> np.ndarray:
    """`to_uint8` of images (n, c, h, w) as an array: (n, h, w), or (n, c, h, w) with c > 1 channels."""
    array = to_uint8(images).cpu().numpy()
    return array[:, 0] if array.shape[1] == 1 else array


def flipped(images: Tensor, flips: Tensor) -> Tensor:
    """(n, c, h, w) images, each mirrored left-right where flips[:, 0] and upside down where flips[:, 1]."""
    across, down = flips.view(-1, 2, 1, 1, 1).unbind(1)
    images = torch.where(across, images.flip(3), images)
    return torch.where(down, images.flip(2), images)
