"""Training of the auxiliary-classifier GAN (lib.models.gan.acgan), and drawing volumes from it.

Sun et al. 2021, spec §5: Adam for both networks, D then G, fresh noise for G, and with y the regions
of real images x, c those asked of the generator, w the weights of the regions::

    L_D = BCE(D(x), 1) + BCE(D(G(z, c)), 0) + α [CE_w(C(x), y) + CE_w(C(G(z, c)), c)]
    L_G = BCE(D(G(z, c)), 1) + α CE_w(C(G(z, c)), c)

The released code has another class term (spec §7, defect 1), see `class_loss`; that is `as_published` here.
"""

import copy
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.acgan import Discriminator, Generator
from lib.training.augment.affine import DRAWS, zoomed_and_turned
from lib.training.gan.sampling import TrainedGenerator, class_labels, drawn, normal_noise
from lib.training.loop.dataset import check_every_class, uint8_squares
from lib.training.loop.images import network_input
from lib.training.loop.trainer import Trainer, restored, run_training


class ACGAN(TrainedGenerator):
    """A trained auxiliary-classifier GAN."""

    name = "acgan"
    generator: Generator

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        which = "generator" if settings["ema"] is None else "average"
        return cls(restored(lambda: _generator(settings), which, tensors, device), settings)

    @property
    def classes(self) -> int:
        return self.generator.regions

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n,) integers, the regions."""
        regions = F.one_hot(class_labels(labels, n, self.generator.regions), self.generator.regions).float()
        z = normal_noise(n, self.generator.noise, seed, "acgan", "units")
        return drawn(self.generator, regions, z, batch=batch, device=self.device)

    def interpolate(self, mixes, *, seed: int, noises: int = 1, batch: int = 256) -> np.ndarray:
        """Volumes along `mixes` (m, regions) of the regions, the noise held fixed: (noises, m, slices, s, s) uint8.

        A mix is a row of weights, such as [0.5, 0.5, 0] halfway between the first two regions. Each of `noises` rows of
        the result has its own noise. ValueError for mixes of another shape or not finite.
        """
        mixes = torch.as_tensor(np.asarray(mixes, np.float32))
        if mixes.ndim != 2 or mixes.shape[1] != self.generator.regions or not torch.isfinite(mixes).all():
            raise ValueError(f"Mixes of regions must be finite numbers (m, {self.generator.regions}), a row a volume.")
        z = normal_noise(noises, self.generator.noise, seed, "acgan", "interpolate")
        z = z.repeat_interleave(len(mixes), dim=0)
        volumes = drawn(self.generator, mixes.repeat(noises, 1), z, batch=batch, device=self.device)
        return volumes.reshape(noises, len(mixes), *volumes.shape[1:])


def train_acgan(
    images,  # (n, slices, s, s) or, of one slice, (n, s, s) uint8, s one of lib.models.gan.acgan.SIZES
    labels,  # (n,) integers in [0, classes), the regions, every one present; fake images have their frequencies
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # generator updates; shuffled passes over the images follow one another without dropping a remainder
    batch: int = 32,
    classes: int = 3,
    width: int = 128,
    noise: int = 100,
    alpha: float = 1.0,
    class_weights=None,  # w, one positive number a region; None: equal ones
    learning_rate: float = 1e-4,
    time_scale: float = 1.0,  # the discriminator's learning rate over the generator's
    betas: tuple = (0.5, 0.999),
    d_steps: int = 1,  # discriminator updates a step, each on `batch` real and as many fake images
    generator_batch_norm: bool = False,
    discriminator_batch_norm: bool = False,
    as_published: bool = False,  # the released class term
    augment: bool = False,  # see lib.training.augment.affine
    ema: float | None = None,  # decay of an average of the generator's weights, which is then returned; published: None
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> ACGAN:
    """Train an AC-GAN, or finish or fetch the one in folder `path`.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images,
    regions or weights that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = uint8_squares(images, labels, device="cpu")
    check_every_class(examples.labels, classes)
    if d_steps < 1:
        raise ValueError(f"d_steps is {d_steps}: the discriminator needs at least one update a step.")
    settings = {
        "model": ACGAN.name, "version": ACGANTrainer.version,
        "image_size": examples.values.shape[-1], "slices": examples.values.shape[1],
        "classes": classes, "width": width, "noise": noise, "steps": steps, "batch": batch, "alpha": alpha,
        "class_weights": _weights(class_weights, classes), "learning_rate": learning_rate, "time_scale": time_scale,
        "betas": betas, "d_steps": d_steps, "generator_batch_norm": generator_batch_norm,
        "discriminator_batch_norm": discriminator_batch_norm, "as_published": as_published, "augment": augment,
        "ema": ema,
        "precision": precision, "seed": seed, "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: ACGANTrainer(examples.values, examples.labels, settings, device), name="AC-GAN", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return ACGAN.restored(tensors, settings, device)


def class_loss(logits: Tensor, regions: Tensor, weights: Tensor, *, as_published: bool = False) -> Tensor:
    """Weighted cross-entropy Σ w_y (−log p_y) / Σ w_y of logits (n, k), p their softmax, and regions y (n,).

    as_published: Σ w_y (−p_y) / Σ w_y instead, PyTorch's NLLLoss given probabilities where it expects their logarithms
    (spec §7, defect 1): bounded to [-1, 0], and nearly without gradient where the guess is confidently wrong.
    """
    if as_published:
        return F.nll_loss(logits.softmax(dim=1), regions, weight=weights)
    return F.cross_entropy(logits, regions, weight=weights)


class ACGANTrainer(Trainer):
    """Generator, its average if there is one, discriminator and their optimisers.

    images (n, slices, s, s) uint8, regions (n,) int64; settings as `train_acgan` resolves them.
    """

    stream = "acgan"

    def __init__(self, images: Tensor, regions: Tensor, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.images = images.permute(0, 2, 3, 1).contiguous().to(device)  # rows come out with the channels last
        self.regions = regions.to(device)
        self.weights = torch.tensor(settings["class_weights"], device=device)
        with self.initialising():
            self.generator = self.place(_generator(settings))
            self.discriminator = self.place(_discriminator(settings))
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        rate = settings["learning_rate"]
        rates = {"generator": rate, "discriminator": rate * settings["time_scale"]}
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=rates[name], betas=settings["betas"], fused=True)
            for name, network in self.networks.items()
        }
        if settings["ema"] is not None:
            self.networks["average"] = copy.deepcopy(self.generator).requires_grad_(False)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator `d_steps` times, then the generator; the two last losses."""
        turns = self.settings["d_steps"]
        for turn in range(turns):
            loss_d = self.discriminator_step(step * turns + turn)
        loss_g = self.generator_step()
        if self.settings["ema"] is not None:
            self.update_ema(1.0 if step == 0 else 1 - self.settings["ema"])  # the average begins as a copy
        return {"loss_d": loss_d, "loss_g": loss_g}

    def discriminator_step(self, update: int) -> Tensor:
        """The discriminator's update number `update` by L_D."""
        real, regions = self.batch(update)
        asked, noise = self.random_inputs()
        with torch.no_grad(), self.autocast():
            fake = self.generator(self._one_hot(asked), noise)
        with self.autocast():
            (real_logit, real_guess), (fake_logit, fake_guess) = self.logits(real, fake)
        loss = _bce(real_logit, 1.0) + _bce(fake_logit, 0.0)
        loss = loss + self.settings["alpha"] * (self._classes(real_guess, regions) + self._classes(fake_guess, asked))
        return self.minimise("discriminator", loss)

    def generator_step(self) -> Tensor:
        """One update of the generator by L_G, on fresh noise."""
        asked, noise = self.random_inputs()
        with self.autocast():
            logit, guess = self.discriminator(self.generator(self._one_hot(asked), noise))
        return self.minimise("generator", _bce(logit, 1.0) + self.settings["alpha"] * self._classes(guess, asked))

    def batch(self, update: int) -> tuple[Tensor, Tensor]:
        """Real images in [-1, 1] and their regions: the rows that follow those of the update before."""
        size = self.settings["batch"]
        rows = self.rows(update * size, size, of=len(self.images))
        images = network_input(self.images[rows].permute(0, 3, 1, 2))
        if self.settings["augment"]:
            images = zoomed_and_turned(images, torch.rand(size, DRAWS, device=self.device, generator=self.random))
        return images, self.regions[rows]

    def random_inputs(self) -> tuple[Tensor, Tensor]:
        """Regions with the frequencies of the data, and noise, for one batch of fake images."""
        size = self.settings["batch"]
        rows = torch.randint(len(self.regions), (size,), device=self.device, generator=self.random)
        noise = torch.randn(size, self.settings["noise"], device=self.device, generator=self.random)
        return self.regions[rows], noise

    def logits(self, real: Tensor, fake: Tensor) -> tuple:
        """Both heads' logits on either batch: in one pass, unless batch statistics must not mix them."""
        if self.settings["discriminator_batch_norm"]:
            return self.discriminator(real), self.discriminator(fake)
        both = self.discriminator(torch.cat([real, fake]))
        return tuple(zip(*(head.split(len(real)) for head in both), strict=True))

    def _one_hot(self, regions: Tensor) -> Tensor:
        return F.one_hot(regions, self.settings["classes"]).float()

    def _classes(self, logits: Tensor, regions: Tensor) -> Tensor:
        return class_loss(logits.float(), regions, self.weights, as_published=self.settings["as_published"])


def _generator(settings: dict) -> Generator:
    return Generator(**_shape(settings), noise=settings["noise"], batch_norm=settings["generator_batch_norm"])


def _discriminator(settings: dict) -> Discriminator:
    return Discriminator(**_shape(settings), batch_norm=settings["discriminator_batch_norm"])


def _shape(settings: dict) -> dict:
    return {"regions": settings["classes"]} | {key: settings[key] for key in ("image_size", "width", "slices")}


def _bce(logits: Tensor, target: float) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _weights(weights, classes: int) -> list[float]:
    if weights is None:
        return [1.0] * classes
    values = np.asarray(weights, float)
    if values.shape != (classes,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"The class weights {weights!r} must be {classes} positive finite numbers.")
    return values.tolist()
