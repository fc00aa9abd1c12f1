"""Training of an embedding in which images of one person are near and those of two are a margin apart.

Montenegro et al. 2021, spec §5.3: pairs of images, contrastive loss, every pair once more with noise in its second
image. The released training has a margin of 10 and its use one of 1 (spec §7, D10); here there is one `margin`, 1
unless given. Batches are drawn anew each step, there is no early stopping, and the last weights are kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.core import seeding
from lib.models.classifiers.identity import Embedding, paired_distances
from lib.training.loop.dataset import DeviceDataset, grey_images
from lib.training.loop.inference import predict_logits
from lib.training.loop.placement import placed
from lib.training.loop.trainer import Trainer, finished_training, restored, run_training


class Pairs(NamedTuple):
    """Rows of two images each, and whether both are of one person; all (m,)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def train_siamese(
    images,  # (n, s, s) grey, uint8, or float32 in [-1, 1]
    identities,  # (n,) integers
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # updates by Adam
    batch: int = 64,  # of `identity_pairs`
    margin: float = 1.0,  # see `contrastive`
    width: int = 32,  # width, dimensions, momentum: see `Embedding`
    dimensions: int = 256,
    momentum: float = 0.01,
    learning_rate: float = 1e-4,
    noise_variance: float = 0.05,  # on [-1, 1], in the second image of half of the pairs on average, clipped again
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> Embedding:
    """Train an embedding, or finish or fetch the one in folder `path`; in eval mode.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for colour
    images, people without a second image, fewer than two people, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = grey_images(images, identities, device=device)
    settings = {
        "model": "siamese", "version": SiameseTrainer.version,
        "width": width, "dimensions": dimensions, "momentum": momentum, "steps": steps,
        "batch": batch, "margin": margin, "learning_rate": learning_rate, "noise_variance": noise_variance,
        "precision": precision, "seed": seed, "data": examples.digest,
    }  # fmt: skip
    pairs = identity_pairs(identities, rng=seeding.numpy_generator(seed, "siamese", "pairs"))
    tensors = run_training(
        lambda: SiameseTrainer(examples, pairs, settings, device), name="embedding", path=path, settings=settings,
        steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _embedding(tensors, settings, device)


def load_embedding(path, *, device: torch.device | None = None) -> Embedding:
    """The embedding of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _embedding(*finished_training(path, "embedding", model="siamese"), device or seeding.device())


def embed(model: Embedding, images, *, batch: int = 256, device: torch.device | None = None) -> np.ndarray:
    """Points (n, dimensions) float32 of images (n, s, s) as `train_siamese` takes them."""
    device = device or seeding.device()
    examples = DeviceDataset(images, None, device=device, name="given")
    return predict_logits(placed(model, device), examples, batch=batch).cpu().numpy()


def identity_pairs(identities, *, rng: np.random.Generator) -> Pairs:
    """Every unordered pair of images of one person, and of each image (n_same − 1) / 2, rounded up, with other people.

    identities: (n,) integers. The others of one image are different people, as many as there are at most, each with an
    image drawn at random. ValueError for a person with one image, or fewer than two people.
    """
    names, person, counts = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError("All images are of one person: pairs of different people need at least two.")
    if (counts < 2).any():
        single = names[counts < 2].tolist()
        raise ValueError(f"Identities {single} have a single image: leave them out, as a pair of one person needs two.")
    first, second = np.nonzero(np.triu(person[:, None] == person, k=1))
    wanted = np.minimum((counts[person]) // 2, len(names) - 1)
    draw = rng.random((len(person), len(names)))
    draw[np.arange(len(person)), person] = np.inf
    anchor, place = np.nonzero(np.arange(len(names)) < wanted[:, None])
    other = draw.argsort(axis=1)[anchor, place]
    rows, starts = np.argsort(person, kind="stable"), np.cumsum(counts) - counts
    impostor = rows[starts[other] + (rng.random(len(other)) * counts[other]).astype(np.int64)]
    same = np.arange(len(first) + len(anchor)) < len(first)
    return Pairs(np.concatenate([first, anchor]), np.concatenate([second, impostor]), same)


def contrastive(distances: Tensor, same: Tensor, *, margin: float = 1.0) -> Tensor:
    """y d² + (1 − y) max(margin − d, 0)², the mean over pairs; distances (n,), same (n,) y: 1 of one person, else 0."""
    apart = (margin - distances).clamp_min(0).square()
    return torch.where(same.bool(), distances.square(), apart).mean()


class SiameseTrainer(Trainer):
    """Embedding and optimiser, with the images and the rows of their pairs beside them."""

    stream = "siamese"

    def __init__(self, examples: DeviceDataset, pairs: Pairs, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.examples = examples
        self.first, self.second, self.same = (torch.from_numpy(part).to(device) for part in pairs)
        with self.initialising():
            self.embedding = self.place(_build(settings))
        self.networks = {"embedding": self.embedding}
        adam = torch.optim.Adam(self.embedding.parameters(), settings["learning_rate"], fused=True)
        self.optimisers = {"embedding": adam}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One update; the loss."""
        count, random = self.settings["batch"], self.random
        pairs = torch.randint(len(self.same), (count,), device=self.device, generator=random)
        images = self.examples.inputs(torch.cat([self.first[pairs], self.second[pairs]]))
        noisy = torch.rand(count, 1, 1, 1, device=self.device, generator=random) < 0.5
        noise = torch.randn(images[count:].shape, device=self.device, generator=random)
        noise = noise * self.settings["noise_variance"] ** 0.5
        images[count:] = torch.where(noisy, (images[count:] + noise).clamp(-1, 1), images[count:])
        with self.autocast():
            first, second = self.embedding(images).float().chunk(2)
        loss = contrastive(paired_distances(first, second), self.same[pairs], margin=self.settings["margin"])
        return {"loss": self.minimise("embedding", loss)}


def _build(settings: dict) -> Embedding:
    return Embedding(settings["width"], settings["dimensions"], settings["momentum"])


def _embedding(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Embedding:
    return restored(lambda: _build(settings), "embedding", tensors, device)
