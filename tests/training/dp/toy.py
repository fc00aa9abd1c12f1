"""Networks, radiographs and a DP-GAN in miniature."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.core import seeding
from lib.models.classifiers.small_cnn import SmallCNN
from lib.models.classifiers.swin import Swin
from lib.training.dp import gan as private_adversarial


def smoothed(logits, labels):
    """Cross-entropy (n,) to smoothed labels."""
    return F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")


def small_cnn(seed=0):
    """The small CNN, drawn by `seed`."""
    with seeding.initialising(seed, "net"):
        return SmallCNN()


class Mixed(nn.Module):
    """Every rule at once: odd strides and pads, groups, dilation, no bias, tied and unused weights, in-place ReLU."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, (3, 5), stride=(2, 3), padding=(0, 2), bias=False)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.groups = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3)
        self.norm = nn.GroupNorm(3, 6)
        self.relu = nn.ReLU(inplace=True)
        self.rows = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5))
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.head = nn.Linear(5, 2)

    def forward(self, images):
        x = self.relu(self.norm(self.first(images)))
        x = self.relu(self.twice(self.relu(self.twice(x))))
        x = self.groups(x).flatten(2).transpose(1, 2)
        return self.head(self.frozen(self.rows(x)).mean(1))


def swin():
    """A Swin transformer in miniature."""
    return Swin(2, patch=4, window=2, width=8, depths=(2, 1), heads=(2, 2), stochastic_depth=0.0)


NETWORKS = {"small_cnn": (small_cnn, (1, 32, 32)), "mixed": (Mixed, (2, 11, 13)), "swin": (swin, (3, 20, 20))}


def example(name, n=5):
    """That network of `NETWORKS`, n inputs and n labels."""
    make, shape = NETWORKS[name]
    with seeding.initialising(1, name):
        return make(), torch.randn(n, *shape), torch.arange(n) % 2


RATE, STEPS = 0.5, 4


def radiographs(n=40, size=16, seed=0):
    """Noise (n, size, size), uint8."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)


def trained(images, path, noise=1.0, **changes):
    """A DP-GAN after STEPS steps."""
    options = {"steps": STEPS, "noise_multiplier": noise, "sample_rate": RATE, "expected_batch": 20.0, "clip": 0.05}
    options |= {"generator_width": 4, "discriminator_width": 4, "generator_batch": 8, "latent": 8}
    options |= {"device": torch.device("cpu"), "progress": lambda *_, **__: None} | changes
    return private_adversarial.train_dpgan(images, path=path, seed=3, **options)
