"""Exact nearest neighbours in bounded memory, on the device.

Distances by a matrix product, |r|² − 2 q·r, are fast but wrong in their last digits: identical images come out
at 1e-2 instead of 0, which a privacy check cannot accept. Here the product only proposes. Its rounding error has
a proven bound e; every reference within 2e of the k-th smallest product is then compared by direct difference in
float64. So the answer is that of the brute force, with identical rows at exactly 0, at the price of one product.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics import samples

_DEPTH = 4096  # values summed by one product; chunks of a longer row are added up, which keeps the bound small


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first; of equal distances the smaller index first."""

    distances: np.ndarray  # (q, k) float64, Euclidean, unit of the input
    indices: np.ndarray  # (q, k) int64, rows of the references


class _Block(NamedTuple):
    """Rows as the product sees them: shifted and scaled, with their norms."""

    values: torch.Tensor  # (n, d)
    norms: torch.Tensor  # (n,) float64


@torch.no_grad()
def nearest(
    queries: ArrayLike | torch.Tensor,
    references: ArrayLike | torch.Tensor,
    *,
    k: int = 1,
    exclude_self: bool = False,
    memory: int = 2**29,
) -> Neighbours:
    """The `k` nearest rows of `references` (n, ...) to each row of `queries` (q, ...), exactly.

    Rows are images or features of one shape, any real dtype; distance is Euclidean over all values of a row.
    `exclude_self` says that `queries` are the `references`, and keeps row i from being its own neighbour; other
    rows identical to it stay. Beside its input the search holds about `memory` bytes; how the work is cut into
    blocks does not change the answer. Runs on the device of `queries`.

    Raises ValueError on NaN, rows of different lengths, or k beyond the number of references.
    """
    queries = samples.rows(queries, "queries")
    references = samples.rows(references, "references").to(queries.device)
    samples.same_width(queries, references, ("queries", "references"))
    if exclude_self and len(queries) != len(references):
        raise ValueError("exclude_self needs the same rows as queries and as references, but their numbers differ")
    if not 1 <= k <= len(references) - exclude_self:
        raise ValueError(f"k is {k}, but there are {len(references) - exclude_self} references to choose from")
    shift, scale = _frame(queries, references)
    best = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=queries.device)
    where = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)
    tall = max(k, memory // 2 // (4 * references.shape[1]))
    wide = max(1, memory // 2 // (5 * min(tall, len(references)) + 4 * references.shape[1]))
    with _full_precision(queries.device.type):
        for low in range(0, len(references), tall):
            part = references[low : low + tall]
            block = _framed(part, shift, scale, torch.float32)
            for top in range(0, len(queries), wide):
                asked = queries[top : top + wide]
                own = torch.arange(top, top + len(asked), device=asked.device) - low if exclude_self else None
                found = slice(top, top + len(asked))
                row, column = _candidates(asked, part, block, shift, scale, own, k, best[found, -1])
                distances = _distances(asked, part, row, column)
                best[found], where[found] = _merged(best[found], where[found], row, column + low, distances)
    return Neighbours(best.cpu().numpy(), where.cpu().numpy())


def _candidates(asked, part, block, shift, scale, own, k, known) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (row of `asked`, row of `part`) among which every one of the k nearest is sure to be."""
    query = _framed(asked, shift, scale, torch.float32)
    known = (known * scale).square() - query.norms.square()  # what the k-th best of earlier blocks comes to
    near = _near(query, block, own, k, known)
    # Many references nearly as close as the nearest (a collapsed generator): where comparing them one by one
    # would cost more than a second product, a product in float64 tells most of them apart.
    if int(near.count_nonzero()) > len(part) + 4 * k * len(asked):
        crowded = near.sum(dim=1) > 4 * k
        exact = _framed(part, shift, scale, torch.float64)
        which = crowded.nonzero()[:, 0]
        for some in which.split(max(1, near.numel() // (8 * len(part)))):
            query = _framed(asked[some], shift, scale, torch.float64)
            near[some] = _near(query, exact, None if own is None else own[some], k, known[some])
    return near.nonzero(as_tuple=True)


def _near(query: _Block, block: _Block, own, k: int, known: torch.Tensor) -> torch.Tensor:
    """Mask (q, n) of the references whose |r|² − 2 q·r is within twice its error bound of the k-th smallest."""
    product = block.norms.square().to(query.values.dtype).expand(len(query.values), -1)
    pieces = zip(query.values.split(_DEPTH, dim=1), block.values.split(_DEPTH, dim=1), strict=True)
    for left, right in pieces:
        product = torch.addmm(product, left, right.T, alpha=-2)
    if own is not None:
        here = ((own >= 0) & (own < len(block.values))).nonzero()[:, 0]
        product[here, own[here]] = torch.inf
    limit = torch.minimum(_kth_smallest(product, k).double(), known)
    limit = limit + 2 * _error_bound(query, block)
    # Rounding the limit to the type of the product must not lower it; an excluded pair (inf) stays out.
    limit = torch.nextafter(limit.to(product.dtype), limit.new_tensor(torch.inf, dtype=product.dtype))
    return product <= limit.clamp_max(torch.finfo(product.dtype).max)[:, None]


def _error_bound(query: _Block, block: _Block) -> torch.Tensor:
    """Bound (q,) on |computed − exact| of |r|² − 2 q·r for every reference of the block.

    With unit roundoff u, a sum of m products in any order errs by at most γ = mu / (1 − mu) times Σ|qᵢrᵢ| ≤ |q||r|
    (Higham 2002, §3.1); shifting and converting the values adds four roundings, each chunk of the sum one.
    """
    width = query.values.shape[1]
    u = torch.finfo(query.values.dtype).eps / 2
    chunks = -(-width // _DEPTH)
    depth = min(width, _DEPTH) + 5
    longest = block.norms.max()
    product = query.norms * longest
    bound = 2 * depth * u / (1 - depth * u) * product + (chunks + 8) * u * (longest**2 + 2 * product)
    return 1.01 * bound + width * 1e-37  # 1.01: norms and bound are rounded too; the rest: float32 underflow


def _kth_smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """An upper bound (q,) on the k-th smallest of each row (q, n), and the smallest itself for k = 1."""
    count, n = 64 + 8 * k, values.shape[1]
    if k > n:  # a last block shorter than k: all of it may count
        return values.new_full((len(values),), torch.inf)
    if k == 1:
        return values.amin(dim=1)
    if n < 2 * count:
        return values.kthvalue(k, dim=1).values
    # The k-th smallest of the minima of disjoint segments: k different values lie at or below it.
    each = n // count
    minima = values[:, : count * each].reshape(len(values), count, each).amin(dim=2)
    return minima.kthvalue(k, dim=1).values


def _distances(asked, part, row, column) -> torch.Tensor:
    """Distances (m,) of pairs of rows, by direct difference in float64."""
    step = max(1, _strip(asked) // asked.shape[1])
    pairs = zip(row.split(step), column.split(step), strict=True)
    distances = [torch.linalg.vector_norm(asked[i].double() - part[j].double(), dim=1) for i, j in pairs]
    return torch.cat(distances)


def _merged(best, where, row, index, distances) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of each row among the earlier best (q, k) and new pairs (m,)."""
    q, k = best.shape
    rows = torch.arange(q, device=best.device).repeat_interleave(k)
    rows, index = torch.cat([rows, row]), torch.cat([where.flatten(), index])
    distances = torch.cat([best.flatten(), distances])
    # Stable sorts by distance, then by row: earlier blocks, then smaller indices, come first among equals.
    order = distances.argsort(stable=True)
    order = order[rows[order].argsort(stable=True)]
    starts = torch.bincount(rows, minlength=q).cumsum(0).roll(1)
    starts[0] = 0
    chosen = order[starts[:, None] + torch.arange(k, device=best.device)]
    return distances[chosen], index[chosen]


def _frame(queries: torch.Tensor, references: torch.Tensor) -> tuple[torch.Tensor, float]:
    """A shift (d,) and a power of two that bring the values near 0 and below 1: both leave the order as it is."""
    peak = max(abs(float(extreme)) for rows in (queries, references) for extreme in rows.aminmax())
    scale = 2.0 ** -np.ceil(np.log2(peak)) if peak else 1.0
    # Any shift is right; one near the mean makes the norms, and with them the error bound, small.
    some = references[:: max(1, len(references) // 1024)]
    return some.double().mean(dim=0) * scale, scale


def _framed(values: torch.Tensor, shift: torch.Tensor, scale: float, dtype: torch.dtype) -> _Block:
    exact = torch.float64 if values.dtype in (torch.float64, torch.int32, torch.int64) else dtype
    # The shift is rounded to float32 for either dtype: one and the same point must be subtracted from all rows.
    shift = shift.float().to(exact)
    framed = torch.empty(values.shape, dtype=dtype, device=values.device)
    norms = torch.empty(len(values), dtype=torch.float64, device=values.device)
    step = max(1, _strip(values) // values.shape[1])
    for start in range(0, len(values), step):  # strip by strip, in cache: one pass through memory
        strip = (values[start : start + step].to(exact) * scale).sub_(shift)
        framed[start : start + step] = strip
        norms[start : start + step] = torch.linalg.vector_norm(strip, dim=1, dtype=torch.float64)
    return _Block(framed, norms)


def _strip(values: torch.Tensor) -> int:
    """Values converted or compared at a time: on a CPU what its cache holds, on a GPU what keeps it busy."""
    return 2**17 if values.device.type == "cpu" else 2**25


@contextlib.contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """The bound holds for IEEE products: no TF32, no bf16 in their place, whatever the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
