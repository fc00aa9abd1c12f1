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
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lib.core import seeding
from lib.models.gan.progan import GROUP, SIZES, Discriminator, Generator, doubled, halved
from lib.training.gan.losses import gradient_norms, label_loss
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.trainer import finished_training, run_training

_HELD = 4  # minibatches between two looks at the schedule, as published


def train_progan(
    images, labels, *, path, seed: int, total_kimg: float = 12000, level_kimg: float = 600, fade_kimg: float = 600,
    batch=16, learning_rate=1e-3, latent: int = 512, maps: tuple = (512, 8192), normalise: str = "joint",
    label_weight: float = 1.0, fake_label_weight: float = 0.0, penalty: float = 10.0, drift: float = 1e-3,
    betas: tuple = (0.0, 0.99), ema: float = 0.999, precision: str = "float32", device: torch.device | None = None,
    save_seconds: float = 60.0, progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """Train a progressive GAN, or finish or fetch the one in folder `path`; its averaged generator, in eval mode.

    images: (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.progan.SIZES. labels: (n, k) numbers in [0, 1],
    each column with two values at least. total_kimg: thousand real radiographs shown in all, passes over them following
    one another in shuffled order, so that n may be below a batch; see `growth`. batch (a multiple of 4) and
    learning_rate: one number, or one for each level from 4 px up. latent, maps, normalise: see lib.models.gan.progan.
    fake_label_weight: of D's label loss on generated radiographs. ema: decay, a step, of the average of G's weights.
    precision: see lib.core.seeding.autocast. progress, save_seconds and what happens to a checkpoint in `path`: see
    `lib.training.loop.trainer.run_training`.

    The randomness of each step depends on (seed, step) alone: on the CPU, with the same number of threads, an
    interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for images, labels or a
    schedule that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples, labels = _checked(images, labels)
    size = examples.values.shape[-1]
    settings = {
        "model": "progressive GAN", "image_size": size, "labels": labels.shape[1], "latent": latent, "maps": maps,
        "normalise": normalise, "total_images": round(1000 * total_kimg), "level_images": round(1000 * level_kimg),
        "fade_images": round(1000 * fade_kimg), "batch": _by_level(batch, size, "batch"),
        "learning_rate": _by_level(learning_rate, size, "learning_rate"), "label_weight": label_weight,
        "fake_label_weight": fake_label_weight, "penalty": penalty, "drift": drift, "betas": betas, "ema": ema,
        "precision": precision, "seed": seed, "data": examples.digest,
        "label_data": hashlib.sha256(labels.numpy().tobytes()).hexdigest(),
    }  # fmt: skip
    tensors = run_training(
        lambda: Adversaries(examples.values, labels, settings, device), name="progressive GAN", path=path,
        settings=settings, steps=schedule(settings)[-1].step, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _loaded(_generator(settings), "average", tensors, device)


def load_generator(path, *, device: torch.device | None = None) -> Generator:
    """The averaged generator of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    tensors, settings = finished_training(path, "generator")
    return _loaded(_generator(settings), "average", tensors, device or seeding.device())


def load_discriminator(path, *, device: torch.device | None = None) -> Discriminator:
    """The discriminator beside that generator, for an attacker who was given it. Errors as `load_generator`."""
    tensors, settings = finished_training(path, "discriminator")
    return _loaded(_discriminator(settings), "discriminator", tensors, device or seeding.device())


@torch.inference_mode()
def generate_radiographs(
    generator: Generator, labels, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:
    """One radiograph for each row of `labels` (n, k), numbers in [0, 1], fractions too: (n, s, s) uint8.

    [-1, 1] is mapped to 0..255 and clipped. The noise of radiograph i depends on seed and i alone: the same seed with
    other labels shows what the labels do. ValueError for labels of another shape or range.
    """
    device = device or seeding.device()
    labels = torch.as_tensor(np.asarray(labels, np.float32))
    if labels.ndim != 2 or labels.shape[1] != generator.labels or not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"Labels to generate must be (n, {generator.labels}) numbers in [0, 1].")
    # In whole blocks of 16 numbers, which torch fills one after another: row i is then the same for every n > i.
    source = seeding.torch_generator(seed, "progan", "films")
    noise = torch.randn(-(-len(labels) // 16) * 16, generator.latent, generator=source)[: len(labels)]
    generator = generator.to(device).eval()
    out = np.empty((len(labels), generator.image_size, generator.image_size), np.uint8)
    for part in (slice(i, i + batch) for i in range(0, len(labels), batch)):
        radiographs = generator(noise[part].to(device), labels[part].to(device))[:, 0]
        out[part] = ((radiographs.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return out


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
    """From update `step` on, when `shown` real radiographs have been seen, networks and radiographs are of `size`
    pixels."""

    step: int
    shown: int
    size: int


def schedule(settings: dict) -> list[Stage]:
    """The stages of a training and, last, its end; ValueError when it ends before the last level is whole."""
    stages, step, shown = [], 0, 0
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


class Adversaries:
    """Generator, its average, discriminator and their optimisers on `device`, with the data beside them as uint8.

    images (n, 1, s, s) uint8, labels (n, k) float32, `settings` as `train_progan` resolves them. `step(k)` does
    the k-th update and depends on nothing but the weights, the optimisers and (seed, k).
    """

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device):
        self.settings, self.device = settings, device
        self.images, self.labels = images.to(device), labels.to(device)
        with seeding.initialising(settings["seed"], "progan"):
            self.generator = _generator(settings).to(device)
            self.discriminator = _discriminator(settings).to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.networks = {
            "generator": self.generator, "average": self.average, "discriminator": self.discriminator
        }  # fmt: skip
        self.optimisers: dict[str, torch.optim.Adam] = {}
        self.stages, self.size = schedule(settings), None
        self.update_average = get_ema_multi_avg_fn(settings["ema"])
        self.random = torch.Generator(device)
        self.orders: dict[int, Tensor] = {}

    def step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator, then the generator and its average; the two losses."""
        stage = self.stages[bisect.bisect_right(self.stages, step, key=lambda stage: stage.step) - 1]
        if stage.size != self.size:
            self._enter(stage.size)
        batch = self.settings["batch"][SIZES.index(stage.size)]
        done = step - stage.step
        _, alpha = _grown(stage.shown + done // _HELD * _HELD * batch, self.settings)
        self.random.manual_seed(seeding.seed_of(self.settings["seed"], "progan", "step", step))
        rows = self._rows(stage.shown + done * batch, batch)
        losses = {"loss_d": self._discriminate(rows, alpha), "loss_g": self._generate(batch, alpha)}
        self.update_average(list(self.average.parameters()), list(self.generator.parameters()), None)
        return losses

    def tensors(self) -> dict[str, Tensor]:
        """Weights of the three networks."""
        return {f"{name}.{k}": v for name, network in self.networks.items() for k, v in network.state_dict().items()}

    def state(self) -> dict:
        """The level and the optimisers' states."""
        return {"size": self.size} | {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            _loaded(network, name, tensors, self.device)
        self._enter(state["size"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])

    def _enter(self, size: int) -> None:
        """Begin a level: optimisers without a memory."""
        self.size = size
        rate = self.settings["learning_rate"][SIZES.index(size)]
        for name in ("generator", "discriminator"):
            parameters = self.networks[name].parameters()
            self.optimisers[name] = torch.optim.Adam(parameters, rate, self.settings["betas"], fused=True)

    def _discriminate(self, rows: Tensor, alpha: float) -> Tensor:
        real, labels = self._radiographs(rows, alpha), self.labels[rows]
        with torch.no_grad(), self._precision():
            fake = self.generator(self._noise(len(rows)), labels, size=self.size, alpha=alpha).float()
        mix = torch.rand(len(rows), 1, 1, 1, device=self.device, generator=self.random)
        # Both in one pass, which is that of each alone: the groups of the batch's spread lie within one or the other.
        scores, logits = self._scores(torch.cat([real, fake]), alpha)
        (real_scores, fake_scores), (real_logits, fake_logits) = scores.chunk(2), logits.chunk(2)
        norms = gradient_norms(lambda images: self._scores(images, alpha)[0], torch.lerp(real, fake, mix))
        weights = ("label_weight", "fake_label_weight", "penalty", "drift")
        loss = discriminator_loss(
            real=(real_scores, real_logits), fake=(fake_scores, fake_logits), labels=labels, norms=norms,
            **{key: self.settings[key] for key in weights},
        )  # fmt: skip
        return self._update("discriminator", loss)

    def _generate(self, batch: int, alpha: float) -> Tensor:
        rows = torch.randint(len(self.labels), (batch,), device=self.device, generator=self.random)
        labels = self.labels[rows]
        with self._precision():
            fake = self.generator(self._noise(batch), labels, size=self.size, alpha=alpha)
        self.discriminator.requires_grad_(False)  # its gradients are not computed here
        evaluated = self._scores(fake, alpha)
        self.discriminator.requires_grad_(True)
        loss = generator_loss(fake=evaluated, labels=labels, label_weight=self.settings["label_weight"])
        return self._update("generator", loss)

    def _update(self, name: str, loss: Tensor) -> Tensor:
        self.optimisers[name].zero_grad()
        loss.backward()
        self.optimisers[name].step()
        return loss.detach()

    def _scores(self, images: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        with self._precision():
            scores, logits = self.discriminator(images, alpha=alpha)
        return scores.float(), logits.float()

    def _noise(self, batch: int) -> Tensor:
        return torch.randn(batch, self.settings["latent"], device=self.device, generator=self.random)

    def _rows(self, shown: int, batch: int) -> Tensor:
        """The rows that follow the `shown` first ones in an endless row of shuffled passes over the radiographs."""
        n = len(self.images)
        passes = range(shown // n, (shown + batch - 1) // n + 1)
        self.orders = {k: self.orders[k] if k in self.orders else self._order(k) for k in passes}
        start = shown - n * passes[0]
        return torch.cat(list(self.orders.values()))[start : start + batch]

    def _order(self, number: int) -> Tensor:
        generator = seeding.torch_generator(self.settings["seed"], "progan", "order", number)
        return torch.randperm(len(self.images), generator=generator).to(self.device)

    def _radiographs(self, rows: Tensor, alpha: float) -> Tensor:
        """Real radiographs in [-1, 1] at the level's size, rounded there to whole grey values; faded as generated
        ones."""
        radiographs = F.avg_pool2d(self.images[rows].float(), self.images.shape[-1] // self.size).round() / 127.5 - 1
        return radiographs if alpha == 1 else torch.lerp(doubled(halved(radiographs)), radiographs, alpha)

    def _precision(self):
        # A context for each pass: autocast keeps bf16 copies of the weights, which an update makes stale.
        return seeding.autocast(self.device, self.settings["precision"])


def _grown(shown: int, settings: dict) -> tuple[int, float]:
    return growth(shown, **{key: settings[key] for key in ("image_size", "level_images", "fade_images")})


def _generator(settings: dict) -> Generator:
    with seeding.initialising(0):
        return Generator(*(settings[key] for key in ("image_size", "labels", "latent", "maps", "normalise")))


def _discriminator(settings: dict) -> Discriminator:
    return Discriminator(*(settings[key] for key in ("image_size", "labels", "maps")))


def _loaded(network: torch.nn.Module, name: str, tensors: dict[str, Tensor], device: torch.device) -> torch.nn.Module:
    prefix = f"{name}."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return network.to(device).eval()


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


def _checked(images, labels) -> tuple[DeviceDataset, Tensor]:
    """Radiographs on the CPU, uint8 (n, 1, s, s), and their labels, float32 (n, k), or ValueError."""
    examples = DeviceDataset(images, None, device="cpu")
    n, slices, height, width = examples.values.shape
    if slices != 1 or height != width or height not in SIZES or examples.values.dtype != torch.uint8:
        raise ValueError(
            f"The training radiographs are {examples.values.dtype} of shape {tuple(np.shape(images))}: give uint8 (n, s, s), "
            f"s one of {', '.join(map(str, SIZES))}."
        )
    table = np.asarray(labels, np.float32)
    if table.ndim != 2 or len(table) != n or not ((table >= 0) & (table <= 1)).all():
        raise ValueError(f"The labels have shape {np.shape(labels)}: give ({n}, k) numbers in [0, 1].")
    if constant := np.flatnonzero(table.min(axis=0) == table.max(axis=0)).tolist():
        raise ValueError(f"Labels {constant} are the same for every radiograph: leave these columns out.")
    return examples, torch.from_numpy(np.ascontiguousarray(table))
