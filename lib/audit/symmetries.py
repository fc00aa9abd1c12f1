"""The eight symmetries of a square: how an image may lie after a mirroring, a quarter turn, or swapped axes."""

import torch

NAMES = (
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned 180°",
    "transposed",
    "turned 90° clockwise",
    "turned 90° anticlockwise",
    "transposed and turned 180°",
)
INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)  # the symmetry that undoes each


def placed(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Square `images` (..., H, H) in one of the eight symmetries; ValueError for another number than 0 to 7."""
    if symmetry not in range(len(NAMES)):
        raise ValueError(f"symmetry is {symmetry}: give 0 to {len(NAMES) - 1}")
    images = images.transpose(-1, -2) if symmetry & 4 else images
    images = images.flip(-1) if symmetry & 1 else images
    return images.flip(-2) if symmetry & 2 else images
