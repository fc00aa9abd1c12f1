"""Grey-level matrices of a batch of images: co-occurrence, run lengths, zones, dependences, neighbour differences.

Levels are (B, H, W) integers counted from 0, so level k stands for the k + 1 of the literature. Co-occurrences come
as dense counts. The three matrices of "level by size" come as lists of their cells that are not empty (`Cells`),
because a zone may be as large as the image and such a matrix is then all but empty.

Definitions: Haralick et al. 1973 (co-occurrence), Galloway 1975 (runs), Thibault et al. 2009 (zones), Sun and Wee
1983 (dependences), Amadasun and King 1989 (neighbour differences); conventions of PyRadiomics 3: distance 1,
8-connected, no weighting, a mask that covers the whole image.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))


class Cells(NamedTuple):
    """Cells of level-by-size matrices, one entry a cell.

    `row` is the matrix, `level` counts from 0, `times` is how often that size occurs at that level.
    """

    row: torch.Tensor
    level: torch.Tensor
    size: torch.Tensor
    times: torch.Tensor


def shifts(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The (down, right) steps along which an image of this size has neighbours: four, or one if it is a line."""
    return tuple((down, right) for down, right in _SHIFTS if down < height and abs(right) < width)


def histogram(levels: torch.Tensor, n: int) -> torch.Tensor:
    """Pixels per level, (B, n) int64."""
    return _count(_numbered(levels, n), len(levels), n)


def cooccurrence(levels: torch.Tensor, n: int) -> torch.Tensor:
    """Symmetric co-occurrence counts (B, A, n, n) int64 of the A steps of `shifts`."""
    first = _numbered(levels, n) * n
    second = levels.int()
    by_step = [
        _count(_ends(first, step)[0] + _ends(second, step)[1], len(levels), n, n) for step in shifts(*levels.shape[1:])
    ]
    counts = torch.stack(by_step, dim=1)
    return counts + counts.transpose(2, 3)


def runs(levels: torch.Tensor, n: int) -> Cells:
    """Runs of equal level along the A steps of `shifts`; `row` is image * A + step, `size` the length."""
    images, height, width = levels.shape
    steps, longest = shifts(height, width), max(height, width)
    order, opens = _lines(height, width, levels.device)
    line = levels.flatten(1).gather(1, order.expand(images, -1))
    opens = opens.repeat(images, 1)
    opens[:, 1:] |= line[:, 1:] != line[:, :-1]
    start = _positions(opens)
    rows = images * len(steps)
    row = torch.arange(rows + 1, device=start.device)
    found = torch.diff(torch.searchsorted(start, row * (height * width)))
    # Code of a run: (row * n + level) * (longest + 1) + next start − start, built in place as runs may be many.
    code = torch.repeat_interleave(row[:-1] * (n * (longest + 1)), found, output_size=len(start))
    code.add_(line.flatten().index_select(0, start), alpha=longest + 1)
    code[:-1] += start[1:]
    code[-1] += opens.numel()
    code -= start
    return _cells(_count(code, rows, n, longest + 1))


def zones(levels: torch.Tensor, n: int) -> Cells:
    """8-connected zones of equal level; `row` is the image, `size` the number of pixels.

    Horizontal runs are the nodes of a graph, contacts between runs of neighbouring rows its edges, and one call of
    SciPy labels the whole batch: 0.5 ms for a mammogram of 128 x 128 pixels on a CPU core, 2 ms for white noise.
    Labelling the pixels of every level in one call of scipy.ndimage takes 2 to 3 ms, spreading labels in tensor
    operations 6 to 40, so a GPU hands its levels over for this.
    """
    grey = levels.cpu().numpy()
    opens = np.ones(grey.shape, dtype=bool)
    np.not_equal(grey[:, :, 1:], grey[:, :, :-1], out=opens[:, :, 1:])
    start = np.flatnonzero(opens)
    length = np.diff(start, append=grey.size)
    run = np.repeat(np.arange(len(start), dtype=np.int32), length).reshape(grey.shape)
    # A contact that only repeats the one a pixel further left joins the same two runs and is left out.
    upper, lower = grey[:, :-1], grey[:, 1:]
    below = (upper == lower) & (opens[:, :-1] | opens[:, 1:])
    corner = opens[:, :-1, 1:] & opens[:, 1:, 1:]
    falling = (upper[:, :, :-1] == lower[:, :, 1:]) & corner
    rising = (upper[:, :, 1:] == lower[:, :, :-1]) & corner
    top, bottom = run[:, :-1], run[:, 1:]
    tail = np.concatenate([top[below], top[:, :, :-1][falling], top[:, :, 1:][rising]])
    head = np.concatenate([bottom[below], bottom[:, :, 1:][falling], bottom[:, :, :-1][rising]])
    graph = coo_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(len(start), len(start)))
    found, zone = connected_components(graph, directed=False)
    size = np.bincount(zone, weights=length, minlength=found).astype(np.int64)
    owner = np.empty(found, dtype=np.int64)
    pixels = grey[0].size
    owner[zone] = start // pixels * n + grey.reshape(-1)[start]
    code, count = np.unique(owner * (pixels + 1) + size, return_counts=True)
    owner, size = np.divmod(code, pixels + 1)
    return Cells(*(torch.from_numpy(x).to(levels.device) for x in (owner // n, owner % n, size, count)))


def dependences(levels: torch.Tensor, n: int) -> Cells:
    """Pixels by level and dependence; `row` is the image, `size` 1 + the neighbours of the same level, 1 to 9."""
    size = torch.ones_like(levels, dtype=torch.uint8)
    for step in shifts(*levels.shape[1:]):
        first, second = _ends(levels, step)
        equal = first == second
        for end in _ends(size, step):
            end += equal
    return _cells(_count(_numbered(levels, n) * 10 + size, len(levels), n, 10))


def neighbour_differences(levels: torch.Tensor, n: int) -> torch.Tensor:
    """Sum over the pixels of each level of |level − mean level of the neighbours|, (B, n) float64."""
    total, neighbours = (_box_sum(x) - x for x in (levels.int(), torch.ones_like(levels[:1], dtype=torch.int32)))
    difference = (total / neighbours.double()).sub_(levels).abs_()
    summed = difference.new_zeros(len(levels) * n).index_add_(0, _numbered(levels, n).flatten(), difference.flatten())
    return summed.view(len(levels), n)


@lru_cache(maxsize=16)
def _lines(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For the A steps in turn: order that visits the pixels line after line, and whether a line opens, (A * H * W,)."""
    orders, openings = [], []
    for down, right in shifts(height, width):
        line = down * torch.arange(width) - right * torch.arange(height)[:, None]
        line, order = line.flatten().sort(stable=True)
        orders.append(order)
        openings.append(torch.diff(line, prepend=line[:1] - 1) != 0)
    return torch.cat(orders).to(device), torch.cat(openings).to(device)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Places of the set elements of a flattened mask; on a CPU NumPy lists them three times as fast as torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero()[:, 0]


def _ends(values: torch.Tensor, step: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Views of the first and of the second pixel of every pair one step apart."""
    down, right = step
    height, width = values.shape[1:]
    left, rest = max(0, -right), width - max(0, right)
    return values[:, : height - down, left:rest], values[:, down:, left + right : rest + right]


def _box_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum over the 3 x 3 box around each pixel, without the part outside the image."""
    for axis in (1, 2):
        near, far = values.narrow(axis, 0, values.shape[axis] - 1), values.narrow(axis, 1, values.shape[axis] - 1)
        values = values.clone()
        values.narrow(axis, 1, values.shape[axis] - 1).add_(near)
        values.narrow(axis, 0, values.shape[axis] - 1).add_(far)
    return values


def _numbered(levels: torch.Tensor, n: int) -> torch.Tensor:
    """Levels shifted by n per image, int32, so that one count serves the batch."""
    return levels.int() + n * torch.arange(len(levels), dtype=torch.int32, device=levels.device)[:, None, None]


def _count(codes: torch.Tensor, *shape: int) -> torch.Tensor:
    size = int(np.prod(shape))
    return torch.bincount(codes.flatten(), minlength=size).view(shape)


def _cells(counts: torch.Tensor) -> Cells:
    row, level, size = counts.nonzero(as_tuple=True)
    return Cells(row, level, size, counts[row, level, size])
