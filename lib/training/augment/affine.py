"""Slight zooms and turns of whole batches: one resampling for all images."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 5


def zoomed_and_turned(
    images: Tensor, draws: Tensor, *, zoom: float = 1.15, degrees: float = 6.0, offset: float = 0.1
) -> Tensor:
    """Each image enlarged, turned in its plane, cropped at random to its size, and its brightness shifted.

    images: (n, c, s, s) float, all channels of one image treated alike. draws: (n, 5) uniform on [0, 1), which
    decide everything. Zoom by 1 to `zoom`, turn by up to `degrees` to either side, the crop anywhere within the
    enlarged image, and up to `offset` added or subtracted; bilinear, what lies outside repeats the border.

    Sun et al. 2021, spec §3. The released transforms draw the angle once for a whole run and the
    crop from a canvas of another shape (spec §7, defect 7); here every image has its own.
    """
    factor = 1 + (zoom - 1) * draws[:, 0]
    signed = 2 * draws[:, 1:] - 1
    angle = torch.deg2rad(degrees * signed[:, 0])
    # In affine_grid's coordinates the image spans [-1, 1]: a crop of the enlarged image shifts by zoom - 1 at most.
    shift = (factor - 1)[:, None] * signed[:, 1:3]
    cos, sin = angle.cos() / factor, angle.sin() / factor
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    theta = torch.cat([turn, turn @ shift[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned + offset * signed[:, 3].view(-1, 1, 1, 1)


_ATTEMPTS = 10  # boxes drawn until one fits into the image, as in RandomResizedCrop
CROP_DRAWS = 2 * _ATTEMPTS + 4  # uniform numbers that `flipped_and_cropped` takes for each image


def flipped_and_cropped(images: Tensor, draws: Tensor, *, scale=(0.95, 1.0), ratio=(0.95, 1.1)) -> Tensor:
    """Each image flipped along each axis with probability 1/2, cropped at random and resized back, bilinearly.

    images: (n, c, h, w) float. draws: (n, 24) uniform on [0, 1), which decide everything. The crop holds `scale` of
    the area at an aspect of `ratio` (log-uniform), in whole pixels: the first of ten that fits into the image,
    else the whole image. All images in one resampling.
    """
    n, _, high, wide = images.shape
    attempts = draws[:, : 2 * _ATTEMPTS].view(n, 2, _ATTEMPTS)
    area = high * wide * (scale[0] + (scale[1] - scale[0]) * attempts[:, 0])
    low, top = np.log(ratio)
    aspect = torch.exp(low + (top - low) * attempts[:, 1])
    box = torch.stack([area.mul(aspect).sqrt(), area.div(aspect).sqrt()], dim=2).round()  # (n, 10, (w, h))
    whole = torch.tensor([wide, high], device=images.device, dtype=box.dtype)
    fits = (box <= whole).all(dim=2)
    first = fits.byte().argmax(dim=1)
    box = torch.where(fits.any(dim=1)[:, None], box[torch.arange(n, device=images.device), first], whole)
    rest = draws[:, 2 * _ATTEMPTS :]
    corner = (rest[:, :2] * (whole - box + 1)).floor()
    sign = torch.where(rest[:, 2:] < 0.5, -1.0, 1.0)
    # In grid_sample's coordinates the image spans [-1, 1].
    theta = torch.diag_embed(sign * box / whole)
    shift = (2 * corner + box) / whole - 1
    grid = F.affine_grid(torch.cat([theta, shift[:, :, None]], dim=2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
