"""Spectral power of images at high frequencies: noise and grids that hardly change a Fréchet distance."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


def high_frequency_share(images: ArrayLike | torch.Tensor, *, cutoff: float = 0.25, block: int = 256) -> np.ndarray:
    """Share of each image's spectral power above `cutoff` cycles per pixel: the image-quality flag.

    `images` is (N, H, W) or (N, C, H, W) of any real dtype; returns (N,) float64 in [0, 1]. The mean of
    each image and channel is removed, no window is applied, and frequency is radial: power at
    √(fx² + fy²) > `cutoff` over power at all frequencies but 0, channels summed. In this convention the medians of
    128 px crops of breast masses are .0124 and .0122 (two public sets) against .0491 for published GAN images whose
    grid texture it flags (.013, .012 and .049 in Osuala et al.'s spec).
    The value depends on image size: compare sets at one size only. A constant image has no power: 0.

    Raises ValueError on NaN, other shapes, or a cutoff outside (0, .5).
    """
    if not 0 < cutoff < 0.5:
        raise ValueError(f"cutoff is {cutoff}: give cycles per pixel between 0 and .5")
    if not isinstance(images, torch.Tensor):
        images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise ValueError(f"images have shape {tuple(images.shape)}: give (N, H, W) or (N, C, H, W)")
    height, width = images.shape[-2:]
    samples.rows(images[:1], "images")  # refuses an empty set before the loop
    down = torch.fft.fftfreq(height, dtype=torch.float64)
    across = torch.fft.rfftfreq(width, dtype=torch.float64)
    above = (down[:, None] ** 2 + across**2) > cutoff**2
    # A real image's spectrum is stored by half: every column but the first, and the last of an even width, is double.
    double = torch.full((len(across),), 2.0, dtype=torch.float64)
    double[0] = 1
    if width % 2 == 0:
        double[-1] = 1
    shares = []
    for start in range(0, len(images), block):
        part = samples.rows(images[start : start + block], "images").double()
        part = part.reshape(len(part), -1, height, width)
        part = part - part.mean(dim=(2, 3), keepdim=True)
        power = torch.fft.rfft2(part).abs().square().sum(dim=1) * double.to(part.device)
        power[:, 0, 0] = 0
        total = power.sum(dim=(1, 2))
        high = (power * above.to(part.device)).sum(dim=(1, 2))
        shares.append(torch.where(total > 0, high / total.clamp_min(1e-300), 0.0).cpu())
    return torch.cat(shares).numpy()
