"""Euclidean distances by matrix product, with a proven bound on their error, and by direct difference.

|q − r|² = |q|² + |r|² − 2 q·r costs one product, but it cancels: identical images come out at 1e-2 in float32, where
a privacy check needs 0. So a product selects candidates, and what its bound leaves open is decided by direct
difference in float64. All values are first brought into one frame, near 0 and below 1, in which the bound is small.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

_DEPTH = 4096  # values summed by one product; chunks of a longer row are added up, which keeps the bound small
_EXACT = (torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.float32)  # within float32


class Frame(NamedTuple):
    """A shift and a scale of all values, the same for every row: neither changes the order of the distances."""

    shift: torch.Tensor  # (d,) float64, each rounded to float32; subtracted after scaling
    scale: float  # a power of two


class Product(NamedTuple):
    """|r|² − 2 q·r, which orders the references of a query as the distance does."""

    values: torch.Tensor  # (q, n), filled up with inf to a whole number of segments
    bound: torch.Tensor  # (q,) float64, on |computed − exact| of these values
    norms: torch.Tensor  # (q,) float64, |q|²
    norm_bound: torch.Tensor  # (q,) float64, on |computed − exact| of the norms


def frame(queries: torch.Tensor, references: torch.Tensor) -> Frame:
    """The frame of two sets of rows (q, d) and (n, d), of any real dtype and finite."""
    peak = max(abs(float(extreme)) for rows in (queries, references) for extreme in rows.aminmax())
    scale = 2.0 ** -math.ceil(math.log2(peak)) if peak else 1.0
    # Any shift is right; one near the mean makes the norms, and with them the bound, small.
    middle = references[:: -(-len(references) // 64)].mean(dim=0, dtype=torch.float64) * scale
    # Rounded, as one and the same point must be subtracted in either precision.
    return Frame(middle.float().double(), scale)


def product(
    queries: torch.Tensor, references: torch.Tensor, frame: Frame, *, dtype: torch.dtype, segment: int = 1
) -> Product:
    """|r|² − 2 q·r of framed rows (q, d) and (n, d) in `dtype`, float32 or float64, and its error bound.

    With unit roundoff u, a sum of m products in any order errs by at most γ = mu / (1 − mu) times Σ|qᵢrᵢ| ≤ |q||r|
    (Higham 2002, §3.1). To the m of a chunk come the additions of the chunks and of the norm, and the roundings of
    the framed values. The norms are sums of the same length. Holds the values, and of the rows a chunk at a time.
    """
    n, width = references.shape
    values = torch.empty((len(queries), -(-n // segment) * segment), dtype=dtype, device=queries.device)
    values[:, n:] = torch.inf
    own, other = (values.new_zeros(len(rows), dtype=torch.float64) for rows in (queries, references))
    step = max(1, (2**25 if values.device.type == "cpu" else 2**28) // (dtype.itemsize * min(width, _DEPTH)))
    # Written over for every chunk: touching new memory costs more than the arithmetic.
    left, right = (values.new_empty(rows, min(width, _DEPTH)) for rows in (len(queries), min(n, step)))
    for start in range(0, width, _DEPTH):
        columns = slice(start, start + _DEPTH)
        asked = _framed(queries[:, columns], columns, frame, own, left)
        for low in range(0, n, step):
            rows = slice(low, min(n, low + step))
            part = _framed(references[rows, columns], columns, frame, other[rows], right)
            values[:, rows].addmm_(asked, part.T, beta=min(start, 1), alpha=-2)
    values[:, :n] += other.to(dtype)
    terms = min(width, _DEPTH) + -(-width // _DEPTH) + 12
    u = torch.finfo(dtype).eps / 2
    gamma = 1.01 * terms * u / (1 - terms * u)  # 1.01: norms and bound are rounded too
    longest, tiny = other.max(), width * 1e-37  # of float32's underflow
    bound = gamma * (2 * (own * longest).sqrt() + longest) + tiny
    return Product(values, bound, own, gamma * own + tiny)


def direct(queries: torch.Tensor, references: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Distances (m,) float64 of the pairs queries[row], references[column], in the unit of the input.

    By difference, so that identical rows are at exactly 0, and pairs of identical rows at equal distances.
    """
    step = max(1, _strip(queries) // (2 * queries.shape[1]))
    found = torch.empty(len(row), dtype=torch.float64, device=queries.device)
    for out, i, j in zip(found.split(step), row.split(step), column.split(step), strict=True):
        difference = queries.index_select(0, i).double().sub_(references.index_select(0, j))
        torch.linalg.vector_norm(difference, dim=1, out=out)
    return found


def tiling(queries: torch.Tensor, references: torch.Tensor, memory: int, dtype: torch.dtype) -> tuple[int, int]:
    """How many queries and references to multiply at a time: products of half of `memory` bytes, nearly square."""
    size = dtype.itemsize
    wide = min(math.isqrt(memory // 2 // size), memory // 4 // (size * min(queries.shape[1], _DEPTH)))
    wide = _even(len(queries), max(1, wide))
    return wide, _even(len(references), max(1, memory // 2 // (size * wide)))


@contextlib.contextmanager
def full_precision(device: str) -> Iterator[None]:
    """The bound holds for IEEE products: no TF32, no bf16 in their place, whatever the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _framed(values, columns: slice, frame: Frame, norms: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """`values` (n, c) as the product sees them, written into `room`; their squares are added to `norms` (n,)."""
    narrow = room.dtype == torch.float32 and values.dtype in _EXACT and 2.0**-126 <= frame.scale <= 2.0**127
    exact = torch.float32 if narrow else torch.float64
    offset = -frame.shift[columns].to(exact)
    framed = room[: len(values), : values.shape[1]]
    step = max(1, _strip(values) // values.shape[1])
    for start in range(0, len(values), step):  # strip by strip, in cache: one pass through memory
        strip = framed[start : start + step]
        torch.add(offset, values[start : start + step].to(exact), alpha=frame.scale, out=strip)
        norms[start : start + step] += torch.linalg.vector_norm(strip, dim=1).double().square()
    return framed


def _strip(values: torch.Tensor) -> int:
    """Values converted or compared at a time: on a CPU what its cache holds, on a GPU what keeps it busy."""
    return 2**17 if values.device.type == "cpu" else 2**25


def _even(total: int, most: int) -> int:
    """The size of equal parts of `total`, none above `most`."""
    return -(-total // -(-total // most))
