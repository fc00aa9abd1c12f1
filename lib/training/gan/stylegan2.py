"""Training of StyleGAN2 (lib.models.gan.stylegan2) with adaptive augmentation T, and drawing images from it.

Pennisi et al. 2023, spec §7 (Karras et al. 2020, arXiv 1912.04958 and 2006.06676): G then D, Adam, an
average of G's weights, and every so often one update more for each network by its regulariser::

    L_G = softplus(-D(T(G(z, c)), c))          L_path = weight (‖J_w^T y‖ - a)², y noise, a its running mean
    L_D = softplus(-D(T(x), c_x)) + softplus(D(T(G(z, c)), c))          L_R1 = gamma/2 ‖∇ D(T(x), c_x)‖²

Deviations: the penalty's gradient is taken where the discriminator sees the image, after T; J is of the w that all
layers share; the mean w that truncation goes towards is that of the class.
"""

import copy
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.stylegan2 import GROUP, SIZES, Discriminator, Generator
from lib.training.augment.ada import HIGHEST, augmented
from lib.training.gan.losses import path_lengths, squared_gradients
from lib.training.gan.sampling import TrainedGenerator, class_labels, drawn, normal_noise
from lib.training.loop.dataset import check_every_class, uint8_squares
from lib.training.loop.images import network_input
from lib.training.loop.inference import without_gradients
from lib.training.loop.trainer import Trainer, restored, run_training

_ADA_EVERY = 4  # steps between two looks at how often D is right


class StyleGAN2(TrainedGenerator):
    """The averaged generator of a StyleGAN2."""

    name = "stylegan2"
    generator: Generator

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        return cls(restored(lambda: _generator(settings), "average", tensors, device), settings)

    @torch.inference_mode()
    def sample(self, n: int, *, labels=None, seed: int, batch: int = 64, truncation: float = 1.0) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n,) integers of the classes, None where there is one class.

        truncation: w moved towards its class's mean, 1 for not at all.
        """
        classes = class_labels(labels, n, self.generator.classes).to(self.device)
        z = normal_noise(n, self.generator.latent, seed, "stylegan", "images").to(self.device)
        w = self.generator.mapping(z, classes)
        if truncation != 1:
            w = torch.lerp(class_means(self.generator)[0][classes], w, truncation)
        return drawn(self.generator.synthesis, w, batch=batch, device=self.device)


def train_stylegan2(
    images,  # (n, s, s) or (n, c, s, s) uint8, s one of lib.models.gan.stylegan2.SIZES
    labels,  # (n,) integers from 0, each up to the largest present; one class alone trains unconditionally
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # updates of each network; shuffled passes over the images follow one another
    batch: int = 16,  # a multiple of 4: so many real and as many fake images
    latent: int = 512,  # latent, maps, mapping_layers: see lib.models.gan.stylegan2
    maps: tuple = (512, 16384),
    mapping_layers: int = 2,
    learning_rate: float = 2.5e-3,
    gamma: float | None = None,  # None: 0.0002 s² / batch
    r1_every: int = 16,
    path_weight: float = 2.0,  # 0 leaves the path length out
    path_every: int = 4,
    mixing: float = 0.9,  # share of steps with two w's
    augment_p: float = 0.0,  # probability of each change at the start
    ada_target: float | None = 0.6,  # of E[sign D(real)], towards which that probability moves; None keeps it
    ada_kimg: float = 500.0,  # thousand images in which it moves by 1
    ema_kimg: float | None = None,  # half-life of the average, None: batch · 10 / 32; at most 1/20 of what was shown
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> StyleGAN2:
    """Train StyleGAN2, or finish or fetch the one in folder `path`.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images,
    labels or options that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = uint8_squares(images, labels, device="cpu", sizes=SIZES)
    size, classes = examples.values.shape[-1], int(examples.labels.max()) + 1
    check_every_class(examples.labels, classes)
    if batch % GROUP or batch < GROUP:
        raise ValueError(f"The batch is {batch}: give a multiple of {GROUP}.")
    if not 0 <= augment_p <= HIGHEST:
        raise ValueError(f"augment_p is {augment_p}: give a probability from 0 to {HIGHEST}.")
    settings = {
        "model": StyleGAN2.name, "version": StyleGAN2Trainer.version,
        "image_size": size, "classes": classes, "channels": examples.values.shape[1],
        "latent": latent, "maps": maps, "mapping_layers": mapping_layers, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "gamma": 2e-4 * size**2 / batch if gamma is None else gamma,
        "r1_every": r1_every, "path_weight": path_weight, "path_every": path_every, "mixing": mixing,
        "augment_p": augment_p, "ada_target": ada_target, "ada_kimg": ada_kimg,
        "ema_kimg": batch * 10 / 32 if ema_kimg is None else ema_kimg, "precision": precision, "seed": seed,
        "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: StyleGAN2Trainer(examples.values, examples.labels, settings, device), name="StyleGAN2", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return StyleGAN2.restored(tensors, settings, device)


@torch.inference_mode()
def class_means(generator: Generator, *, samples: int = 4096) -> tuple[Tensor, float]:
    """The mean w of each class (classes, latent) over the same `samples` z, and the SD of w's numbers about it."""
    z = torch.randn(samples, generator.latent, generator=seeding.torch_generator(0, "stylegan", "means"))
    z = z.to(generator.constant.device)
    labels = torch.arange(generator.classes, device=z.device)
    w = torch.stack([generator.mapping(z, label.expand(samples)) for label in labels])
    return w.mean(dim=1), float((w - w.mean(dim=1, keepdim=True)).square().mean().sqrt())


class StyleGAN2Trainer(Trainer):
    """Generator, its average, discriminator and their optimisers.

    images (n, c, s, s) uint8, labels (n,) int64; settings as `train_stylegan2` resolves them. Of `values`, "running.p"
    is the probability of the augmentation, "running.signs" the sum of mean signs of D(real) since it was last moved,
    "running.path" the mean path length.
    """

    stream = "stylegan"

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.images, self.labels = images.to(device), labels.to(device)
        with self.initialising():
            self.generator = self.place(_generator(settings))
            self.discriminator = self.place(Discriminator(**_shape(settings)))
        average = copy.deepcopy(self.generator).requires_grad_(False)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator, "average": average}
        lazy = {"generator": settings["path_every"] if settings["path_weight"] else None,
                "discriminator": settings["r1_every"]}  # fmt: skip
        self.optimisers = {name: self._adam(name, every) for name, every in lazy.items()}
        start = {"running.p": settings["augment_p"], "running.signs": 0.0, "running.path": 0.0}
        self.values = {name: torch.tensor(value, device=device) for name, value in start.items()}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update G, D, and by their regularisers when it is their turn; the losses, and the augmentation's p."""
        s = self.settings
        losses = {"loss_g": self.generator_step()}
        if s["path_weight"] and step % s["path_every"] == 0:
            self.path_length_step()
        self.update_ema(self.ema_share(step))
        losses["loss_d"] = self.discriminator_step(*self.batch(step))
        if step % s["r1_every"] == 0:
            self.r1_step(*self.batch(step))
        self.update_ada(step)
        return losses | {"p": self.values["running.p"].clone()}

    def generator_step(self) -> Tensor:
        """One update of G by L_G."""
        fake, labels = self._fake()
        with without_gradients(self.discriminator):
            loss = F.softplus(-self._logits(fake, labels)).mean()
            return self.minimise("generator", loss)

    def discriminator_step(self, real: Tensor, labels: Tensor) -> Tensor:
        """One update of D by L_D, on real images in [-1, 1] and as many fake ones."""
        with torch.no_grad():
            fake, asked = self._fake()
        logits = self._logits(torch.cat([real, fake]), torch.cat([labels, asked]))
        on_real, on_fake = logits.split(len(real))
        self.values["running.signs"] += on_real.detach().sign().mean()
        return self.minimise("discriminator", F.softplus(-on_real).mean() + F.softplus(on_fake).mean())

    def r1_step(self, real: Tensor, labels: Tensor) -> Tensor:
        """One update of D by L_R1, times the steps between two of them."""
        s = self.settings
        squares = squared_gradients(lambda x: self._evaluated(x, labels), self._augmented(real))
        return self.minimise("discriminator", squares.mean() * (s["gamma"] / 2 * s["r1_every"]))

    def path_length_step(self) -> Tensor:
        """One update of G by L_path on half a batch, times the steps between two of them."""
        s = self.settings
        z, labels = self._random_inputs(s["batch"] // 2)
        w = self.generator.mapping(z, labels)
        lengths = path_lengths(self._drawn, w, self.random)
        mean = self.values["running.path"].lerp_(lengths.detach().mean(), 0.01)
        penalty = (lengths - mean).square().mean()
        return self.minimise("generator", penalty * (s["path_weight"] * s["path_every"]))

    def ema_share(self, step: int) -> float:
        """How far the average moves towards the generator at step number `step`."""
        batch = self.settings["batch"]
        half_life = min(self.settings["ema_kimg"] * 1000, (step + 1) * batch * 0.05)
        return 1 - 0.5 ** (batch / max(half_life, 1e-8))

    def update_ada(self, step: int) -> None:
        """Every few steps, more augmentation when D was right too often, less when not often enough."""
        s, signs = self.settings, self.values["running.signs"]
        if s["ada_target"] is None or (step + 1) % _ADA_EVERY:
            return
        change = (signs / _ADA_EVERY - s["ada_target"]).sign() * s["batch"] * _ADA_EVERY / (1000 * s["ada_kimg"])
        self.values["running.p"].add_(change).clamp_(0, HIGHEST)
        signs.zero_()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Real images in [-1, 1] and their labels: the rows that follow those of the step before."""
        size = self.settings["batch"]
        rows = self.rows(step * size, size, of=len(self.images))
        return network_input(self.images[rows]), self.labels[rows]

    def _adam(self, name: str, every: int | None) -> torch.optim.Adam:
        share = every / (every + 1) if every else 1.0  # so that the lazy updates leave the sum of steps as it was
        return torch.optim.Adam(
            self.networks[name].parameters(), lr=share * self.settings["learning_rate"], betas=(0.0, 0.99**share),
            eps=1e-8, fused=True,
        )  # fmt: skip

    def _random_inputs(self, n: int) -> tuple[Tensor, Tensor]:
        """Noise, and labels with the frequencies of the data."""
        rows = torch.randint(len(self.labels), (n,), device=self.device, generator=self.random)
        return self._noise(n), self.labels[rows]

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.settings["latent"], device=self.device, generator=self.random)

    def _fake(self) -> tuple[Tensor, Tensor]:
        """Fake images and their labels; in a share `mixing` of steps the upper layers follow another z."""
        n, layers = self.settings["batch"], self.generator.layers
        z, labels = self._random_inputs(n)
        w = self.generator.mapping(z, labels)
        other = self._noise(n)
        chance, cut = torch.rand(2, device=self.device, generator=self.random)
        if chance < self.settings["mixing"]:
            below = torch.arange(layers, device=self.device) < 1 + (cut * (layers - 1)).floor()
            w = torch.where(below[:, None], w[:, None], self.generator.mapping(other, labels)[:, None])
        return self._drawn(w), labels

    def _drawn(self, w: Tensor) -> Tensor:
        """Images of w, float32, computed in the precision asked for; as `_evaluated` does."""
        with self.autocast():
            return self.generator.synthesis(w, self.random)

    def _augmented(self, images: Tensor) -> Tensor:
        return augmented(images, float(self.values["running.p"]), self.random)

    def _evaluated(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.autocast():
            return self.discriminator(images, labels)

    def _logits(self, images: Tensor, labels: Tensor) -> Tensor:
        return self._evaluated(self._augmented(images), labels)


def _shape(settings: dict) -> dict:
    return {key: settings[key] for key in ("image_size", "classes", "channels", "maps", "mapping_layers")}


def _generator(settings: dict) -> Generator:
    return Generator(**_shape(settings), latent=settings["latent"])
