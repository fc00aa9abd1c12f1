"""Exact nearest neighbours in bounded memory, on the device.

A matrix product selects candidates, with a proven bound e on its error: every reference within 2e of the k-th
smallest product is then compared by direct difference in float64. So the answer is that of the brute force, with
identical rows at exactly 0, at the price of one product.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours import distances
from lib.metrics.neighbours.distances import Frame, Product
from lib.metrics.neighbours.grey_rows import GreyRows, as_rows
from lib.statistics import checks as samples

_SEGMENT = 64  # products looked at together: most segments hold no candidate and are read once


class Neighbours(NamedTuple):
    """The k nearest references of each query, nearest first; of equal distances the smaller index first."""

    distances: np.ndarray  # (q, k) float64, Euclidean, unit of the input
    indices: np.ndarray  # (q, k) int64, rows of the references


@torch.no_grad()
def nearest(
    queries: ArrayLike | torch.Tensor | GreyRows,
    references: ArrayLike | torch.Tensor | GreyRows,
    *,
    k: int = 1,
    exclude_self: bool = False,
    memory: int = 2**29,
) -> Neighbours:
    """The `k` nearest rows of `references` (n, ...) to each row of `queries` (q, ...), exactly.

    Rows are images or features of one shape, any real dtype, or `GreyRows`; distance is Euclidean over all values of a
    row. `exclude_self` says that `queries` are the `references`, and keeps row i from being its own neighbour; other
    rows identical to it stay. Beside its input the search holds about `memory` bytes; how the work is cut into
    blocks does not change the answer. Runs on the device of `queries`.

    Raises ValueError on NaN, rows of different lengths, or k beyond the number of references.
    """
    queries = as_rows(queries, "queries")
    references = as_rows(references, "references").to(queries.device)
    samples.same_width(queries, references, ("queries", "references"))
    if exclude_self and len(queries) != len(references):
        raise ValueError("exclude_self needs the same rows as queries and as references, but their numbers differ")
    if not 1 <= k <= len(references) - exclude_self:
        raise ValueError(f"k is {k}, but there are {len(references) - exclude_self} references to choose from")
    frame = distances.frame(queries, references)
    best = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=queries.device)
    where = torch.zeros((len(queries), k), dtype=torch.int64, device=queries.device)
    wide, tall = distances.tiling(queries, references, memory, torch.float32)
    with distances.full_precision(queries.device.type):
        for low in range(0, len(references), tall):
            part = references[low : low + tall]
            for top in range(0, len(queries), wide):
                asked = queries[top : top + wide]
                own = torch.arange(top, top + len(asked), device=asked.device) - low if exclude_self else None
                found = slice(top, top + len(asked))
                row, column = _candidates(asked, part, frame, own, k, best[found, -1])
                far = distances.direct(asked, part, row, column)
                best[found], where[found] = _merged(best[found], where[found], row, column + low, far)
    return Neighbours(best.cpu().numpy(), where.cpu().numpy())


def _candidates(asked, part, frame: Frame, own, k: int, known) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (row of `asked`, row of `part`) among which every one of the k nearest is sure to be."""
    known = (known * frame.scale).square()
    segment = min(_SEGMENT, max(1, len(part) // (64 + 8 * k)))
    product = distances.product(asked, part, frame, dtype=torch.float32, segment=segment)
    minima, limit = _limits(product, segment, own, k, known)
    near = minima <= limit[:, None]
    # Many references nearly as close as the nearest (a collapsed generator): where comparing them one by one
    # would cost more than a second product, a product in float64 tells most of them apart.
    hits = near.sum(dim=1)
    crowded = hits > 4 * k
    if int(hits[crowded].sum()) <= len(part) // 16:
        return _pairs(product, near, limit)
    near[crowded] = False
    found = [_pairs(product, near, limit)]
    shape = product.values.shape
    del product, minima
    for some in crowded.nonzero()[:, 0].split(max(1, shape.numel() // (2 * shape[1]))):
        product = distances.product(asked[some], part, frame, dtype=torch.float64, segment=segment)
        minima, limit = _limits(product, segment, None if own is None else own[some], k, known[some])
        row, column = _pairs(product, minima <= limit[:, None], limit)
        found.append((some[row], column))
    rows, columns = (torch.cat(parts) for parts in zip(*found, strict=True))
    return rows, columns


def _limits(product: Product, segment: int, own, k: int, known) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest value of each segment (q, s), and the limit (q,) that the k nearest of a query do not exceed.

    `known` is the squared distance of the k-th best of earlier blocks.
    """
    values = product.values
    if own is not None:
        here = ((own >= 0) & (own < values.shape[1])).nonzero()[:, 0]
        values[here, own[here]] = torch.inf
    minima = values.unflatten(1, (-1, segment)).amin(dim=2)
    if k <= minima.shape[1]:
        # k different values lie at or below the k-th smallest of the minima of disjoint segments.
        reach = minima.amin(dim=1) if k == 1 else minima.kthvalue(k, dim=1).values
    else:  # inf in a last block that is shorter than k: all of it may count
        reach = values.kthvalue(k, dim=1).values if k <= values.shape[1] else values.new_full((len(values),), torch.inf)
    limit = torch.minimum(reach.double() + product.bound, known - product.norms + product.norm_bound) + product.bound
    # Rounding the limit to the type of the product must not lower it; an excluded pair (inf) stays out.
    limit = torch.nextafter(limit.to(values.dtype), limit.new_tensor(torch.inf, dtype=values.dtype))
    return minima, limit.clamp_max(torch.finfo(values.dtype).max)


def _pairs(product: Product, near: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (row, column) within the limit of their row, in the segments marked by `near` (q, s)."""
    row, which = near.nonzero(as_tuple=True)
    segments = product.values.unflatten(1, (near.shape[1], -1))[row, which]
    hit, lane = (segments <= limit[row, None]).nonzero(as_tuple=True)
    return row[hit], which[hit] * segments.shape[1] + lane


def _merged(best, where, row, index, far) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of each row among the earlier best (q, k) and new pairs (m,)."""
    q, k = best.shape
    rows = torch.arange(q, device=best.device).repeat_interleave(k)
    rows, index = torch.cat([rows, row]), torch.cat([where.flatten(), index])
    far = torch.cat([best.flatten(), far])
    # Stable sorts by distance, then by row: earlier blocks, then smaller indices, come first among equals.
    order = far.argsort(stable=True)
    order = order[rows[order].argsort(stable=True)]
    starts = torch.bincount(rows, minlength=q).cumsum(0).roll(1)
    starts[0] = 0
    chosen = order[starts[:, None] + torch.arange(k, device=best.device)]
    return far[chosen], index[chosen]
