"""Sixteen pixels in which a person is a bright row and a finding a bright middle, and classifiers that know it."""

import numpy as np
import torch
from torch import nn

from lib.anonymise.vaegan.pp_vaegan import train_pp_vaegan
from tests.training.runs import silent

CPU = torch.device("cpu")
PEOPLE = 4
TINY = {"seed": 2, "steps": 4, "batch": 8, "kernel": 4, "width": 8, "latent": 4, "learning_rate": 1e-3, "device": CPU}


class Stripes(nn.Module):
    """Who it is: the brightness of rows 0 to 3, one for each person."""

    def forward(self, images):
        return 6 * images[:, 0, :PEOPLE].mean(dim=2)


class Disc(nn.Module):
    """What is found: whether the middle is bright."""

    def forward(self, images):
        middle = images[:, 0, 6:12, 6:12].mean(dim=(1, 2))
        return torch.stack([-10 * middle, 10 * middle], dim=1)


def toy(each=12, seed=0):
    """Images, masks, people and findings: a bright row names the person, the middle of the mask shows the finding."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), each)
    findings = rng.integers(0, 2, len(people))
    images = rng.normal(100, 10, (len(people), 16, 16))
    images[np.arange(len(people)), people] = 220
    masks = np.zeros(images.shape, np.uint8)
    masks[:, 5:13, 5:13] = 1
    images[:, 6:12, 6:12] = np.where(findings, 190, 60)[:, None, None]
    return images.clip(0, 255).astype(np.uint8), masks, people, findings


def train(path, privacy="posterior", data=None, **options):
    images, masks, people, _ = data or toy()
    identity = None if privacy == "none" else Stripes()
    given = {"finding": Disc(), "identity": identity, "privacy": privacy, "path": path, "progress": silent}
    return train_pp_vaegan(images, masks, people, **(TINY | given | options))
