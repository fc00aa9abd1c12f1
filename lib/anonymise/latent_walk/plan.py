"""Walks between two points of a generator's latent space: straight, or bent away from recognisable patients.

PLAN (Pennisi et al. 2023, spec §4.2) moves the points of a straight walk by gradients, so that a
classifier of identities becomes unsure whose image each point shows, a classifier of diagnoses still sees the class of
the walk, and the steps stay short. The two ends stay where they are: whoever releases images must screen or drop them.
A walk that no classifier recognises is neither k-anonymous nor differentially private.

Latents are (p, d) in W, or (p, layers, d) in W+; walks (p, T, d) or (p, T, layers, d). The generator enters as
`synthesis`, a deterministic map of latents (n, ...) to images (n, c, h, w) in [-1, 1].
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.training.loop.inference import frozen, in_batches
from lib.training.loop.progress import Progress
from lib.training.loop.rehearsal import Steps

DIRECTIONS = ("from_uniform", "to_uniform")
_GROUP = 4  # images that the released code averages: the hidden 1/4 in its weights


class Losses(NamedTuple):
    """The three terms of each walk (p,), before their weights; in a history (steps, p)."""

    distance: Tensor  # sum of squared step lengths
    identity: Tensor  # divergence of identity predictions from the uniform, summed as `plan` says
    diagnosis: Tensor  # cross-entropy of the walk's class, summed alike


class Walk(NamedTuple):
    """Outcome of `plan`."""

    latents: Tensor  # (p, T, ...), detached; the ends are those given, bit for bit
    history: Losses  # (steps, p) each, before every update


class Evaluation(NamedTuple):
    """The predictions of two classifiers for every image of a walk; all (p, T)."""

    divergence: Tensor  # of the identity prediction from the uniform, nats
    entropy: Tensor  # of the identity prediction, nats; log of the number of identities at most
    cross_entropy: Tensor  # of the class of the walk, nats
    correct: Tensor  # bool, the class of the walk is the most probable: its mean is the class consistency


def synthesis_of(generator) -> Callable[[Tensor], Tensor]:
    """The map from W to images of a generator that has one, such as StyleGAN2.

    ValueError for a generator without W: one that lacks `mapping` (to W) or `synthesis` (from W).
    """
    missing = [name for name in ("mapping", "synthesis") if not callable(getattr(generator, name, None))]
    if missing:
        raise ValueError(
            f"{type(generator).__name__} has no {' and no '.join(missing)}, so it has no latent space W to walk in: "
            "give a style-based generator such as StyleGAN2"
        )
    return generator.synthesis


def linear(first: Tensor, last: Tensor, *, points: int = 50) -> Tensor:
    """Straight walks (p, points, ...) from `first` (p, ...) to `last`, in equal steps, both ends included bit for bit.

    ValueError for ends of different or other shapes, values that are not finite, or fewer than three points.
    """
    _check_ends(first, last, points)
    share = torch.arange(points, device=first.device, dtype=first.dtype) / (points - 1)
    walks = first[:, None] + share.view(1, -1, *[1] * (first.ndim - 1)) * (last - first)[:, None]
    walks[:, 0], walks[:, -1] = first, last
    return walks


def detour(first: Tensor, last: Tensor, *, energy: Tensor, points: int = 50, rng: np.random.Generator) -> Tensor:
    """Walks (p, points, ...) that leave the straight line blindly, as far as a walk of the same energy can.

    The control of `plan`: to the straight walk half a period of a sine is added along a random direction, scaled so
    that `step_energy` of each walk is `energy` (p,) exactly. ValueError where that is below the straight walk's.
    """
    bend = torch.sin(torch.linspace(0, math.pi, points, device=first.device, dtype=first.dtype))
    bend[[0, -1]] = 0.0
    away = torch.from_numpy(rng.standard_normal(tuple(first.shape))).to(first)
    away = away / _lengths(away).view(-1, *[1] * (first.ndim - 1))
    return with_energy(linear(first, last, points=points) + torch.einsum("t,p...->pt...", bend, away), energy)


def with_energy(walks: Tensor, energy: Tensor) -> Tensor:
    """Walks (p, T, ...) of the step energies `energy` (p,): what leaves the straight line is scaled, the ends stay.

    So that walks that were steered otherwise are compared at one energy. ValueError where an energy is below that of
    the straight walk, or a straight walk should have more.
    """
    straight = linear(walks[:, 0], walks[:, -1], points=walks.shape[1])
    least = step_energy(straight)
    spare = energy.to(straight) - least
    if bool((spare < -1e-4 * least).any()):
        raise ValueError("the energy of a detour is below that of the straight walk, which is the shortest: give more")
    bend = walks - straight
    bent = step_energy(bend)
    if bool(((bent == 0) & (spare > 1e-4 * least)).any()):
        raise ValueError("a straight walk cannot be given more energy: bend it first")
    # Mixed terms cancel: the straight steps are equal, and those of what is added to them add up to 0.
    scale = (spare.clamp_min(0) / bent.clamp_min(torch.finfo(bent.dtype).tiny)).sqrt()
    return straight + scale.view(-1, *[1] * (walks.ndim - 1)) * bend


@torch.no_grad()
def step_energy(walks: Tensor, *, as_published: bool = False) -> Tensor:
    """Σ‖step‖² (p,) of walks (p, T, ...); of a straight one ‖last − first‖² / (T − 1), the least possible.

    `as_published` adds 1e-6 to every coordinate of a step, as the released code does.
    """
    return (walks.diff(dim=1) + 1e-6 * as_published).square().flatten(1).sum(dim=1)


@torch.no_grad()
def spacing_variation(walks: Tensor) -> Tensor:
    """Coefficient of variation (p,) of the step lengths of walks (p, T, ...): 0 for equally spaced points."""
    lengths = walks.diff(dim=1).flatten(2).norm(dim=2)
    return lengths.std(dim=1, correction=0) / lengths.mean(dim=1)


def uniform_divergence(logits: Tensor, direction: str = "from_uniform") -> Tensor:
    """Divergence (n,), in nats, between the uniform U and the predictions q = softmax of `logits` (n, identities).

    "from_uniform": KL(U‖q), without bound, as in the released code; "to_uniform": KL(q‖U) = log(identities) − H(q),
    at most log(identities). Both are 0 where all logits are equal. ValueError for another direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"unknown direction {direction!r}: choose one of {', '.join(DIRECTIONS)}")
    log_q = logits.log_softmax(dim=1)
    if direction == "from_uniform":
        return -math.log(logits.shape[1]) - log_q.mean(dim=1)
    return math.log(logits.shape[1]) + (log_q.exp() * log_q).sum(dim=1)


def group_weights(images: int, *, as_published: bool = False) -> Tensor:
    """Weight (images,) of each inner image of a walk in L_id and L_class: 1/4.

    The released code adds up the means of groups of four, so that with `as_published` the images of an incomplete
    last group, of n < 4, weigh 1/n (spec §8, defects 2 and 3).
    """
    weights = torch.full((images,), 1 / _GROUP)
    rest = images % _GROUP
    if as_published and rest:
        weights[-rest:] = 1 / rest
    return weights


def plan(
    synthesis: Callable[[Tensor], Tensor],
    *,
    identity: nn.Module,  # images -> logits
    diagnosis: nn.Module,  # images -> logits
    first: Tensor,  # (p, ...)
    last: Tensor,  # (p, ...)
    labels,  # (p,) the class of each walk, or (p, 2) that of either end, which must agree
    points: int = 50,  # published, as are the next four
    steps: int = 500,  # in the released code; 100 in the paper, not confirmed
    learning_rate: float = 0.1,
    lambda_identity: float = 0.1,
    lambda_class: float = 1.0,
    direction: str = "from_uniform",  # see `uniform_divergence`
    as_published: bool = False,  # see below
    memory_images: int = 64,  # generated and differentiated at a time: bounds the memory, does not change the result
    precision: str = "float32",  # see lib.core.seeding.autocast
    name: str = "walks",  # in lines of progress
) -> Walk:
    """Privacy-preserving walks from `first` to `last`, all pairs at once; none depends on the other pairs.

    The networks and `synthesis`, a module or the method of one, are `frozen` meanwhile. Minimised by Adam is
    L_dist + lambda_identity · L_id + lambda_class · L_class, with L_dist = `step_energy` and L_id, L_class the sums
    over inner images of `uniform_divergence` and of the cross-entropy, each image weighing 1/4. The rate is absolute:
    Adam's first step moves every coordinate by it, so compare it with the standard deviation of W. as_published:
    `group_weights` of the released code, its 1e-6 in L_dist, and a clamp to [-1, 1] without gradient in saturated
    pixels; otherwise gradients pass the clamp.

    ValueError for bad ends (`linear`), labels that differ between ends or are no class of `diagnosis`, an unknown
    direction, networks that do not fit, or divergence.
    """
    if steps < 1 or memory_images < 1:
        raise ValueError(f"steps is {steps} and memory_images {memory_images}: give at least 1 of each")
    walks = linear(first, last, points=points).detach()
    labels = _walk_labels(labels, len(walks)).to(walks.device)
    inner = walks[:, 1:-1].clone().requires_grad_()
    images = points - 2
    weights = group_weights(images, as_published=as_published).to(walks).repeat(len(walks))
    classes = labels.repeat_interleave(images)
    optimiser = torch.optim.Adam([inner], lr=learning_rate, fused=True)
    inner.grad = torch.zeros_like(inner)
    flat, gradient = inner.detach().flatten(0, 1), inner.grad.flatten(0, 1)  # views
    auxiliary = _AuxiliaryLosses(synthesis, identity, diagnosis, direction, int(labels.max()))
    history, report = [], Progress(name, steps)
    with frozen(synthesis, identity, diagnosis):
        passes = Steps("latent walk", 0, steps, by_image=True)
        for step in passes:
            walks[:, 1:-1] = inner.detach()
            found = walks.new_zeros(2, len(flat))
            for rows in passes.batches(len(flat), memory_images):
                some = flat[rows].clone().requires_grad_()
                with torch.enable_grad():
                    with seeding.autocast(flat.device, precision):
                        terms = auxiliary.losses(some, classes[rows], hard=as_published)[:2]
                    loss = weights[rows] @ (lambda_identity * terms[0] + lambda_class * terms[1])
                gradient[rows] = torch.autograd.grad(loss, some)[0]
                found[:, rows] = torch.stack(terms).detach()
            history.append(_summed(found, weights, walks, as_published))
            inner.grad += 2 * (2 * walks[:, 1:-1] - walks[:, :-2] - walks[:, 2:])
            optimiser.step()
            report(step + 1, **{term: values.mean() for term, values in history[-1]._asdict().items()})
    walks[:, 1:-1] = inner.detach()
    if not bool(torch.isfinite(walks).all()):
        raise ValueError("the walk diverged (a latent is not finite): lower the learning rate or the lambdas")
    return Walk(walks, Losses(*(torch.stack(term).cpu() for term in zip(*history, strict=True))))


@torch.no_grad()
def evaluate(
    walks: Tensor, labels, *, synthesis: Callable[[Tensor], Tensor], identity: nn.Module, diagnosis: nn.Module,
    direction: str = "from_uniform", memory_images: int = 64,
) -> Evaluation:  # fmt: skip
    """The predictions of `identity` and `diagnosis` for the images of walks (p, T, ...), `labels` as in `plan`.

    The networks that steered a walk overrate it: evaluate by others, trained from another seed.
    """
    labels = _walk_labels(labels, len(walks)).to(walks.device)
    classes = labels.repeat_interleave(walks.shape[1])
    auxiliary = _AuxiliaryLosses(synthesis, identity, diagnosis, direction, int(labels.max()))

    def evaluated(rows: slice) -> Tensor:
        divergence, cross_entropy, who, what = auxiliary.losses(walks.flatten(0, 1)[rows], classes[rows], hard=True)
        entropy = math.log(who.shape[1]) - uniform_divergence(who, "to_uniform")
        return torch.stack([divergence, entropy, cross_entropy, what.argmax(dim=1) == classes[rows]], dim=1)

    with frozen(synthesis, identity, diagnosis):
        *terms, correct = in_batches(evaluated, len(classes), memory_images).T
    return Evaluation(*(term.reshape(walks.shape[:2]) for term in (*terms, correct.bool())))


def path_losses(walks: Tensor, labels, *, as_published: bool = False, **networks) -> Losses:
    """The terms that `plan` minimises, of any walks (p, T, ...); `networks` and `direction` as for `evaluate`."""
    inner = evaluate(walks[:, 1:-1], labels, **networks)
    terms = torch.stack([inner.divergence.flatten(), inner.cross_entropy.flatten()])
    weights = group_weights(walks.shape[1] - 2, as_published=as_published).to(terms).repeat(len(walks))
    return _summed(terms, weights, walks, as_published)


class _AuxiliaryLosses(NamedTuple):
    synthesis: Callable[[Tensor], Tensor]
    identity: nn.Module
    diagnosis: nn.Module
    direction: str
    largest: int  # label

    def losses(self, latents: Tensor, classes: Tensor, *, hard: bool) -> tuple[Tensor, ...]:
        """Divergence and cross-entropy (n,) of the images of latents (n, ...), and both logits, float32 or better."""
        images = self.synthesis(latents)
        if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != len(latents):
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"synthesis made {shape} of {len(latents)} latents: it must give images (n, c, h, w)")
        inside = images.clamp(-1, 1)
        images = inside if hard else images + (inside - images).detach()
        who, what = (network(images) for network in (self.identity, self.diagnosis))
        who, what = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (who, what))
        for name, logits in (("identity", who), ("diagnosis", what)):
            if logits.ndim != 2 or len(logits) != len(latents):
                raise ValueError(
                    f"{name} made {tuple(logits.shape)} of {len(latents)} images: it must give (n, classes)"
                )
        if self.largest >= what.shape[1]:
            raise ValueError(f"a label is {self.largest}, but diagnosis has {what.shape[1]} classes: give one of them")
        cross_entropy = F.cross_entropy(what, classes, reduction="none")
        return uniform_divergence(who, self.direction), cross_entropy, who, what


def _summed(terms: Tensor, weights: Tensor, walks: Tensor, as_published: bool) -> Losses:
    identity, diagnosis = (weights.to(terms) * terms).view(2, len(walks), -1).sum(dim=2)
    return Losses(step_energy(walks, as_published=as_published), identity, diagnosis)


def _lengths(vectors: Tensor) -> Tensor:
    return vectors.flatten(1).norm(dim=1)


def _walk_labels(labels, pairs: int) -> Tensor:
    labels = torch.as_tensor(np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels))
    if labels.is_floating_point() or labels.shape not in ((pairs,), (pairs, 2)):
        raise ValueError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)} for {pairs} pairs: give one integer class per "
            "pair, or one per end"
        )
    if labels.ndim == 2:
        if bool((labels[:, 0] != labels[:, 1]).any()):
            at = int((labels[:, 0] != labels[:, 1]).nonzero()[0, 0])
            raise ValueError(f"pair {at} has ends of different classes, {labels[at].tolist()}: pair ends of one class")
        labels = labels[:, 0]
    if pairs and int(labels.min()) < 0:
        raise ValueError(f"a label is {int(labels.min())}: classes are counted from 0")
    return labels.long()


def _check_ends(first: Tensor, last: Tensor, points: int) -> None:
    if first.shape != last.shape or first.ndim not in (2, 3) or 0 in first.shape:
        raise ValueError(
            f"the ends have shapes {tuple(first.shape)} and {tuple(last.shape)}: give both as (pairs, w_dim), or "
            "(pairs, layers, w_dim) in W+"
        )
    if not first.is_floating_point() or not bool((torch.isfinite(first) & torch.isfinite(last)).all()):
        raise ValueError("the ends hold NaN, infinite or integer values: give finite floating-point latents")
    if points < 3:
        raise ValueError(f"points is {points}: a walk needs at least 3, its two ends and one between")
