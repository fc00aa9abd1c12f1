"""To be said."""

import numpy as np
import torch
from torch import Tensor


def pixels(images: Tensor) -> np.ndarray:
    """uint8 (n, s, s), or (n, c, s, s) with c > 1 channels, of images (n, c, s, s) in [-1, 1], clipped."""
    images = ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return images[:, 0] if images.shape[1] == 1 else images


def flipped(images: Tensor, flips: Tensor) -> Tensor:
    """(n, c, h, w) images, each mirrored left-right where flips[:, 0] and upside down where flips[:, 1]."""
    across, down = flips.view(-1, 2, 1, 1, 1).unbind(1)
    images = torch.where(across, images.flip(3), images)
    return torch.where(down, images.flip(2), images)


def network_input(images: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1]; float32 unchanged."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
