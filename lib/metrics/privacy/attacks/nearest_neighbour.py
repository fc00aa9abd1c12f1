"""Nearest-neighbour memorisation test: are synthetic images nearer to training than to held-out images?"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.search import nearest
from lib.metrics.privacy.membership import Attack, membership_attack
from lib.statistics import checks as samples

SIMILARITIES = ("distance", "correlation")


class Memorisation(NamedTuple):
    """Outcome of `memorisation_test`."""

    attack: Attack
    member: np.ndarray  # (n,) score of each training image
    nonmember: np.ndarray  # (m,) score of each held-out image
    member_nearest: np.ndarray  # (n,) row of the synthetic image that is closest
    nonmember_nearest: np.ndarray  # (m,)
    copied: np.ndarray  # training images that some synthetic image equals exactly, ascending


def memorisation_test(
    *,
    train: ArrayLike | torch.Tensor,
    heldout: ArrayLike | torch.Tensor,
    synthetic: ArrayLike | torch.Tensor,
    train_groups: ArrayLike | None = None,
    heldout_groups: ArrayLike | None = None,
    similarity: str = "distance",
    flips: bool = False,
    rng: np.random.Generator,
    fpr: float = 0.01,
    top: int = 20,
    draws: int = 1000,
    level: float = 0.95,
) -> Memorisation:
    """Nearest-neighbour memorisation test: are synthetic images closer to training than to held-out images?

    `train` (n, ...), `heldout` (m, ...) and `synthetic` (s, ...) are images or features of one shape and value
    range. The score of a real image is its similarity to the closest synthetic image, found exactly: with
    similarity "distance" the Euclidean distance, negated; with "correlation" Pearson's correlation of the values,
    in [-1, 1], which also finds a copy of other brightness or contrast. A constant synthetic image correlates with
    none and is passed over. `flips` compares with each synthetic image (s, ..., H, W) in its four mirrorings: a
    generator trained with flips can memorise either. `train_groups` and `heldout_groups` are patients, in one
    numbering.

    A held-out set of the same population is the yardstick: without it, closeness says nothing. Raises ValueError
    on NaN, other shapes, an unknown similarity, or a constant real image under "correlation".
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}: choose one of {', '.join(SIMILARITIES)}")
    count = np.shape(synthetic)[0]
    synthetic = samples.rows(_mirrored(synthetic) if flips else synthetic, "synthetic")
    real = {name: samples.rows(rows, name) for name, rows in (("train", train), ("heldout", heldout))}
    kept = np.arange(len(synthetic))
    for name, rows in real.items():
        samples.same_width(rows, synthetic, (name, "synthetic"))
    if similarity == "correlation":
        varied = ~_constant(synthetic)
        kept = kept[varied.cpu().numpy()]
        if len(kept) == 0:
            raise ValueError("every synthetic image is constant: there is nothing to correlate with")
        synthetic = _standardised(synthetic[varied])
        for name, rows in real.items():
            if _constant(rows).any():
                raise ValueError(f"{name} holds a constant image, which has no correlation: leave it out")
            real[name] = _standardised(rows)
    found = {name: nearest(rows, synthetic) for name, rows in real.items()}
    score = {name: _similarity(result.distances[:, 0], similarity) for name, result in found.items()}
    return Memorisation(
        attack=membership_attack(
            member=score["train"],
            nonmember=score["heldout"],
            member_groups=train_groups,
            nonmember_groups=heldout_groups,
            rng=rng,
            fpr=fpr,
            top=top,
            draws=draws,
            level=level,
        ),
        member=score["train"],
        nonmember=score["heldout"],
        member_nearest=kept[found["train"].indices[:, 0]] % count,
        nonmember_nearest=kept[found["heldout"].indices[:, 0]] % count,
        copied=np.flatnonzero(found["train"].distances[:, 0] == 0),
    )


def _mirrored(images: ArrayLike | torch.Tensor) -> torch.Tensor:
    """(4n, ..., H, W): the images, then mirrored left to right, top to bottom, and both."""
    images = images if isinstance(images, torch.Tensor) else torch.as_tensor(np.ascontiguousarray(images))
    if images.ndim < 3:
        raise ValueError(f"synthetic has shape {tuple(images.shape)}: flips need images, (n, H, W)")
    return torch.cat([images, images.flip(-1), images.flip(-2), images.flip(-2, -1)])


def _constant(rows: torch.Tensor) -> torch.Tensor:
    return rows.amax(dim=1) == rows.amin(dim=1)


def _standardised(rows: torch.Tensor) -> torch.Tensor:
    """Rows of mean 0 and length 1, in float64: half their squared distance is 1 − correlation."""
    rows = rows.double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def _similarity(distances: np.ndarray, similarity: str) -> np.ndarray:
    return -distances if similarity == "distance" else 1 - distances**2 / 2
