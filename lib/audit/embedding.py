"""An embedding of images that disguise does not move, learnt on the images of the audit themselves, in seconds.

The features are oriented energies: how strong the edges of six directions and three scales are in each of 7 × 7
overlapping parts. An energy does not know polarity, and its part may shift a little. Of these 882 numbers the embedding
keeps the directions in which images differ most, compared with how far the disguises of one image lie apart:
Fisher's discriminant, each image with its disguises a class. That is contrastive learning in closed form: what is
pulled together are views of one image, and what is pushed apart are different ones. `_views` are its disguises.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from lib.audit.normalisation import SIZE, normalised

DIMENSIONS = 96
_MOST = 600  # images that it is learnt on
_SHRINKAGE = 0.02  # of the within-class covariance towards a multiple of the identity
_FREQUENCIES = (2.5, 5.0, 9.0)  # cycles an image
_DIRECTIONS = 6
_BLOCK = 64  # images whose energies are computed at a time


class Embedding(NamedTuple):
    """Outcome of `learn_embedding`."""

    mean: torch.Tensor  # (features,)
    projection: torch.Tensor  # (features, DIMENSIONS at most)

    def of(self, ranks: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, d) of `normalised` ranks (n, SIZE, SIZE); their inner product says how alike two are."""
        return self.points(oriented_energies(ranks))

    def points(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, d) of `oriented_energies` (n, features)."""
        return F.normalize((features - self.mean) @ self.projection, dim=1)


def learn_embedding(images: np.ndarray, *, views: int, rng: np.random.Generator) -> Embedding:
    """Learn on uint8 `images` (n, H, W), each seen in `views` disguises; ValueError for less than two of either."""
    if len(images) < 2 or views < 2:
        raise ValueError(f"{len(images)} images in {views} views: give two at least of either")
    chosen = images[np.sort(rng.permutation(len(images))[:_MOST])]
    drawn = torch.Generator().manual_seed(int(rng.integers(2**62)))
    pixels = torch.from_numpy(np.ascontiguousarray(chosen)).float()
    seen = torch.stack([oriented_energies(normalised(_views(pixels, drawn)).ranks) for _ in range(views)])
    centre = seen.mean(dim=0)
    apart = (seen - centre).flatten(0, 1)
    return discriminant(centre, apart.T @ apart / len(apart), shrinkage=_SHRINKAGE)


def discriminant(centres: torch.Tensor, within: torch.Tensor, *, shrinkage: float) -> Embedding:
    """Fisher's discriminant of classes with the mean features `centres` (c, d) and the covariance `within` (d, d).

    shrinkage: of `within` towards a multiple of the identity.
    """
    within = within + shrinkage * within.diagonal().mean() * torch.eye(len(within))
    whitening = torch.linalg.inv(torch.linalg.cholesky(within))
    value, direction = torch.linalg.eigh(whitening @ torch.cov(centres.T) @ whitening.T)
    value, direction = value[-DIMENSIONS:].clamp_min(0), direction[:, -DIMENSIONS:]
    return Embedding(centres.mean(dim=0), whitening.T @ direction * torch.sqrt(value / (1 + value)))


def oriented_energies(ranks: torch.Tensor) -> torch.Tensor:
    """Features (n, 882) of `normalised` ranks (n, SIZE, SIZE)."""
    spectrum, found = torch.fft.fft2(ranks - ranks.mean(dim=(1, 2), keepdim=True)), []
    for part in spectrum.split(_BLOCK):
        energy = torch.fft.ifft2(part[:, None] * _FILTERS).abs()
        energy = energy / energy.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        found.append(F.avg_pool2d(energy, SIZE // 4, SIZE // 8).flatten(1).sqrt())
    return torch.cat(found)


def _filters() -> torch.Tensor:
    """One-sided filters (18, SIZE, SIZE) in the frequency domain, so that a response has a length: its energy."""
    down, right = (torch.fft.fftfreq(SIZE) * SIZE for _ in range(2))
    down, right = down[:, None], right[None]
    frequency, angle = torch.hypot(down, right).clamp_min(1e-6), torch.atan2(down, right)
    found = []
    for centre in _FREQUENCIES:
        radial = torch.exp(-(torch.log(frequency / centre) ** 2) / (2 * 0.45**2))
        for direction in (math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)):
            turned = (angle - direction + math.pi / 2) % math.pi - math.pi / 2
            ahead = (right * math.cos(direction) + down * math.sin(direction) > 0).float()
            found.append(radial * torch.exp(-(turned**2) / (2 * 0.35**2)) * ahead)
    return torch.stack(found)


def _views(pixels: torch.Tensor, drawn: torch.Generator) -> np.ndarray:
    """A random disguise of each image (n, H, W) of 0 to 255: uint8.

    Cropped to 70 %, shrunk by a fifth, squeezed by a sixth, shifted to 10 %, turned to 15°, edge repeated or black; a
    patch of up to a quarter hidden; windowed; noisy; blurred. Symmetries and polarity are none of them: those are
    tried one after the other when copies are looked for.
    """
    n, high = len(pixels), pixels.shape[1]

    def uniform(low: float, end: float, share: float = 1.0, otherwise: float = 0.0) -> torch.Tensor:
        value = low + (end - low) * torch.rand(n, generator=drawn)
        return torch.where(torch.rand(n, generator=drawn) < share, value, otherwise)

    turn = uniform(-math.radians(15), math.radians(15), 0.6)
    scale = uniform(0.7, 1.0, 0.4, 1) * uniform(1.0, 1.25, 0.4, 1)
    aspect = torch.exp(uniform(-math.log(1.2), math.log(1.2), 0.5) / 2)
    reach = (1 - scale).clamp_min(0) + uniform(0.2, 0.2, 0.5)
    shift = [reach * uniform(-1, 1) for _ in range(2)]
    wide, tall, cos, sin = scale * aspect, scale / aspect, turn.cos(), turn.sin()
    rows = torch.stack([cos * wide, -sin * tall, shift[0]], 1), torch.stack([sin * wide, cos * tall, shift[1]], 1)
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, high, pixels.shape[2]], align_corners=False)
    edge = "border" if torch.rand((), generator=drawn) < 0.5 else "zeros"
    seen = F.grid_sample(pixels[:, None], grid, padding_mode=edge, align_corners=False)[:, 0]
    place = (torch.arange(high) + 0.5) / high
    side, across, down = uniform(0.1, 0.5, 0.35, -1), uniform(0, 1), uniform(0, 1)
    hidden = [(place - middle[:, None]).abs() < side[:, None] / 2 for middle in (down, across)]
    seen = torch.where(hidden[0][:, :, None] & hidden[1][:, None], uniform(0, 255)[:, None, None], seen)
    ordered = seen.flatten(1).sort(dim=1).values
    ends = (uniform(0, 0.35, 0.4), 1 - uniform(0, 0.35, 0.4))
    low, top = (ordered.gather(1, (end * (ordered.shape[1] - 1)).long()[:, None])[:, :, None] for end in ends)
    seen = torch.minimum(torch.maximum(seen, low), top)
    if torch.rand((), generator=drawn) < 0.3:
        seen = F.avg_pool2d(F.pad(seen[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    seen = seen + uniform(0, 8, 0.5)[:, None, None] * torch.randn(seen.shape, generator=drawn)
    return seen.clamp(0, 255).round().byte().numpy()


_FILTERS = _filters()
