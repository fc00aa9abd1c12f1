"""Which latent points a walk joins, and which of its images are released."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


class Pairs(NamedTuple):
    """Rows of the two ends of each walk and its class; all (p,) int64."""

    first: np.ndarray
    last: np.ndarray
    labels: np.ndarray


class Released(NamedTuple):
    """Images drawn from walks."""

    latents: Tensor  # (n, ...)
    labels: np.ndarray  # (n,) int64
    walk: np.ndarray  # (n,) int64, the walk each is from: the independent unit of an interval


def same_class_pairs(labels: ArrayLike, *, per_class: int | None = None, rng: np.random.Generator) -> Pairs:
    """Distinct pairs of latent points of one class, `per_class` of each drawn at random, or all n(n − 1)/2.

    `labels` (n,) are the classes of the points. The pairs of a class are in random order. ValueError for a class of
    one point, or of too few for `per_class` pairs.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}: give one integer class per point, (n,)")
    ends = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise ValueError(f"class {label} has one point, and a walk needs two: use a smaller k or more images")
        first, last = np.triu_indices(len(members), k=1)
        wanted = len(first) if per_class is None else per_class
        if not 1 <= wanted <= len(first):
            raise ValueError(
                f"class {label} has {len(first)} pairs of its {len(members)} points, but {wanted} are asked for: ask "
                "for 1 to that many"
            )
        chosen = rng.permutation(len(first))[:wanted]
        ends.append((members[first[chosen]], members[last[chosen]], np.full(wanted, label)))
    return Pairs(*(np.concatenate(part).astype(np.int64) for part in zip(*ends, strict=True)))


def class_draws(latents: Tensor, *, labels: ArrayLike, wanted: ArrayLike, rng: np.random.Generator) -> Tensor:
    """One new latent point (m, d) of each class in `wanted` (m,): drawn from the normal law of that class's points.

    Mean and covariance are those of `latents` (n, d) of the class `labels` (n,): for a generator that maps no noise to
    its latent space. ValueError for a class with fewer than two points.
    """
    labels, wanted = np.asarray(labels), np.asarray(wanted)
    drawn = latents.new_empty((len(wanted), latents.shape[1]))
    for label in np.unique(wanted):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise ValueError(f"class {label} has {len(rows)} points: its law needs two or more")
        points, at = latents[torch.from_numpy(rows).to(latents.device)], np.flatnonzero(wanted == label)
        noise = torch.from_numpy(rng.standard_normal((len(at), len(rows)))).to(latents)
        centre = points.mean(dim=0)
        spread = noise @ (points - centre) / (len(rows) - 1) ** 0.5  # of the points' own covariance, also if singular
        drawn[torch.from_numpy(at).to(latents.device)] = centre + spread
    return drawn


def injected_endpoints(latents: Tensor, *, rows: ArrayLike, reach: float = 0.5, rng: np.random.Generator):
    """Ends (p, ...) twice of walks whose straight line passes through the latent point of a known patient.

    `latents` (n, ...) are the points of real images, `rows` (p,) those to pass through. The ends are ŵ ± u with u of a
    random direction and `reach` times the mean distance of two points: at an odd number of points the middle of the
    straight walk is ŵ (spec §9.5, the injected collision). ValueError for fewer than two points or a row beyond them.
    """
    rows = np.asarray(rows)
    if len(latents) < 2 or rows.ndim != 1 or not np.isin(rows, np.arange(len(latents))).all():
        raise ValueError(f"rows are not rows of the {len(latents)} latents: give two latents or more, and their rows")
    flat = latents.flatten(1).double()
    mean = float(torch.pdist(flat).mean())
    away = torch.from_numpy(rng.standard_normal((len(rows), flat.shape[1]))).to(flat)
    away = reach * mean * away / away.norm(dim=1, keepdim=True)
    middle = flat[torch.from_numpy(rows).to(flat.device)]
    return tuple((middle + sign * away).view(-1, *latents.shape[1:]).to(latents.dtype) for sign in (-1, 1))


def released(
    walks: Tensor, labels: ArrayLike, *, per_class: dict[int, int], ends: bool = False, rng: np.random.Generator
) -> Released:
    """Draw `per_class` images of each class from walks (p, T, ...) of classes (p,), uniformly, none twice.

    The ends are left out unless `ends`: they are real people's points, or their averages, that no walk has moved.
    ValueError for a class without enough points.
    """
    labels, inner = np.asarray(labels), walks if ends else walks[:, 1:-1]
    if labels.shape != (len(walks),):
        raise ValueError(f"labels have shape {labels.shape} for {len(walks)} walks: give one class per walk")
    points = inner.shape[1]
    chosen = []
    for label, wanted in per_class.items():
        at = np.flatnonzero(np.repeat(labels == label, points))
        if wanted > len(at):
            raise ValueError(f"class {label} has {len(at)} points on its walks, not {wanted}: walk more pairs")
        chosen.append(rng.permutation(at)[:wanted])
    rows = np.concatenate(chosen)
    latents = inner.flatten(0, 1)[torch.from_numpy(rows).to(walks.device)]
    return Released(latents, labels[rows // points].astype(np.int64), rows // points)
