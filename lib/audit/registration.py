"""How alike two images are once one is laid upon the other: by a similarity found on a grid, refined to an affine map.

Images are compared by `edges`: what lies above the coarse brightness, limited, so that shading and one bright spot
do not outweigh the rest. A map takes the points of the real image, from -1 to 1, to those of the query. Of the maps of
a grid, turned, scaled and shifted, the one with the largest correlation is taken, of either sign since a copy may be a
negative, and refined by Gauss-Newton steps on the correlation within the overlap (as Evangelidis and Psarakis 2008).
All this at `normalisation.SIZE`; two images so laid upon each other are then compared at up to DETAIL pixels, whose
finer edges, such as ribs and vessels, tell patients apart. Where a query is saturated, as by a narrow window, the real
image is first seen through the same window: as many of its darkest and of its brightest pixels are made equal.
"""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

from lib.audit.normalisation import Normalised, blurred

DETAIL = 64  # pixels a side at most, of the edges that two registered images are compared by
STEPS = 7  # of refinement
_AROUND = 4.0  # pixels, SD of the blur that is the coarse brightness
_COARSE = 16  # pixels a side, of the grid search
_TURNS = (-14, -7, 0, 7, 14)  # degrees
_SCALES = (0.75, 0.85, 0.95, 1.05, 1.18)  # of the real image that the query shows
_SHIFTS = (-3, -2, -1, 0, 1, 2, 3)  # coarse pixels, in either direction
_OVERLAP = 0.3  # of the pixels are compared at least
_WEIGHED = 0.05  # of the pixels have a weight in both images, or these are not compared
_SATURATED = 0.05  # of a query's pixels are the darkest or the brightest at least, where windows are looked for
_LONGEST = 0.15  # change of a coefficient in one step
_PAIRS = 256  # refined at a time


class Registered(NamedTuple):
    """Outcome of `register` for b pairs."""

    similarity: torch.Tensor  # (b,) correlation within the overlap, in absolute value
    map: torch.Tensor  # (b, 2, 3), as torch's affine_grid takes it: points of the real image to points of the query
    is_negative: torch.Tensor  # (b,) bool, whether black and white are exchanged


def edges(images: Normalised) -> torch.Tensor:
    """Channels (n, 2, H, W) of images: what they are compared by, from -1 to 1, and its weight."""
    fine, around = blurred(images.ranks, _AROUND / 5), blurred(images.weight, _AROUND).clamp_min(1e-3)
    above = fine - blurred(fine * images.weight, _AROUND) / around
    spread = (blurred(above**2 * images.weight, _AROUND) / around).sqrt()
    return torch.stack([torch.tanh(above / (spread + 0.05)), images.weight], dim=1)


@torch.no_grad()
def register(query: torch.Tensor, real: torch.Tensor) -> Registered:
    """Register each of q queries (q, 2, H, H) with its own candidates (q, k, 2, H, H), all `edges`; b = q · k."""
    (count, per), side = real.shape[:2], query.shape[-1]
    starts = [
        _on_grid(one, some) for one, some in zip(_small(query), _small(real.flatten(0, 1)).split(per), strict=True)
    ]
    maps, signs = (torch.cat(part) for part in zip(*starts, strict=True))
    row = torch.arange(count).repeat_interleave(per)
    found = [
        _refine(query[row[at]], real.view(-1, 2, side, side)[at], maps[at], signs[at])
        for at in torch.arange(len(row)).split(_PAIRS)
    ]
    similarity, maps = (torch.cat(part) for part in zip(*found, strict=True))
    return Registered(similarity, maps, signs < 0)


def details(images: Normalised) -> torch.Tensor:
    """Channels (n, 3, H, W) of images that are compared: their `edges` and the ranks of their pixels."""
    return torch.cat([edges(images), images.ranks[:, None]], dim=1)


@torch.no_grad()
def compare(query: torch.Tensor, real: torch.Tensor, registered: Registered) -> torch.Tensor:
    """Correlation (b,) of each of q queries (q, 3, H, H) with its candidates (q, k, 3, H, H), as they were registered.

    Both are `details`, of another size than those that were registered; b = q · k. Of a saturated query both are those
    that its window leaves. -1 where the overlap is too small.
    """
    (count, per), side = real.shape[:2], query.shape[-1]
    row, real, found = torch.arange(count).repeat_interleave(per), real.flatten(0, 1), []
    ranks = query[:, 2].flatten(1)
    saturated = torch.stack([1 + ranks.amin(dim=1), 1 - ranks.amax(dim=1)], dim=1)  # shares of black and white
    through = (saturated > _SATURATED).any(dim=1)
    query = query[:, :2].clone()
    query[through] = _windowed(query[through, 1], ranks[through].view(-1, side, side), saturated[through])
    for at in torch.arange(len(row)).split(_PAIRS):
        fixed, is_negative = real[at, :2], registered.is_negative[at]
        if (some := through[row[at]]).any():
            share = saturated[row[at]][some]
            share = torch.where(is_negative[some, None], share.flip(1), share)
            fixed[some] = _windowed(real[at, 1][some], real[at, 2][some], share)
        fixed = fixed.flatten(2)
        grid = F.affine_grid(registered.map[at], [len(at), 1, side, side], align_corners=False)
        moved = F.grid_sample(query[row[at]], grid, align_corners=False, padding_mode="border").flatten(2)
        inside = (grid.abs() <= 1).all(dim=-1).flatten(1)
        weight = inside * moved[:, 1] * fixed[:, 1]
        area = weight.sum(dim=1)
        share = weight / area[:, None].clamp_min(1e-3)
        one, other = (part[:, 0] - (part[:, 0] * share).sum(dim=1, keepdim=True) for part in (moved, fixed))
        length = ((one**2 * share).sum(dim=1) * (other**2 * share).sum(dim=1)).sqrt()
        alike = (one * other * share).sum(dim=1) / length.clamp_min(1e-9)
        alike = torch.where(is_negative, -alike, alike).clamp(max=1)
        is_enough = (inside.float().mean(dim=1) > _OVERLAP) & (area > _WEIGHED * side**2)
        found.append(torch.where(is_enough, alike, -1))
    return torch.cat(found)


def _windowed(weight: torch.Tensor, ranks: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """`edges` (n, 2, H, W) of images of which shares (n, 2) of black and of white pixels are saturated."""
    low, high = (2 * share[:, 0] - 1)[:, None, None], (1 - 2 * share[:, 1])[:, None, None]
    return edges(Normalised(torch.minimum(torch.maximum(ranks, low), high), weight))


def _small(channels: torch.Tensor) -> torch.Tensor:
    """Weighted edges (n, _COARSE, _COARSE)."""
    return F.adaptive_avg_pool2d(channels.prod(dim=1), _COARSE)


def _grid() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps (m, 2, 3) of the grid, where they take each point, (m, _COARSE, _COARSE, 2), and what lies inside (m, p)."""
    maps = []
    for turn in map(math.radians, _TURNS):
        for scale in _SCALES:
            cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
            for down in _SHIFTS:
                for right in _SHIFTS:
                    x, y = 2 * right / _COARSE, 2 * down / _COARSE
                    maps.append([[cos, -sin, sin * y - cos * x], [sin, cos, -(sin * x + cos * y)]])
    grid = F.affine_grid(torch.tensor(maps), [len(maps), 1, _COARSE, _COARSE], align_corners=False)
    inside = (grid.abs() <= 1).all(dim=-1).float().flatten(1)
    kept = inside.mean(dim=1) > _OVERLAP
    return torch.tensor(maps)[kept], grid[kept], inside[kept]


_MAPS, _POINTS, _INSIDE = _grid()
_SHARE = _INSIDE.mean(dim=1)[:, None]


def _on_grid(query: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The best map of the grid (k, 2, 3) of one query (c, c) to each candidate (k, c, c), and its sign (k,)."""
    points = _POINTS.reshape(1, -1, _COARSE, 2)
    moved = F.grid_sample(query[None, None], points, align_corners=False).view(len(_MAPS), -1) * _INSIDE
    flat = real.flatten(1)
    length = (moved.square().sum(dim=1)[:, None] * (_INSIDE @ flat.square().T)).sqrt().clamp_min(1e-6)
    alike = moved @ flat.T / length * _SHARE**0.25  # a small overlap is alike by chance more easily
    best = alike.abs().argmax(dim=0)
    return _MAPS[best], torch.sign(alike.gather(0, best[None])[0])


def _refine(
    query: torch.Tensor, real: torch.Tensor, maps: torch.Tensor, signs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarity (b,) and map (b, 2, 3) of each pair, from the best of STEPS Gauss-Newton steps."""
    n, side = len(query), query.shape[-1]
    down, right = torch.gradient(query[:, 0], dim=(1, 2))
    channels = torch.stack([query[:, 0], right * side / 2, down * side / 2, query[:, 1]], dim=1)
    points = F.affine_grid(torch.eye(2, 3)[None], [1, 1, side, side], align_corners=False).view(-1, 2)
    points = torch.cat([points, torch.ones(len(points), 1)], dim=1)
    target, weight = real[:, 0].flatten(1) * signs[:, None], real[:, 1].flatten(1)
    best, best_map = torch.full((n,), -1.0), maps
    rows = torch.ones(n, 9, side**2)  # six slopes, one for each coefficient; 1; the query; the real image
    for step in range(STEPS + 1):
        grid = torch.einsum("pk,njk->npj", points, maps)
        at = F.grid_sample(channels, grid.view(n, side, side, 2), align_corners=False, padding_mode="border").flatten(2)
        seen = (grid.abs() <= 1).all(dim=-1) * at[:, 3] * weight
        torch.mul(at[:, 1:3, None], points.T[None, None], out=rows[:, :6].view(n, 2, 3, -1))
        rows[:, 6], rows[:, 7], rows[:, 8] = 1, at[:, 0], target
        rows *= seen.sqrt()[:, None]
        products = rows @ rows.transpose(1, 2)  # weighted sums of all products: means, lengths, correlations, slopes
        area = products[:, 6, 6].clamp_min(1e-3)
        products = products - products[:, :, 6, None] * products[:, None, 6] / area[:, None, None]
        moved, fixed = products[:, 7, 7].clamp_min(1e-9), products[:, 8, 8].clamp_min(1e-9)
        alike = products[:, 7, 8] / (moved * fixed).sqrt()
        alike = torch.where(area > _OVERLAP * side**2, alike, -1)
        best_map = torch.where((alike > best)[:, None, None], maps, best_map)
        best = torch.maximum(alike, best)
        if step == STEPS:
            break
        slope = products[:, :6, 7]  # what of it changes the length of the query alone is taken out
        square = products[:, :6, :6] - slope[:, :, None] * slope[:, None] / moved[:, None, None]
        missing = products[:, :6, 8] - slope * (products[:, 7, 8] / moved)[:, None]
        square = square + torch.diag_embed(square.diagonal(dim1=1, dim2=2) * 0.02 + 1e-4 * moved[:, None])
        change = torch.linalg.solve(square, missing[:, :, None])[:, :, 0]
        change = change * ((moved / fixed).sqrt() / alike.clamp_min(0.2))[:, None]
        change = change * (_LONGEST / change.abs().amax(dim=1).clamp_min(_LONGEST))[:, None]
        maps = maps + change.view(n, 2, 3)
    return best.clamp(max=1), best_map
