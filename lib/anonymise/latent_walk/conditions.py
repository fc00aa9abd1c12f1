"""The walks that are compared: straight, PLAN's, and blind detours of PLAN's energy, between the same ends."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.anonymise.latent_walk.plan import detour, linear, plan, step_energy, synthesis_of
from lib.core.seeding import device, numpy_generator
from lib.training.loop.course import called
from lib.training.loop.inference import in_batches
from lib.training.loop.resume import cached, weights_digest
from lib.training.loop.trainer import finished_training


class Conditions(NamedTuple):
    """Walks (p, T, ...) between the same ends, and the class of each (p,)."""

    linear: Tensor
    plan: Tensor
    detour: Tensor  # as much step energy as `plan`, in a random direction
    labels: np.ndarray


def walk_conditions(
    generator: nn.Module,
    *,
    identity: nn.Module,
    diagnosis: nn.Module,
    first: Tensor,  # (p, ...)
    last: Tensor,  # (p, ...)
    labels,  # (p,) the class of each walk
    path,  # the folder that keeps the walks
    seed: int,
    points: int,
    **options,  # of lib.anonymise.latent_walk.plan.plan
) -> Conditions:
    """Walk from `first` to `last` in all three ways, or fetch the walks from folder `path`.

    What decides the result is kept beside it, the networks by the digest of their weights; other settings walk anew.
    ValueError for a generator without W, or what `plan` refuses.
    """
    labels = np.asarray(labels)
    settings = {"points": points, "seed": seed, "labels": labels.tolist()} | options
    settings |= {name: weights_digest(net) for name, net in
                 {"generator": generator, "identity": identity, "diagnosis": diagnosis}.items()}  # fmt: skip
    ends = torch.stack([first, last]).detach().cpu().contiguous()
    settings["ends"] = hashlib.sha256(ends.numpy().tobytes()).hexdigest()

    def compute() -> dict[str, Tensor]:
        networks = {"identity": identity, "diagnosis": diagnosis, "first": first, "last": last, "labels": labels}
        walks = plan(synthesis_of(generator), points=points, name=called("walks", path), **networks, **options)
        found = walks.latents
        rng = numpy_generator(seed, "detour")
        blind = detour(first, last, energy=step_energy(found), points=points, rng=rng)
        return {"linear": linear(first, last, points=points), "plan": found, "detour": blind}

    found = cached(path, settings, compute)
    return Conditions(**{name: value.to(first.device) for name, value in found.items()}, labels=labels)


def load_conditions(path) -> Conditions:
    """The walks in folder `path`, whatever their settings; FileNotFoundError or ValueError where they are not whole."""
    found, settings = finished_training(path, "walk")
    return Conditions(
        **{name: value.to(device()) for name, value in found.items()}, labels=np.array(settings["labels"])
    )


@torch.inference_mode()
def drawn(generator: nn.Module, walks: Tensor) -> Iterator[Tensor]:
    """The images (T, c, h, w), clamped to [-1, 1], of each of walks (p, T, ...), one walk at a time."""
    synthesis = synthesis_of(generator)
    for walk in walks:

        def images(part: slice, walk: Tensor = walk) -> Tensor:
            return synthesis(walk[part]).clamp(-1, 1)

        yield in_batches(images, len(walk), len(walk))
