"""Training of the progressive GAN with labels (lib.models.gan.progan), and drawing radiographs from it.

Han et al. 2019, spec §4.1: Wasserstein critic with gradient penalty, multi-label auxiliary classifier,
one update of D then one of G, Adam started anew at each level, an average of G's weights. With x̂ uniform on the line
from x to x̃ = G(z, y), the labels y those of x, and y' those of radiographs drawn at random::

    L_D = D(x̃) - D(x) + 10 (‖∇D(x̂)‖ - 1)² + 0.001 D(x)² + Σ BCE(c(x), y) + 0 · Σ BCE(c(x̃), y)
    L_G = -D(G(z', y')) + Σ BCE(c(G(z', y')), y')

A level is trained for `level_kimg` thousand real radiographs, the next is faded in over `fade_kimg`; real radiographs
are brought to the level's size by averaging, and faded like the generated ones.
"""

import bisect
import copy
import hashlib
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.progan import GROUP, SIZES, Discriminator, Generator, doubled, halved
from lib.training.gan.losses import gradient_norms, label_loss
from lib.training.gan.sampling import TrainedGenerator, drawn, finding_labels, normal_noise
from lib.training.loop.dataset import uint8_squares
from lib.training.loop.inference import without_gradients
from lib.training.loop.trainer import Trainer, restored, run_training

_HELD = 4  # minibatches between two looks at the schedule, as published


class ProGAN(TrainedGenerator):
    """The averaged generator of a progressive GAN."""

    name = "progan"
    also_stored = ("level-",)
    generator: Generator

    @classmethod
    def restored(
        cls, tensors: dict[str, Tensor], settings: dict, device: torch.device, *, size: int | None = None
    ) -> Self:  # fmt: skip
        """The last generator, or that of `size` px when these were last the whole; ValueError for another size."""
        whole = settings["image_size"]
        if size in (None, whole):
            return cls(restored(lambda: _generator(settings), "average", tensors, device), settings)
        if size not in SIZES or size > whole or not any(key.startswith(f"level-{size}.") for key in tensors):
            raise ValueError(f"This training kept no generator of {size} px: it grew from 4 to {whole} px.")
        return cls(restored(lambda: _generator(settings, size), f"level-{size}", tensors, device), settings)

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n, k), or (n,) for k = 1, numbers in [0, 1], fractions too."""
        wanted = finding_labels(labels, n, self.generator.labels)
        noise = normal_noise(n, self.generator.latent, seed, "progan", "films")
        return drawn(self.generator, noise, wanted, batch=batch, device=self.device)


def train_progan(
    images,  # (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.progan.SIZES
    labels,  # (n, k), or (n,) for k = 1: numbers in [0, 1], each column with two values at least
    *,
    path,  # the folder of the checkpoint
    seed: int,
    total_kimg: float = 12000,  # thousand real images shown in all, in passes that follow one another
    level_kimg: float = 600,  # see `growth`
    fade_kimg: float = 600,
    batch: int | list[int] = 16,  # one multiple of 4, or one for each level from 4 px up
    learning_rate: float | list[float] = 1e-3,  # likewise
    latent: int = 512,  # latent, maps, normalise: see lib.models.gan.progan
    maps: tuple = (512, 8192),
    normalise: str = "joint",
    label_weight: float = 1.0,
    fake_label_weight: float = 0.0,  # of D's label loss on generated images
    penalty: float = 10.0,
    drift: float = 1e-3,
    betas: tuple = (0.0, 0.99),
    ema: float = 0.999,  # decay, a step, of the average of G's weights
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> ProGAN:
    """Train a progressive GAN, or finish or fetch the one in folder `path`.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images,
    labels or a schedule that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = uint8_squares(images, None, device="cpu", channels=1, sizes=SIZES)
    table = _label_table(labels, len(examples))
    size = examples.values.shape[-1]
    settings = {
        "model": ProGAN.name, "version": ProGANTrainer.version,
        "image_size": size, "labels": table.shape[1], "latent": latent, "maps": maps,
        "normalise": normalise, "total_images": round(1000 * total_kimg), "level_images": round(1000 * level_kimg),
        "fade_images": round(1000 * fade_kimg), "batch": _by_level(batch, size, "batch"),
        "learning_rate": _by_level(learning_rate, size, "learning_rate"), "label_weight": label_weight,
        "fake_label_weight": fake_label_weight, "penalty": penalty, "drift": drift, "betas": betas, "ema": ema,
        "precision": precision, "seed": seed, "data": examples.digest,
        "label_data": hashlib.sha256(table.numpy().tobytes()).hexdigest(),
    }  # fmt: skip
    tensors = run_training(
        lambda: ProGANTrainer(examples.values, table, settings, device), name="progressive GAN", path=path,
        settings=settings, steps=schedule(settings)[-1].step, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return ProGAN.restored(tensors, settings, device)


def discriminator_loss(
    *, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], labels: Tensor, norms: Tensor,
    label_weight: float = 1.0, fake_label_weight: float = 0.0, penalty: float = 10.0, drift: float = 1e-3,
) -> Tensor:  # fmt: skip
    """L_D above, the mean over radiographs.

    real, fake: scores (n,) and label logits (n, k), both of radiographs with `labels` (n, k); norms: `gradient_norms`
    (n,).
    """
    loss = fake[0].mean() - real[0].mean() + penalty * (norms - 1).square().mean() + drift * real[0].square().mean()
    loss = loss + label_weight * label_loss(real[1], labels)
    return loss + fake_label_weight * label_loss(fake[1], labels) if fake_label_weight else loss


def generator_loss(*, fake: tuple[Tensor, Tensor], labels: Tensor, label_weight: float = 1.0) -> Tensor:
    """L_G above, the mean over radiographs; `fake` and `labels` as for `discriminator_loss`."""
    return label_weight * label_loss(fake[1], labels) - fake[0].mean()


def growth(shown: int, *, image_size: int, level_images: int, fade_images: int) -> tuple[int, float]:
    """Size and alpha of the networks after `shown` real radiographs.

    4 px for level_images radiographs, then each next size, its alpha rising to 1 over fade_images and staying there for
    level_images; after the last fade image_size to the end.
    """
    level, rest = divmod(shown, max(level_images + fade_images, 1))
    faded = max(rest - level_images, 0)
    size = 4 << level + (faded > 0)
    return (size, faded / fade_images if faded else 1.0) if size <= image_size else (image_size, 1.0)


class Stage(NamedTuple):
    """From update `step` on, when `shown` real images have been seen, networks and images are of `size` pixels."""

    step: int
    shown: int
    size: int


def schedule(settings: dict) -> list[Stage]:
    """The stages of a training and, last, its end; ValueError when it ends before the last level is whole."""
    stages: list[Stage] = []
    step = shown = 0
    while shown < settings["total_images"]:
        size, alpha = _grown(shown, settings)
        if not stages or stages[-1].size != size:
            stages.append(Stage(step, shown, size))
        step += _HELD
        shown += _HELD * settings["batch"][SIZES.index(size)]
    if not stages or (size, alpha) != (settings["image_size"], 1.0):
        raise ValueError(
            f"The schedule of {settings['total_images'] / 1000:g} thousand images ends before {settings['image_size']} "
            "px are faded in: raise total_kimg, or lower level_kimg and fade_kimg."
        )
    return [*stages, Stage(step, shown, size)]


class ProGANTrainer(Trainer):
    """Generator, its average, discriminator and their optimisers.

    images (n, 1, s, s) uint8, labels (n, k) float32; settings as `train_progan` resolves them.
    """

    stream = "progan"

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.images, self.labels = images.to(device), labels.to(device)
        with seeding.initialising(0):  # not from the seed: all published numbers of this suite were made so
            self.generator = self.place(_generator(settings))
        with self.initialising():
            self.discriminator = self.place(_discriminator(settings))
        average = copy.deepcopy(self.generator).requires_grad_(False)
        self.networks = {"generator": self.generator, "average": average, "discriminator": self.discriminator}
        self.stages = schedule(settings)
        self.size = 0  # of the level that the optimisers are for

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator, then the generator and its average; the two losses."""
        stage = self._stage(step)
        if stage.size != self.size:
            self._keep_levels(below=stage.size)
            self._begin_level(stage.size)
        batch = self.settings["batch"][SIZES.index(stage.size)]
        done = step - stage.step
        _, alpha = _grown(stage.shown + done // _HELD * _HELD * batch, self.settings)
        rows = self.rows(stage.shown + done * batch, batch, of=len(self.images))
        losses = {"loss_d": self.discriminator_step(rows, alpha), "loss_g": self.generator_step(batch, alpha)}
        self.update_ema(1 - self.settings["ema"])
        return losses

    def images_seen(self, step: int) -> float:
        """The batch of the step's level."""
        return self.settings["batch"][SIZES.index(self._stage(step).size)]

    def _stage(self, step: int) -> Stage:
        return self.stages[bisect.bisect_right(self.stages, step, key=lambda stage: stage.step) - 1]

    def state(self) -> dict:
        """The level and the optimisers' states."""
        return {"size": self.size} | super().state()

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        self._begin_level(state["size"])
        super().restore(tensors, state)

    def _keep_levels(self, *, below: int) -> None:
        """Keep a copy of what the average draws the finished level with, so that growth can be looked at.

        A rehearsal skips levels: then of these, too.
        """
        average = self.networks["average"].state_dict()
        for size in SIZES[SIZES.index(self.size) if self.size else 0 : SIZES.index(below)]:
            with seeding.initialising(0):  # weights that only say which are those of a smaller network
                needed = _generator(self.settings, size).state_dict()
            self.values |= {f"level-{size}.{key}": average[key].clone() for key in needed}

    def _begin_level(self, size: int) -> None:
        """Make the optimisers anew, without a memory."""
        self.size = size
        rate = self.settings["learning_rate"][SIZES.index(size)]
        for name in ("generator", "discriminator"):
            parameters = self.networks[name].parameters()
            self.optimisers[name] = torch.optim.Adam(parameters, rate, self.settings["betas"], fused=True)

    def discriminator_step(self, rows: Tensor, alpha: float) -> Tensor:
        """One update of D by L_D on the real images of `rows` and as many generated ones."""
        real, labels = self.real_images(rows, alpha), self.labels[rows]
        with torch.no_grad(), self.autocast():
            fake = self.generator(self._noise(len(rows)), labels, size=self.size, alpha=alpha).float()
        mix = torch.rand(len(rows), 1, 1, 1, device=self.device, generator=self.random)
        # Both in one pass, which is that of each alone: the groups of the batch's spread lie within one or the other.
        scores, logits = self.scores(torch.cat([real, fake]), alpha)
        (real_scores, fake_scores), (real_logits, fake_logits) = scores.chunk(2), logits.chunk(2)
        norms = gradient_norms(lambda images: self.scores(images, alpha)[0], torch.lerp(real, fake, mix))
        weights = ("label_weight", "fake_label_weight", "penalty", "drift")
        loss = discriminator_loss(
            real=(real_scores, real_logits), fake=(fake_scores, fake_logits), labels=labels, norms=norms,
            **{key: self.settings[key] for key in weights},
        )  # fmt: skip
        return self.minimise("discriminator", loss)

    def generator_step(self, batch: int, alpha: float) -> Tensor:
        """One update of G by L_G."""
        rows = torch.randint(len(self.labels), (batch,), device=self.device, generator=self.random)
        labels = self.labels[rows]
        with self.autocast():
            fake = self.generator(self._noise(batch), labels, size=self.size, alpha=alpha)
        with without_gradients(self.discriminator):
            scores = self.scores(fake, alpha)
        loss = generator_loss(fake=scores, labels=labels, label_weight=self.settings["label_weight"])
        return self.minimise("generator", loss)

    def scores(self, images: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """D's scores (n,) and label logits (n, k) of images, float32."""
        with self.autocast():
            scores, logits = self.discriminator(images, alpha=alpha)
        return scores.float(), logits.float()

    def real_images(self, rows: Tensor, alpha: float) -> Tensor:
        """Real images in [-1, 1] at the level's size, rounded there to whole grey values; faded as generated ones."""
        images = F.avg_pool2d(self.images[rows].float(), self.images.shape[-1] // self.size).round() / 127.5 - 1
        return images if alpha == 1 else torch.lerp(doubled(halved(images)), images, alpha)

    def _noise(self, batch: int) -> Tensor:
        return torch.randn(batch, self.settings["latent"], device=self.device, generator=self.random)


def _grown(shown: int, settings: dict) -> tuple[int, float]:
    return growth(shown, **{key: settings[key] for key in ("image_size", "level_images", "fade_images")})


def _generator(settings: dict, size: int | None = None) -> Generator:
    """The network of the training, or its part up to `size` px."""
    return Generator(
        size or settings["image_size"], *(settings[key] for key in ("labels", "latent", "maps", "normalise"))
    )


def _discriminator(settings: dict) -> Discriminator:
    return Discriminator(*(settings[key] for key in ("image_size", "labels", "maps")))


def _by_level(value, image_size: int, name: str) -> list:
    """`value`, or its entries, for 4 px, 8 px, ... image_size."""
    levels = SIZES.index(image_size) + 1
    values = np.ravel(value).tolist()
    values = values * levels if np.ndim(value) == 0 else values[:levels]
    if len(values) < levels or not all(v > 0 for v in values):
        raise ValueError(f"{name} is {value}: give one positive number, or one for each of {levels} levels.")
    if name == "batch" and any(v % GROUP for v in values):
        raise ValueError(f"batch is {value}: give multiples of {GROUP}, the group whose spread is measured.")
    return values


def _label_table(labels, n: int) -> Tensor:
    """The labels as float32 (n, k), or ValueError."""
    table = np.asarray(labels, np.float32)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != n or not ((table >= 0) & (table <= 1)).all():
        raise ValueError(f"The labels have shape {np.shape(labels)}: give ({n}, k) numbers in [0, 1].")
    if constant := np.flatnonzero(table.min(axis=0) == table.max(axis=0)).tolist():
        raise ValueError(f"Labels {constant} are the same for every image: leave these columns out.")
    return torch.from_numpy(np.ascontiguousarray(table))
