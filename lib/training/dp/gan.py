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

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.dcgan import Generator
from lib.training.dp.classifier import Mechanism, PrivateHistory
from lib.training.dp.per_sample_gradients import FlatParameters
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.trainer import run_training


class Trace(NamedTuple):
    """What DP-SGD released: at each of T steps the p weights before it, and the noisy sum of clipped gradients."""

    weights: Tensor  # (T, p) float32
    noisy: Tensor  # (T, p) float32: Σ clipped gradients of the images drawn + N(0, (noise_multiplier · clip)²)
    noise_multiplier: float
    sample_rate: float
    clip: float


class PrivateGan(NamedTuple):
    """Outcome of `train_private_gan`."""

    generator: Generator  # of the one class 0, in eval mode
    discriminator: nn.Module  # its two logits: generated, real; in eval mode
    trace: Trace


def train_private_gan(
    images, *, path, seed: int, steps: int, noise_multiplier: float, sample_rate: float, expected_batch: float,
    clip: float = 1.0, generator_steps: int = 1, generator_batch: int = 64, latent: int = 32, generator_width: int = 16,
    discriminator_width: int = 16, learning_rate: float = 2e-3, generator_learning_rate: float = 1e-3,
    fake_share: float = 0.5, engine: str = "layers", device: torch.device | None = None, save_seconds: float = 60.0,
    progress=None,
) -> PrivateGan:  # fmt: skip
    """Train such a GAN on `images` (n, s, s) uint8, or finish or fetch the one in folder `path`.

    Each of `steps` discriminator updates draws every image with probability `sample_rate` (Poisson), clips its gradient
    to norm `clip`, adds noise of SD `noise_multiplier` · `clip` to the sum, and divides by `expected_batch`, which must
    be chosen without counting the images (their number is not public where one may be added). Generated images, rounded
    to uint8 as the real ones are, add their plain mean gradient: (1 − fake_share) g_real + fake_share g_fake, by AdamW.
    After each, `generator_steps` updates of the generator (`lib.models.gan.dcgan`, batch norm) by Adam.

    Checkpoints, exact resuming and `progress` as `lib.training.loop.trainer.run_training`. ValueError for images or
    settings that do not fit, or divergence.
    """
    if not (steps >= 1 and 0 < sample_rate <= 1 and noise_multiplier >= 0 and clip > 0 and expected_batch > 0):
        raise ValueError(
            "give steps from 1, a sample_rate in (0, 1], a noise_multiplier from 0, and clip and expected_batch above 0"
        )
    device = device or seeding.device()
    examples = DeviceDataset(images, torch.ones(len(images), dtype=torch.int64), device=device)
    settings = {
        "algorithm": "private GAN", "image_size": examples.values.shape[-1], "steps": steps,
        "noise_multiplier": noise_multiplier, "sample_rate": sample_rate, "expected_batch": expected_batch,
        "clip": clip, "generator_steps": generator_steps, "generator_batch": generator_batch, "latent": latent,
        "generator_width": generator_width, "discriminator_width": discriminator_width, "learning_rate": learning_rate,
        "generator_learning_rate": generator_learning_rate, "fake_share": fake_share, "engine": engine, "seed": seed,
        "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: _Adversaries(examples, settings, device),
        name="private GAN", path=path, settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    generator, discriminator = _networks(settings, device)
    generator.load_state_dict(_under("generator.", tensors))
    discriminator.load_state_dict(_under("discriminator.", tensors))
    trace = Trace(tensors["trace.weights"], tensors["trace.noisy"], noise_multiplier, sample_rate, clip)
    return PrivateGan(generator.eval(), discriminator.eval(), trace)


class _Recording(Mechanism):
    """The mechanism of DP-SGD, with its weights and noisy sums kept as they are released."""

    def keep(self, weights: Tensor, noisy: Tensor) -> None:
        self.weights, self.noisy, self.row = weights, noisy, 0

    def _clip_and_noise(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.weights[self.row] = self.flat.vector.detach()
        losses = super()._clip_and_noise(inputs, labels)
        self.noisy[self.row] = self.flat.vector.grad * self.optimiser.expected_batch_size
        self.row += 1
        return losses


class _Adversaries:
    """Both networks and their optimisers; update k depends on them and (seed, k) alone."""

    def __init__(self, examples: DeviceDataset, settings: dict, device: torch.device):
        self.examples, self.settings, self.device = examples, settings, device
        self.generator, self.discriminator = _networks(settings, device)
        self.flat = FlatParameters(self.discriminator)
        rate, expected = settings["sample_rate"], settings["expected_batch"]
        options = {"lr": settings["learning_rate"], "betas": (0.5, 0.999), "weight_decay": 0.0}
        self.mechanism = _Recording(
            self.flat,
            PrivateHistory(
                noise_multiplier=settings["noise_multiplier"], sample_rate=rate, max_grad_norm=settings["clip"]
            ),
            seed=settings["seed"], size=expected / rate, label_smoothing=0.0, chunk=None, engine=settings["engine"],
            optimiser=torch.optim.AdamW([self.flat.vector], **options),
        )  # fmt: skip
        shape = settings["steps"], len(self.flat.vector)
        self.mechanism.keep(torch.zeros(shape, device=device), torch.zeros(shape, device=device))
        self.optimiser = torch.optim.Adam(
            self.generator.parameters(), lr=settings["generator_learning_rate"], betas=(0.5, 0.999)
        )

    def step(self, step: int) -> dict[str, Tensor]:
        """One private update of the discriminator, then those of the generator; both losses."""
        batch = self.settings["generator_batch"]
        with torch.no_grad():
            fakes = ((self._drawn(step, 0) + 1) * 127.5).round().clamp(0, 255).byte()
        fakes = DeviceDataset(fakes, torch.zeros(batch, dtype=torch.int64), device=self.device)
        losses = self.mechanism.step(step, self.examples, fakes, self.settings["fake_share"], batch)
        real = torch.ones(batch, dtype=torch.int64, device=self.device)
        for turn in range(self.settings["generator_steps"]):
            loss = F.cross_entropy(self.discriminator(self._drawn(step, turn + 1)), real)
            self.optimiser.zero_grad()
            loss.backward(inputs=list(self.generator.parameters()))
            self.optimiser.step()
        # An empty draw has no mean loss.
        return {"loss_d": losses.sum() / max(len(losses), 1), "loss_g": loss.detach()}

    def _drawn(self, step: int, turn: int) -> Tensor:
        """A batch of generated images in [-1, 1]."""
        batch, latent = self.settings["generator_batch"], self.settings["latent"]
        random = seeding.torch_generator(self.settings["seed"], "private GAN", "noise", step, turn)
        noise = torch.randn(batch, latent, generator=random).to(self.device)
        return self.generator(noise, torch.zeros(batch, dtype=torch.int64, device=self.device))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of both networks, and the trace so far."""
        named = {f"generator.{key}": value for key, value in self.generator.state_dict().items()}
        named |= {f"discriminator.{key}": value for key, value in self.discriminator.state_dict().items()}
        return named | {"trace.weights": self.mechanism.weights, "trace.noisy": self.mechanism.noisy}

    def state(self) -> dict:
        """Both optimisers, the accountant's history and the length of the trace."""
        return {
            "mechanism": self.mechanism.state_dict(), "generator": self.optimiser.state_dict(),
            "row": self.mechanism.row,
        }  # fmt: skip

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        self.generator.load_state_dict(_under("generator.", tensors))
        self.discriminator.load_state_dict(_under("discriminator.", tensors))
        self.mechanism.keep(tensors["trace.weights"].to(self.device), tensors["trace.noisy"].to(self.device))
        self.mechanism.row = state["row"]
        self.mechanism.load_state_dict(state["mechanism"])
        self.optimiser.load_state_dict(state["generator"])


def _networks(settings: dict, device: torch.device) -> tuple[Generator, nn.Module]:
    with seeding.initialising(settings["seed"], "private GAN"):
        generator = Generator(
            settings["image_size"], settings["latent"], classes=1, width=settings["generator_width"], norm="batch"
        )
        discriminator = _discriminator(settings["image_size"], settings["discriminator_width"])
    return generator.to(device), discriminator.to(device, memory_format=torch.channels_last)


def _discriminator(image_size: int, width: int) -> nn.Module:
    """(n, 1, s, s) -> two logits, generated and real: halved to 4 px, then linear; no statistic mixes images.

    Its head sees positions: one that averages over them has nothing to teach about where lungs lie.
    """
    layers, before = [], 1
    while image_size > 4:
        after = width if before == 1 else 2 * width
        layers += [nn.Conv2d(before, after, 5 if before == 1 else 3, 2, 2 if before == 1 else 1), nn.LeakyReLU(0.2)]
        image_size, before = image_size // 2, after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * before, 2))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
