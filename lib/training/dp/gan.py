"""A GAN whose discriminator learns from real images by DP-SGD alone; its generator then is private as well.

The discriminator's gradient of real images is clipped image by image and noised
(`lib.training.dp.classifier.Mechanism`, with its sampling and accounting). That of generated images needs neither: the
generator has met the real images through earlier noisy gradients only, which is post-processing (Xie et al. 2018;
Torkzadehmahani et al. 2019). What the (ε, δ) covers: one real image, added or removed, for whatever is computed from
all noisy gradients: every discriminator, the generator, its images. The same caveats on seeds as in
`lib.training.dp.classifier`.

The noisy gradients are kept, since they are what is accounted for: an audit may look at each
(`lib.training.dp.gradient_attack`).
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.dcgan import Generator
from lib.training.dp.classifier import Mechanism, PrivateHistory
from lib.training.dp.per_sample_gradients import FlatParameters
from lib.training.gan.sampling import TrainedGenerator, class_labels, drawn, normal_noise
from lib.training.loop.dataset import DeviceDataset, uint8_squares
from lib.training.loop.images import to_uint8
from lib.training.loop.placement import placed
from lib.training.loop.trainer import Trainer, restored, run_training


class Trace(NamedTuple):
    """What DP-SGD released: at each of T steps the p weights before it, and the noisy sum of clipped gradients."""

    weights: Tensor  # (T, p) float32
    noisy: Tensor  # (T, p) float32: Σ clipped gradients of the images drawn + N(0, (noise_multiplier · clip)²)
    noise_multiplier: float
    sample_rate: float
    clip: float


class DPGAN(TrainedGenerator):
    """A trained private GAN: the generator of one class, `discriminator`, in eval mode, and `trace`.

    The discriminator's two logits are of a generated and of a real image.
    """

    name = "dpgan"
    generator: Generator

    def __init__(self, generator: Generator, settings: dict, discriminator: nn.Module, trace: Trace):
        super().__init__(generator, settings)
        self.discriminator, self.trace = discriminator, trace

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        generator = restored(lambda: _generator(settings), "generator", tensors, device)
        discriminator = restored(lambda: _discriminator(settings), "discriminator", tensors, device)
        facts = (settings[key] for key in ("noise_multiplier", "sample_rate", "clip"))
        trace = Trace(tensors["trace.weights"].to(device), tensors["trace.noisy"].to(device), *facts)
        return cls(generator, settings, placed(discriminator, device), trace)

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; the only label is 0, and None stands for it."""
        wanted = class_labels(labels, n, self.generator.classes)
        noise = normal_noise(n, self.generator.latent, seed, "generate", in_blocks=False)
        return drawn(self.generator, noise, wanted, batch=batch, device=self.device)


def train_dpgan(
    images,  # (n, s, s) uint8
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # discriminator updates
    noise_multiplier: float,  # the noise's SD over `clip`
    sample_rate: float,  # the probability with which a step draws each image (Poisson)
    expected_batch: float,  # divides the noisy sum; chosen without counting the images, whose number is not public
    clip: float = 1.0,  # norm that no image's gradient exceeds
    generator_steps: int = 1,  # generator updates (lib.models.gan.dcgan, batch norm) after each of the discriminator
    generator_batch: int = 64,
    latent: int = 32,
    generator_width: int = 16,
    discriminator_width: int = 16,
    learning_rate: float = 2e-3,  # of AdamW
    generator_learning_rate: float = 1e-3,  # of Adam
    fake_share: float = 0.5,  # the discriminator's gradient is (1 − fake_share) g_real + fake_share g_fake
    engine: str = "layers",  # see lib.training.dp.per_sample_gradients
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> DPGAN:
    """Train such a GAN, or finish or fetch the one in folder `path`.

    Generated images, rounded to uint8 as the real ones are, add their plain mean gradient. Checkpoints, exact resuming,
    save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images or settings that do not fit, a
    damaged checkpoint, or divergence.
    """
    if not (0 < sample_rate <= 1 and noise_multiplier >= 0 and clip > 0 and expected_batch > 0):
        raise ValueError("give a sample_rate in (0, 1], a noise_multiplier from 0, and clip and expected_batch above 0")
    device = device or seeding.device()
    examples = uint8_squares(images, np.ones(len(images), np.int64), device=device, channels=1)
    settings = {
        "model": DPGAN.name, "version": DPGANTrainer.version,
        "image_size": examples.values.shape[-1], "steps": steps,
        "noise_multiplier": noise_multiplier, "sample_rate": sample_rate, "expected_batch": expected_batch,
        "clip": clip, "generator_steps": generator_steps, "generator_batch": generator_batch, "latent": latent,
        "generator_width": generator_width, "discriminator_width": discriminator_width, "learning_rate": learning_rate,
        "generator_learning_rate": generator_learning_rate, "fake_share": fake_share, "engine": engine, "seed": seed,
        "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: DPGANTrainer(examples, settings, device), name="private GAN", path=path, settings=settings,
        steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return DPGAN.restored(tensors, settings, device)


class _Recording(Mechanism):
    """The mechanism of DP-SGD, with its weights and noisy sums kept as they are released."""

    weights: Tensor  # (T, p)
    noisy: Tensor  # (T, p)
    row: int  # the next to be written

    def _clip_and_noise(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.weights[self.row] = self.flat.vector.detach()
        losses = super()._clip_and_noise(inputs, labels)
        self.noisy[self.row] = self.flat.vector.grad * self.optimiser.expected_batch_size
        self.row += 1
        return losses


class DPGANTrainer(Trainer):
    """Both networks and their optimisers: the discriminator's is within `mechanism`, whose trace is in `values`."""

    stream = "private GAN"

    def __init__(self, examples: DeviceDataset, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.examples = examples
        with self.initialising():
            self.generator = self.place(_generator(settings))
            self.discriminator = placed(_discriminator(settings), device)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        flat = FlatParameters(self.discriminator)
        rate, expected = settings["sample_rate"], settings["expected_batch"]
        adamw = torch.optim.AdamW([flat.vector], lr=settings["learning_rate"], betas=(0.5, 0.999), weight_decay=0.0)
        self.mechanism = _Recording(
            flat,
            PrivateHistory(
                noise_multiplier=settings["noise_multiplier"], sample_rate=rate, max_grad_norm=settings["clip"]
            ),
            seed=settings["seed"], size=expected / rate, label_smoothing=0.0, chunk=None, engine=settings["engine"],
            optimiser=adamw,
        )  # fmt: skip
        shape = settings["steps"], len(flat.vector)
        self._keep(torch.zeros(shape, device=device), torch.zeros(shape, device=device), 0)
        self.optimisers["generator"] = torch.optim.Adam(
            self.generator.parameters(), lr=settings["generator_learning_rate"], betas=(0.5, 0.999)
        )

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One private update of the discriminator, then those of the generator; both losses."""
        batch = self.settings["generator_batch"]
        with torch.no_grad():
            made = to_uint8(self._fake(step, 0))
        fakes = DeviceDataset(made, torch.zeros(batch, dtype=torch.int64), device=self.device)
        losses = self.mechanism.step(step, self.examples, fakes, self.settings["fake_share"], batch)
        real = torch.ones(batch, dtype=torch.int64, device=self.device)
        for turn in range(self.settings["generator_steps"]):
            loss = F.cross_entropy(self.discriminator(self._fake(step, turn + 1)), real)
            loss = self.minimise("generator", loss)
        # An empty draw has no mean loss.
        return {"loss_d": losses.sum() / max(len(losses), 1), "loss_g": loss}

    def images_seen(self, step: int) -> float:
        """As many as a step draws on average; the number drawn is secret."""
        return self.settings["expected_batch"]

    def _fake(self, step: int, turn: int) -> Tensor:
        """A batch of generated images in [-1, 1]."""
        batch, latent = self.settings["generator_batch"], self.settings["latent"]
        random = seeding.torch_generator(self.settings["seed"], self.stream, "noise", step, turn)
        noise = torch.randn(batch, latent, generator=random).to(self.device)
        return self.generator(noise, torch.zeros(batch, dtype=torch.int64, device=self.device))

    def state(self) -> dict:
        """The optimisers, the accountant's history and the length of the trace."""
        return super().state() | {"mechanism": self.mechanism.state_dict(), "row": self.mechanism.row}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        super().restore(tensors, state)
        self._keep(self.values["trace.weights"], self.values["trace.noisy"], state["row"])
        self.mechanism.load_state_dict(state["mechanism"])

    def _keep(self, weights: Tensor, noisy: Tensor, row: int) -> None:
        """Let the mechanism write its trace into these, from `row` on."""
        self.values = {"trace.weights": weights, "trace.noisy": noisy}
        self.mechanism.weights, self.mechanism.noisy, self.mechanism.row = weights, noisy, row


def _generator(settings: dict) -> Generator:
    shape = settings["image_size"], settings["latent"]
    return Generator(*shape, classes=1, width=settings["generator_width"], norm="batch")


def _discriminator(settings: dict) -> nn.Module:
    """(n, 1, s, s) -> two logits, generated and real: halved to 4 px, then linear; no statistic mixes images.

    Its head sees positions: one that averages over them has nothing to teach about where lungs lie.
    """
    image_size, width = settings["image_size"], settings["discriminator_width"]
    layers, before = [], 1
    while image_size > 4:
        after = width if before == 1 else 2 * width
        layers += [nn.Conv2d(before, after, 5 if before == 1 else 3, 2, 2 if before == 1 else 1), nn.LeakyReLU(0.2)]
        image_size, before = image_size // 2, after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * before, 2))
