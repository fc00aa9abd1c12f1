"""Training of the auxiliary-classifier GAN (lib.models.gan.acgan), and drawing volumes from it.

Sun et al. 2021, spec §5: Adam for both networks, D then G, fresh noise for G, and with y the regions
of real images x, c those asked of the generator, w the weights of the regions::

    L_D = BCE(D(x), 1) + BCE(D(G(z, c)), 0) + α [CE_w(C(x), y) + CE_w(C(G(z, c)), c)]
    L_G = BCE(D(G(z, c)), 1) + α CE_w(C(G(z, c)), c)

The released code has another class term (spec §7, defect 1), see `class_loss`; that is `as_published` here.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.acgan import Discriminator, Generator
from lib.training.augment.affine import DRAWS, zoomed_and_turned
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.trainer import finished_training, run_training


def train_acgan(
    images, regions, *, path, seed: int, steps: int, batch: int = 32, classes: int = 3, width: int = 128,
    noise: int = 100, alpha: float = 1.0, class_weights=None, learning_rate: float = 1e-4, time_scale: float = 1.0,
    betas: tuple = (0.5, 0.999), d_steps: int = 1, generator_batch_norm: bool = False,
    discriminator_batch_norm: bool = False, as_published: bool = False, augment: bool = False,
    precision: str = "float32", device: torch.device | None = None, save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """Train an AC-GAN, or finish or fetch the one in folder `path`; its generator, in eval mode.

    images: (n, slices, s, s) uint8, s one of lib.models.gan.acgan.SIZES. regions: (n,) integers in [0, classes), every
    region present; those of generated images are drawn with the frequencies of these. steps: generator updates, each
    after `d_steps` discriminator updates on `batch` real and as many fake images; shuffled passes over the images
    follow one another without dropping a remainder. class_weights: w, one positive number a region, or None for equal
    ones. time_scale: the discriminator's learning rate over the generator's. augment: see
    `lib.training.augment.affine`. as_published: the released class term. precision: see lib.core.seeding.autocast.
    progress, save_seconds and what happens to a checkpoint in `path`: see `lib.training.loop.trainer.run_training`.

    The randomness of each step depends on (seed, step) alone: on the CPU, with the same number of threads, an
    interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for images, regions or
    weights that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = _checked(images, regions, classes)
    if d_steps < 1:
        raise ValueError(f"d_steps is {d_steps}: the discriminator needs at least one update a step.")
    settings = {
        "model": "auxiliary-classifier GAN", "image_size": examples.values.shape[-1],
        "slices": examples.values.shape[1], "classes": classes, "width": width, "noise": noise, "steps": steps,
        "batch": batch, "alpha": alpha, "class_weights": _weights(class_weights, classes),
        "learning_rate": learning_rate, "time_scale": time_scale, "betas": betas, "d_steps": d_steps,
        "generator_batch_norm": generator_batch_norm, "discriminator_batch_norm": discriminator_batch_norm,
        "as_published": as_published, "augment": augment, "precision": precision, "seed": seed,
        "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: Adversaries(examples.values, examples.labels, settings, device), name="AC-GAN", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _trained(_generator, tensors, settings, device)


def load_generator(path, *, device: torch.device | None = None) -> Generator:
    """The generator of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _trained(_generator, *finished_training(path, "generator"), device or seeding.device())


def load_discriminator(path, *, device: torch.device | None = None) -> Discriminator:
    """The discriminator beside that generator, for an attacker who was given it. Errors as `load_generator`."""
    return _trained(_discriminator, *finished_training(path, "discriminator"), device or seeding.device())


def generate_units(
    generator: Generator, regions, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:
    """One volume for each of the (n,) integer `regions`: (n, slices, s, s) uint8, [-1, 1] mapped to 0..255.

    Volume i depends on seed, i and region i, neither on `batch` nor on n. ValueError for an unknown region.
    """
    regions = np.asarray(regions)
    known = regions.dtype.kind in "iu" and (0 <= regions).all() and (regions < generator.regions).all()
    if regions.ndim != 1 or not known:
        raise ValueError(f"Regions to generate must be (n,) integers in 0..{generator.regions - 1}.")
    mixes = F.one_hot(torch.from_numpy(regions.astype(np.int64)), generator.regions)
    return _drawn(generator, mixes.float(), _noise(generator, len(regions), seed, "units"), batch, device)


def interpolate(
    generator: Generator, mixes, *, seed: int, noises: int = 1, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:
    """Volumes along `mixes` (m, regions) of the regions, the noise held fixed: (noises, m, slices, s, s) uint8.

    A mix is a row of weights, such as [0.5, 0.5, 0] halfway between the first two regions. Each of `noises` rows of
    the result has its own noise. ValueError for mixes of another shape or not finite.
    """
    mixes = torch.as_tensor(np.asarray(mixes, np.float32))
    if mixes.ndim != 2 or mixes.shape[1] != generator.regions or not torch.isfinite(mixes).all():
        raise ValueError(f"Mixes of regions must be finite numbers (m, {generator.regions}), a row for each volume.")
    noise = _noise(generator, noises, seed, "interpolate").repeat_interleave(len(mixes), dim=0)
    drawn = _drawn(generator, mixes.repeat(noises, 1), noise, batch, device)
    return drawn.reshape(noises, len(mixes), *drawn.shape[1:])


def class_loss(logits: Tensor, regions: Tensor, weights: Tensor, *, as_published: bool = False) -> Tensor:
    """Weighted cross-entropy Σ w_y (−log p_y) / Σ w_y of logits (n, k), p their softmax, and regions y (n,).

    as_published: Σ w_y (−p_y) / Σ w_y instead, PyTorch's NLLLoss given probabilities where it expects their logarithms
    (spec §7, defect 1): bounded to [-1, 0], and nearly without gradient where the guess is confidently wrong.
    """
    if as_published:
        return F.nll_loss(logits.softmax(dim=1), regions, weight=weights)
    return F.cross_entropy(logits, regions, weight=weights)


class Adversaries:
    """Generator, discriminator and their optimisers on `device`, with the data beside them as uint8.

    images (n, slices, s, s) uint8, regions (n,) int64, `settings` as `train_acgan` resolves them. `step(k)` does the
    k-th update and depends on nothing but the weights, the optimisers and (seed, k).
    """

    def __init__(self, images: Tensor, regions: Tensor, settings: dict, device: torch.device):
        self.settings, self.device = settings, device
        self.images = images.permute(0, 2, 3, 1).contiguous().to(device)  # rows come out with the channels last
        self.regions = regions.to(device)
        self.weights = torch.tensor(settings["class_weights"], device=device)
        with seeding.initialising(settings["seed"], "acgan"):
            self.generator = _generator(settings).to(device).train()
            self.discriminator = _discriminator(settings).to(device).train()
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        rate = settings["learning_rate"]
        rates = {"generator": rate, "discriminator": rate * settings["time_scale"]}
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=rates[name], betas=settings["betas"], fused=True)
            for name, network in self.networks.items()
        }
        self.random = torch.Generator(device)
        self.orders: dict[int, Tensor] = {}

    def step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator `d_steps` times, then the generator; the two last losses."""
        self.random.manual_seed(seeding.seed_of(self.settings["seed"], "acgan", "step", step))
        turns = self.settings["d_steps"]
        for turn in range(turns):
            loss_d = self._discriminate(step * turns + turn)
        return {"loss_d": loss_d, "loss_g": self._generate()}

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of both networks."""
        return {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }

    def state(self) -> dict:
        """The optimisers' states."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(_under(name, tensors))
            self.optimisers[name].load_state_dict(state[name])

    def _discriminate(self, update: int) -> Tensor:
        real, regions = self._batch(update)
        asked, noise = self._ask()
        with torch.no_grad(), self._precision():
            fake = self.generator(self._one_hot(asked), noise)
        with self._precision():
            (real_logit, real_guess), (fake_logit, fake_guess) = self._scores(real, fake)
        loss = _bce(real_logit, 1.0) + _bce(fake_logit, 0.0)
        loss = loss + self.settings["alpha"] * (self._classes(real_guess, regions) + self._classes(fake_guess, asked))
        return self._update("discriminator", loss)

    def _generate(self) -> Tensor:
        asked, noise = self._ask()
        with self._precision():
            logit, guess = self.discriminator(self.generator(self._one_hot(asked), noise))
        return self._update("generator", _bce(logit, 1.0) + self.settings["alpha"] * self._classes(guess, asked))

    def _batch(self, update: int) -> tuple[Tensor, Tensor]:
        """Real images in [-1, 1] and their regions: the rows that follow those of the update before."""
        size, n = self.settings["batch"], len(self.images)
        first = update * size
        epochs = range(first // n, (first + size - 1) // n + 1)
        self.orders = {epoch: self.orders[epoch] if epoch in self.orders else self._order(epoch) for epoch in epochs}
        start = first - n * epochs[0]
        rows = torch.cat(list(self.orders.values()))[start : start + size]
        images = self.images[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.settings["augment"]:
            images = zoomed_and_turned(images, torch.rand(size, DRAWS, device=self.device, generator=self.random))
        return images, self.regions[rows]

    def _order(self, epoch: int) -> Tensor:
        generator = seeding.torch_generator(self.settings["seed"], "acgan", "order", epoch)
        return torch.randperm(len(self.images), generator=generator).to(self.device)

    def _ask(self) -> tuple[Tensor, Tensor]:
        """Regions with the frequencies of the data, and noise."""
        size = self.settings["batch"]
        rows = torch.randint(len(self.regions), (size,), device=self.device, generator=self.random)
        noise = torch.randn(size, self.settings["noise"], device=self.device, generator=self.random)
        return self.regions[rows], noise

    def _one_hot(self, regions: Tensor) -> Tensor:
        return F.one_hot(regions, self.settings["classes"]).float()

    def _scores(self, real: Tensor, fake: Tensor):
        """Both heads' logits on both batches: in one pass, unless batch statistics must not mix them."""
        if self.settings["discriminator_batch_norm"]:
            return self.discriminator(real), self.discriminator(fake)
        both = self.discriminator(torch.cat([real, fake]))
        return zip(*(head.split(len(real)) for head in both), strict=True)

    def _classes(self, logits: Tensor, regions: Tensor) -> Tensor:
        return class_loss(logits.float(), regions, self.weights, as_published=self.settings["as_published"])

    def _update(self, name: str, loss: Tensor) -> Tensor:
        self.optimisers[name].zero_grad()
        # Only this network's gradients: the discriminator's are not computed for the generator's update.
        loss.backward(inputs=list(self.networks[name].parameters()))
        self.optimisers[name].step()
        return loss.detach()

    def _precision(self):
        # A context for each pass: autocast keeps bf16 copies of the weights, which an update makes stale.
        return seeding.autocast(self.device, self.settings["precision"])


def _generator(settings: dict) -> Generator:
    return Generator(**_shape(settings), noise=settings["noise"], batch_norm=settings["generator_batch_norm"])


def _discriminator(settings: dict) -> Discriminator:
    return Discriminator(**_shape(settings), batch_norm=settings["discriminator_batch_norm"])


def _shape(settings: dict) -> dict:
    return {"regions": settings["classes"]} | {key: settings[key] for key in ("image_size", "width", "slices")}


def _trained(build: Callable, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> torch.nn.Module:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        network = build(settings)
    network.load_state_dict(_under(type(network).__name__.lower(), tensors))
    return network.to(device).eval()


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _bce(logits: Tensor, target: float) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _noise(generator: Generator, n: int, seed: int, *names: str) -> Tensor:
    # In whole blocks of 16 numbers, which torch fills one after another: row i is then the same for every n > i.
    rows = -(-n // 16) * 16
    return torch.randn(rows, generator.noise, generator=seeding.torch_generator(seed, "acgan", *names))[:n]


@torch.inference_mode()
def _drawn(generator: Generator, mixes: Tensor, noise: Tensor, batch: int, device: torch.device | None) -> np.ndarray:
    device = device or seeding.device()
    generator = generator.to(device).eval()
    size = generator.image_size
    out = np.empty((len(mixes), generator.slices, size, size), np.uint8)
    for part in (slice(i, i + batch) for i in range(0, len(mixes), batch)):
        volumes = generator(mixes[part].to(device), noise[part].to(device))
        out[part] = ((volumes.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return out


def _checked(images, regions, classes: int) -> DeviceDataset:
    """The examples on the CPU, uint8 (n, slices, s, s) and int64 (n,), or ValueError."""
    examples = DeviceDataset(images, regions, device="cpu")
    shape = tuple(examples.values.shape)
    if np.ndim(images) != 4 or shape[2] != shape[3]:
        raise ValueError(f"The training images have shape {tuple(np.shape(images))}: give (n, slices, s, s).")
    if examples.values.dtype != torch.uint8:
        raise ValueError(f"The training images are {examples.values.dtype}: give uint8, 0 to 255.")
    present = examples.labels.unique().tolist()
    if present != list(range(classes)):
        raise ValueError(f"The labels hold the regions {present}: each of 0..{classes - 1} must occur, and no other.")
    return examples


def _weights(weights, classes: int) -> list[float]:
    if weights is None:
        return [1.0] * classes
    values = np.asarray(weights, float)
    if values.shape != (classes,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"The class weights {weights!r} must be {classes} positive finite numbers.")
    return values.tolist()
