"""The attackers of a generator trained with differential privacy, from the one who sees most to the one who sees least.

Each guesses which radiographs were trained on, from what the attacker sees. An attacker is added by one entry below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from lib.comparison.registry import Registry
from lib.metrics.neighbours.search import nearest
from lib.training.dp.gan import Trace
from lib.training.dp.gradient_attack import discriminator_scores, traced_scores


@dataclass(frozen=True, eq=False)
class Training:
    """What one private training leaves for an attacker."""

    discriminator: nn.Module
    trace: Trace  # weights and noisy gradients of each step
    images: np.ndarray  # (s, h, w) uint8, drawn by the generator
    folder: Path  # where an attacker keeps what takes long


@dataclass(frozen=True)
class DpAttacker:
    """One attacker."""

    name: str  # as it is printed: what the attacker sees
    group: str  # one of `SEEN`
    scores: Callable[[Training, np.ndarray], np.ndarray]  # radiographs (m, h, w) -> (m,), larger: likelier a member


SEEN = ("gradients", "network", "images")
DP_ATTACKERS: Registry[DpAttacker] = Registry("attacker", SEEN)


def _from_gradients(training: Training, radiographs: np.ndarray) -> np.ndarray:
    return traced_scores(training.discriminator, training.trace, radiographs, path=training.folder)


def _from_discriminator(training: Training, radiographs: np.ndarray) -> np.ndarray:
    return discriminator_scores(training.discriminator, radiographs)


def from_images(images: np.ndarray, radiographs: np.ndarray) -> np.ndarray:
    """Scores (m,) of radiographs (m, h, w) by their distance to the nearest of the released images (s, h, w)."""
    return -nearest(radiographs, images).distances[:, 0]


def _from_images(training: Training, radiographs: np.ndarray) -> np.ndarray:
    return from_images(training.images, radiographs)


for _entry in (
    DpAttacker("every noisy gradient", "gradients", _from_gradients),
    DpAttacker("last discriminator", "network", _from_discriminator),
    DpAttacker("images alone", "images", _from_images),
):
    DP_ATTACKERS.register(_entry)
