"""An embedding of identity, learnt on real images of patients who have several, in closed form.

The features are the oriented energies of `embedding`, which knows copies; here a class is a patient. Pulled together
are the images of one patient, and mild views of one image, and pushed apart are patients: Fisher's discriminant, as
Fisherfaces (Belhumeur, Hespanha and Kriegman 1997). What it was learnt on is not what it may be asked about: its own
patients lie further apart than new ones.
"""

from typing import NamedTuple

import numpy as np
import torch

from lib.audit.disguises import disguised
from lib.audit.embedding import Embedding, discriminant, oriented_energies
from lib.audit.normalisation import normalised

VIEWS = ("resampled", "noisy", "cropped to 90 %", "turned 5°")  # the mild ones
_MOST = 600  # images whose views are looked at
_SHRINKAGE = 0.1  # of the within-class covariance towards a multiple of the identity


class Views(NamedTuple):
    """Outcome of `mild_views`."""

    row: np.ndarray  # (m,) of the images that were seen
    features: torch.Tensor  # (VIEWS, m, d)


def identity_features(images: np.ndarray) -> torch.Tensor:
    """What identity is learnt from and recognised by, (n, d) float32, of uint8 `images` (n, H, W)."""
    return oriented_energies(normalised(images).ranks)


def mild_views(images: np.ndarray, *, rng: np.random.Generator) -> Views:
    """`identity_features` of VIEWS of uint8 `images` (n, H, H), of a random part of many."""
    row = np.sort(rng.permutation(len(images))[:_MOST])
    return Views(row, torch.stack([identity_features(disguised(images[row], name, rng=rng)) for name in VIEWS]))


def learn_identity(features: torch.Tensor, patient: np.ndarray, views: torch.Tensor) -> Embedding:
    """Learn on `identity_features` (n, d) of the patients (n,), and on features (v, m, d) of views of m images.

    However many images a patient has, they weigh as much as those of another. Raises ValueError where less than two
    patients have two images.
    """
    code = np.unique(patient, return_inverse=True)[1]
    count = np.bincount(code)
    if (count > 1).sum() < 2:
        raise ValueError(f"{(count > 1).sum()} patients have two images: identity is learnt from two at least")
    each, images = torch.from_numpy(code), torch.from_numpy(count).float()
    centres = torch.zeros(len(count), features.shape[1]).index_add_(0, each, features) / images[:, None]
    apart = (features - centres[each]) / (images[each, None] - 1).clamp_min(1).sqrt()
    of_patients = apart.T @ apart / int((count > 1).sum())
    moved = (views - views.mean(dim=0)).flatten(0, 1)
    return discriminant(centres, of_patients + moved.T @ moved / max(len(moved), 1), shrinkage=_SHRINKAGE)
