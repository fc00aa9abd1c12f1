"""Training of the conditional DCGAN (lib.models.gan.dcgan), and drawing images from it.

Osuala et al. 2024, spec §5: binary cross-entropy, the real target smoothed on one side for the
discriminator only, Adam for both, flips and slight zooms as augmentation::

    L_D = BCE(D(x, c), t) + BCE(D(G(z, c'), c'), 0),   t ~ U(0.7, 1.2)
    L_G = BCE(D(G(z, c'), c'), 1),                     z ~ N(0, 1), c' uniform over the classes

Two defects of the published code are repaired: real images are scaled to [-1, 1] like the generator's (there
they stayed in [0, 1], spec §7.1-6), and generated ones are clipped to 0..255 (there negatives wrapped around).
"""

import contextlib
import hashlib
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lib.core import seeding
from lib.models.gan.dcgan import Discriminator, Generator
from lib.training.augment.affine import _ATTEMPTS, flipped_and_cropped
from lib.training.loop import data_parallel as parallel
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.progress import Progress

_AUGMENTATION_DRAWS = 2 * _ATTEMPTS + 4


def train_dcgan(
    images, labels, *, path, seed: int, steps: int, batch: int = 8, classes: int = 2, latent: int = 100,
    width: int = 64, norm: str = "instance", learning_rate: float = 1e-4, betas: tuple = (0.5, 0.999),
    real_target: tuple = (0.7, 1.2), augment: bool = True, as_published: bool = False, ema: float | None = None,
    precision: str = "float32", compile: bool = False, device: torch.device | None = None,
    save_seconds: float = 60.0, progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """Train a conditional DCGAN, or finish or fetch the one in folder `path`; its generator, in eval mode.

    images: (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.dcgan.SIZES. labels: (n,) integers in [0, classes),
    every class present. steps: discriminator updates; an epoch is n // batch of them, the remainder of each shuffle is
    dropped. real_target: bounds of t. augment: horizontal and vertical flips, and crops of 0.95 to 1 of the area at an
    aspect ratio of 0.95 to 1.1. as_published: the generator is updated only at every second step, as the released
    bookkeeping does against its own setting of 1:1 (defect 7.1-5). ema: decay of an exponential average of the
    generator's weights, which is then returned (None, as published: off). precision: see lib.core.seeding.autocast.
    compile: torch.compile on CUDA; without effect elsewhere, where it does not pay. progress: called as progress(steps
    done, loss_d=…, loss_g=…) after each step; None prints lines.

    A checkpoint in `path` with the same settings, seed and data is returned if finished and continued if not, else
    training starts anew. The randomness of each step depends on (seed, step) alone: on the CPU, with the same number of
    threads, an interrupted and resumed training equals an uninterrupted one bit for bit. It is saved every
    `save_seconds`. Several ranks share each batch out (lib.training.loop.data_parallel). ValueError for images or
    labels that do not fit, a damaged checkpoint, or divergence.
    """
    if steps < 1:
        raise ValueError(f"A GAN is trained for at least one step, not {steps}.")
    device = device or seeding.device()
    pixels, labels = _checked(images, labels, classes, batch)
    settings = {
        "model": "conditional DCGAN", "image_size": pixels.shape[-1], "classes": classes, "latent": latent,
        "width": width, "norm": norm, "steps": steps, "batch": batch, "learning_rate": learning_rate,
        "betas": betas, "real_target": real_target, "augment": augment, "as_published": as_published, "ema": ema,
        "precision": precision, "seed": seed, "data": _digest(pixels, labels),
    }  # fmt: skip
    checkpoint = Checkpoint(path, settings)
    found = checkpoint.load()
    if found and checkpoint.finished:
        return _generator(found[0], settings, device)
    adversaries = Adversaries(pixels, labels, settings, device, compile=compile)
    start = 0
    if found:
        tensors, state, start = found
        adversaries.restore(tensors, state)
    report = progress or Progress("GAN", steps, start=start)
    saved = time.monotonic()
    for step in range(start, steps):
        losses = adversaries.step(step)
        if step + 1 < steps and time.monotonic() - saved >= save_seconds:
            _refuse_divergence(losses, step)
            checkpoint.save(adversaries.tensors(), adversaries.state(), step + 1)
            saved = time.monotonic()
        report(step + 1, **losses)
    _refuse_divergence(losses, steps - 1)
    tensors = adversaries.tensors()
    checkpoint.save(tensors, None, steps, finished=True)
    return _generator(tensors, settings, device)


def load_generator(path, *, device: torch.device | None = None) -> Generator:
    """The generator of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    checkpoint = Checkpoint(path, None)
    found = checkpoint.load()
    if found is None:
        raise FileNotFoundError(f"There is no trained generator in {path}: run the notebook that trains it first.")
    if not checkpoint.finished:
        raise ValueError(f"The training in {path} stopped at step {found[2]}: run it again to finish it.")
    return _generator(found[0], checkpoint.settings, device or seeding.device())


@torch.inference_mode()
def generate(
    generator: Generator, labels, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:
    """One image for each of the (n,) integer `labels`: (n, s, s) uint8, [-1, 1] mapped to 0..255 and clipped.

    Image i depends on seed, i and label i, not on `batch`. ValueError for labels outside the classes.
    """
    device = device or seeding.device()
    labels = torch.as_tensor(np.asarray(labels)).long()
    if labels.ndim != 1 or labels.numel() and not 0 <= labels.min() <= labels.max() < generator.classes:
        raise ValueError(f"Labels to generate must be (n,) integers in 0..{generator.classes - 1}.")
    noise = torch.randn(len(labels), generator.latent, generator=seeding.torch_generator(seed, "generate"))
    generator = generator.to(device).eval()
    out = np.empty((len(labels), generator.image_size, generator.image_size), np.uint8)
    for part in (slice(i, i + batch) for i in range(0, len(labels), batch)):
        images = generator(noise[part].to(device), labels[part].to(device))[:, 0]
        out[part] = ((images.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return out


class Adversaries:
    """Generator, discriminator and their optimisers on `device`, with the data beside them as uint8.

    `settings` as `train_dcgan` resolves them. `step(k)` does the k-th update and depends on nothing but the weights,
    the optimisers and (seed, k).
    """

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device, *, compile=False):
        self.settings, self.device = settings, device
        self.images, self.labels = images.to(device), labels.to(device)
        keys = ("image_size", "classes", "width", "norm")
        with seeding.initialising(settings["seed"], "gan"):
            self.generator = Generator(latent=settings["latent"], **{key: settings[key] for key in keys})
            self.discriminator = Discriminator(**{key: settings[key] for key in keys})
        # Channels last wherever bf16 or a GPU makes it the faster layout; in float32 on a CPU it is the slower one.
        self.autocast = settings["precision"] == "bf16" and seeding.has_bf16(device)
        fast = self.autocast or device.type == "cuda"
        layout = torch.channels_last if fast else torch.contiguous_format
        for network in (self.generator, self.discriminator):
            network.to(device, memory_format=layout).train()
            parallel.joined_statistics(network)
        self.average = None
        if settings["ema"] is not None:
            average = get_ema_multi_avg_fn(settings["ema"])
            self.average = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimisers = {
            "generator": torch.optim.Adam(self.generator.parameters(), **options),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), **options),
        }
        if compile and device.type == "cuda":
            self.generator.compile()
            self.discriminator.compile()
        self.random = torch.Generator(device)
        self.epoch, self.order = -1, None
        self.own, self.share = parallel.portion(settings["batch"])  # of every batch

    def step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator, then the generator; the two losses as tensors of no dimension."""
        settings = self.settings
        size = settings["batch"]
        real, real_labels, draws = self._batch(step)
        noise = torch.randn(size, settings["latent"], device=self.device, generator=self.random)[self.own]
        low, high = settings["real_target"]
        target = low + (high - low) * draws[:, 0]
        fake_labels = (draws[:, 1] * settings["classes"]).long()
        turn = not settings["as_published"] or step % 2 == 1

        with self._precision(), contextlib.nullcontext() if turn else torch.no_grad():
            fake = self.generator(noise, fake_labels)
        with self._precision():
            on_real, on_fake = self._scores(real, real_labels, fake.detach(), fake_labels)
        loss_d = _bce(on_real, target) + _bce(on_fake, torch.zeros_like(target))
        loss_d = self._update("discriminator", loss_d, self.discriminator)

        if turn:
            with self._precision():
                verdict = self.discriminator(fake, fake_labels)
            loss_g = _bce(verdict, torch.ones_like(target))
            loss_g = self._update("generator", loss_g, self.generator)
            if self.average is not None:
                self.average.update_parameters(self.generator)
        else:
            loss_g = _bce(on_fake.detach(), torch.ones_like(target))
        return {"loss_d": loss_d, "loss_g": loss_g.detach()}

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of both networks, and of the averaged generator if there is one."""
        named = {f"generator.{key}": value for key, value in self.generator.state_dict().items()}
        named |= {f"discriminator.{key}": value for key, value in self.discriminator.state_dict().items()}
        if self.average is not None:
            named |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        return named

    def state(self) -> dict:
        """The optimisers' states."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        self.generator.load_state_dict(_under("generator.", tensors))
        self.discriminator.load_state_dict(_under("discriminator.", tensors))
        if self.average is not None:
            self.average.load_state_dict(_under("average.", tensors))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """This rank's real images in [-1, 1], their labels, and two uniform draws a row for the caller."""
        size = self.settings["batch"]
        epoch, position = divmod(step, len(self.images) // size)
        if epoch != self.epoch:
            shuffled = torch.randperm(
                len(self.images), generator=seeding.torch_generator(self.settings["seed"], "gan", "order", epoch)
            )
            self.epoch, self.order = epoch, shuffled.to(self.device)
        self.random.manual_seed(seeding.seed_of(self.settings["seed"], "gan", "step", step))
        draws = torch.rand(size, 2 + _AUGMENTATION_DRAWS, device=self.device, generator=self.random)[self.own]
        rows = self.order[position * size : (position + 1) * size][self.own]
        images = self.images[rows].float()
        if self.settings["augment"]:
            images = flipped_and_cropped(images, draws[:, 2:])
        return images / 127.5 - 1, self.labels[rows], draws[:, :2]

    def _scores(self, real, real_labels, fake, fake_labels) -> tuple[Tensor, Tensor]:
        """Logits of both batches: in one pass, unless batch statistics must not mix them."""
        if self.settings["norm"] == "batch":
            return self.discriminator(real, real_labels), self.discriminator(fake, fake_labels)
        both = self.discriminator(torch.cat([real, fake]), torch.cat([real_labels, fake_labels]))
        return both.split(len(real))

    def _update(self, name: str, loss: Tensor, network: torch.nn.Module) -> Tensor:
        self.optimisers[name].zero_grad()
        # Only this network's gradients: the discriminator's are not computed for the generator's update.
        loss = parallel.backward(loss, network.parameters(), self.share)
        self.optimisers[name].step()
        return loss

    def _precision(self):
        # A context for each pass: autocast keeps bf16 copies of the weights, which an update makes stale.
        return seeding.autocast(self.device, self.settings["precision"])


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), target)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _generator(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Generator:
    names = ("image_size", "latent", "classes", "width", "norm")
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        generator = Generator(**{name: settings[name] for name in names})
    prefix = "generator." if settings["ema"] is None else "average.module."
    generator.load_state_dict(_under(prefix, tensors))
    return generator.to(device).eval()


def _checked(images, labels, classes: int, batch: int) -> tuple[Tensor, Tensor]:
    """uint8 (n, 1, s, s) and int64 (n,), or ValueError."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise ValueError("The training images hold NaN or infinite pixels: repair or drop them.")
    if images.dtype != np.uint8:
        raise ValueError(f"The training images are {images.dtype}: give uint8, 0 to 255.")
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"The training images have shape {images.shape}: give (n, s, s) or (n, 1, s, s).")
    if len(images) < batch:
        raise ValueError(f"{len(images)} training images do not fill one batch of {batch}: give more or lower batch.")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(f"The labels must be {len(images)} integers, not {labels.dtype} of shape {labels.shape}.")
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(classes)):
        raise ValueError(f"The labels hold the classes {present.tolist()}: each of 0..{classes - 1} must occur.")
    return torch.from_numpy(np.ascontiguousarray(images[:, None])), torch.from_numpy(labels.astype(np.int64))


def _digest(images: Tensor, labels: Tensor) -> str:
    content = hashlib.sha256(str(tuple(images.shape)).encode())
    for part in (images, labels):
        content.update(part.numpy().data)
    return content.hexdigest()


def _refuse_divergence(losses: dict[str, Tensor], step: int) -> None:
    if not all(torch.isfinite(loss) for loss in losses.values()):
        raise ValueError(f"The GAN diverged before step {step + 1} (a loss is not finite): lower the learning rate.")
