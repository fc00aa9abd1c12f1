"""Authenticity: is a synthetic image new, or a training image with noise added?"""

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples


def authentic(*, train: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> np.ndarray:
    """Whether each synthetic image is authentic: (s,) bool, whose mean is the authenticity of the set.

    Alaa et al. 2022 (arXiv 2102.08921, §3.3): an image is a copy where it lies nearer to its nearest training
    image than that one lies to the other training images. `train` (n, ...) and `synthetic` (s, ...) are images or
    features of one space. A copy of a training image is never authentic; noise always is. How often further images of
    the same population are depends on the dimension (of normal ones a third in one dimension, four fifths in a
    thousand): compare a set with such a control, never with ½. Raises ValueError on NaN, rows of different lengths, or
    fewer than two training images.
    """
    sides = {"train": samples.rows(train, "train"), "synthetic": samples.rows(synthetic, "synthetic")}
    samples.same_width(sides["train"], sides["synthetic"], ("train", "synthetic"))
    if len(sides["train"]) < 2:
        raise ValueError("one training image has no other to be near to: give two at least")
    found = nearest(sides["synthetic"], sides["train"])
    spacing = nearest(sides["train"], sides["train"], exclude_self=True).distances[:, 0]
    return found.distances[:, 0] > spacing[found.indices[:, 0]]
