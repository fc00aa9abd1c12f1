"""Training of the conditional DCGAN (lib.models.gan.dcgan), and drawing images from it.

Osuala et al. 2024, spec §5: binary cross-entropy, the real target smoothed on one side for the
discriminator only, Adam for both, flips and slight zooms as augmentation::

    L_D = BCE(D(x, c), t) + BCE(D(G(z, c'), c'), 0),   t ~ U(0.7, 1.2)
    L_G = BCE(D(G(z, c'), c'), 1),                     z ~ N(0, 1), c' uniform over the classes

Two defects of the published code are repaired: real images are scaled to [-1, 1] like the generator's (there
they stayed in [0, 1], spec §7.1-6), and generated ones are clipped to 0..255 (there negatives wrapped around).
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.dcgan import Discriminator, Generator
from lib.training.augment.affine import CROP_DRAWS, flipped_and_cropped
from lib.training.gan.sampling import TrainedGenerator, class_labels, drawn, normal_noise
from lib.training.loop.dataset import check_batch, check_every_class, uint8_squares
from lib.training.loop.trainer import Trainer, restored, run_training


class DCGAN(TrainedGenerator):
    """A trained conditional DCGAN."""

    name = "dcgan"
    generator: Generator

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        name = "generator" if settings["ema"] is None else "average"
        return cls(restored(lambda: _generator(settings), name, tensors, device), settings)

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n,) integers of the classes, None where there is one class."""
        wanted = class_labels(labels, n, self.generator.classes)
        noise = normal_noise(n, self.generator.latent, seed, "generate", in_blocks=False)
        return drawn(self.generator, noise, wanted, batch=batch, device=self.device)


def train_dcgan(
    images,  # (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.dcgan.SIZES
    labels,  # (n,) integers in [0, classes), every class present
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # discriminator updates; an epoch is n // batch of them
    batch: int = 8,  # the remainder of each shuffle is dropped
    classes: int = 2,
    latent: int = 100,
    width: int = 64,
    norm: str = "instance",
    learning_rate: float = 1e-4,
    betas: tuple = (0.5, 0.999),
    real_target: tuple = (0.7, 1.2),  # bounds of t
    augment: bool = True,  # both flips, and crops of 0.95 to 1 of the area at an aspect ratio of 0.95 to 1.1
    as_published: bool = False,  # the generator is updated at every second step only (defect 7.1-5)
    ema: float | None = None,  # decay of an average of the generator's weights, which is then returned; published: None
    precision: str = "float32",  # see lib.core.seeding.autocast
    compile: bool = False,  # torch.compile on CUDA; without effect elsewhere, where it does not pay
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> DCGAN:
    """Train a conditional DCGAN, or finish or fetch the one in folder `path`.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. Several ranks share each
    batch out (lib.training.loop.data_parallel). ValueError for images or labels that do not fit, a damaged checkpoint,
    or divergence.
    """
    device = device or seeding.device()
    examples = uint8_squares(images, labels, device="cpu", channels=1)
    check_batch(batch, examples)
    check_every_class(examples.labels, classes)
    settings = {
        "model": DCGAN.name, "version": DCGANTrainer.version,
        "image_size": examples.values.shape[-1], "classes": classes, "latent": latent,
        "width": width, "norm": norm, "steps": steps, "batch": batch, "learning_rate": learning_rate,
        "betas": betas, "real_target": real_target, "augment": augment, "as_published": as_published, "ema": ema,
        "precision": precision, "seed": seed, "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: DCGANTrainer(examples.values, examples.labels, settings, device, compile=compile), name="DCGAN",
        path=path, settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return DCGAN.restored(tensors, settings, device)


class DCGANTrainer(Trainer):
    """Generator, its average if there is one, discriminator and their optimisers.

    images (n, 1, s, s) uint8, labels (n,) int64; settings as `train_dcgan` resolves them.
    """

    stream = "gan"
    shares_batches = True

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device, *, compile=False):
        super().__init__(settings, device)
        self.images, self.labels = images.to(device), labels.to(device)
        with self.initialising():
            self.generator, self.discriminator = _generator(settings), _discriminator(settings)
        self.networks = {"generator": self.place(self.generator), "discriminator": self.place(self.discriminator)}
        if settings["ema"] is not None:
            self.networks["average"] = copy.deepcopy(self.generator).requires_grad_(False)
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimisers = {
            "generator": torch.optim.Adam(self.generator.parameters(), **options),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), **options),
        }
        if compile and device.type == "cuda":
            self.generator.compile()
            self.discriminator.compile()

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator, then the generator; the two losses."""
        settings = self.settings
        real, real_labels, draws = self._batch(step)
        noise = torch.randn(settings["batch"], settings["latent"], device=self.device, generator=self.random)[self.own]
        low, high = settings["real_target"]
        target = low + (high - low) * draws[:, 0]
        fake_labels = (draws[:, 1] * settings["classes"]).long()
        turn = not settings["as_published"] or step % 2 == 1

        with self.autocast(), contextlib.nullcontext() if turn else torch.no_grad():
            fake = self.generator(noise, fake_labels)
        with self.autocast():
            on_real, on_fake = self._logits(real, real_labels, fake.detach(), fake_labels)
        loss_d = self.minimise("discriminator", _bce(on_real, target) + _bce(on_fake, torch.zeros_like(target)))

        if turn:
            with self.autocast():
                verdict = self.discriminator(fake, fake_labels)
            loss_g = self.minimise("generator", _bce(verdict, torch.ones_like(target)))
            if settings["ema"] is not None:
                first = step == int(settings["as_published"])  # the average begins as a copy
                self.update_ema(1.0 if first else 1 - settings["ema"])
        else:
            loss_g = _bce(on_fake.detach(), torch.ones_like(target))
        return {"loss_d": loss_d, "loss_g": loss_g}

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """This rank's real images in [-1, 1], their labels, and two uniform draws a row for the caller."""
        size, n = self.settings["batch"], len(self.images)
        epoch, position = divmod(step, n // size)
        draws = torch.rand(size, 2 + CROP_DRAWS, device=self.device, generator=self.random)[self.own]
        rows = self.rows(epoch * n + position * size, size, of=n)[self.own]
        images = self.images[rows].float()
        if self.settings["augment"]:
            images = flipped_and_cropped(images, draws[:, 2:])
        return images / 127.5 - 1, self.labels[rows], draws[:, :2]

    def _logits(self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor) -> tuple[Tensor, ...]:
        """Logits of both batches: in one pass, unless batch statistics must not mix them."""
        if self.settings["norm"] == "batch":
            return self.discriminator(real, real_labels), self.discriminator(fake, fake_labels)
        both = self.discriminator(torch.cat([real, fake]), torch.cat([real_labels, fake_labels]))
        return both.split(len(real))


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def _generator(settings: dict) -> Generator:
    return Generator(latent=settings["latent"], **_shape(settings))


def _discriminator(settings: dict) -> Discriminator:
    return Discriminator(**_shape(settings))


def _shape(settings: dict) -> dict:
    return {key: settings[key] for key in ("image_size", "classes", "width", "norm")}
