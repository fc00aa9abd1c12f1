"""A generator that memorises: StyleGAN2's synthesis and one w for each training image, learnt together.

Generative latent optimisation (Bojanowski et al. 2018, arXiv 1707.05776) without a mapping: the loss is the mean
squared difference of the pixels plus `lib.training.gan.losses.laplacian_distance`, and both the weights and the latents
are optimised. Nothing rewards new images. It is the fixture of spec §9.5 of Pennisi et al. 2023: a generator that holds
a near-duplicate of every patient at a known place, so that what claims to avoid patients can be tested.
"""

import math
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.stylegan2 import SIZES, Generator
from lib.training.gan.losses import laplacian_distance
from lib.training.gan.sampling import TrainedGenerator, drawn, normal_noise
from lib.training.loop.dataset import DeviceDataset, check_batch, uint8_squares
from lib.training.loop.trainer import Trainer, restored, run_training

# Pixels drawn at a time: the largest activations of 256 px are 64 maps of 4 bytes, so each takes half a GB.
_AT_ONCE = 2**21


class AutoDecoder(TrainedGenerator):
    """A trained auto-decoder: of its `generator` the `synthesis` only, the mapping is untrained.

    `latents`: (n, latent), the w of each training image.
    """

    name = "autodecoder"
    generator: Generator

    def __init__(self, generator: Generator, settings: dict, latents: Tensor):
        super().__init__(generator, settings)
        self.latents = latents

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        generator = restored(lambda: _generator(settings), "generator", tensors, device)
        return cls(generator, settings, tensors["latents.w"].to(device, torch.float32))  # stored in float16

    @torch.inference_mode()
    def sample(
        self, n: int, *, labels=None, seed: int | None = None, batch: int | None = None, latents: Tensor | None = None
    ) -> np.ndarray:  # fmt: skip
        """As `TrainedGenerator.sample`; the generator knows no labels.

        batch: None for as many at a time as have `_AT_ONCE` pixels together, 2,048 of 32 px and 32 of 256 px.

        latents: the w (n, latent) to draw, or those of every layer (n, layers, latent), such as `latents`; then `seed`
        has no effect. None: new ones from the normal distribution with the mean and the covariance of the training
        images' w (Bojanowski et al., spec §4). ValueError for labels, latents of another shape, or neither latents nor
        a seed.
        """
        if labels is not None:
            raise ValueError("The auto-decoder was trained without labels: give none.")
        if latents is None:
            if seed is None:
                raise ValueError("Give a seed for new latents, or the latents.")
            noise = normal_noise(n, len(self.latents), seed, "autodecoder", "sample").to(self.device)
            mean = self.latents.mean(dim=0)
            latents = mean + noise @ (self.latents - mean) / (len(self.latents) - 1) ** 0.5
        if len(latents) != n or n < 1 or latents.shape[-1] != self.latents.shape[1]:
            raise ValueError(f"The latents are {tuple(latents.shape)}: give {n} of {self.latents.shape[1]} numbers.")
        if batch is None:
            batch = max(1, _AT_ONCE // self.generator.image_size**2)
        return drawn(self.generator.synthesis, latents, batch=batch, device=self.device)


def train_autodecoder(
    images,  # (n, s, s) or (n, c, s, s) uint8, s one of lib.models.gan.stylegan2.SIZES
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # each draws `batch` images; both rates of Adam fall to 0 as a half cosine
    batch: int = 32,
    latent: int = 512,  # latent, maps: see lib.models.gan.stylegan2
    maps: tuple = (512, 16384),
    learning_rate: float = 1e-2,
    latent_rate: float = 2e-2,
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> AutoDecoder:
    """Train weights and latents to draw the images again, or finish or fetch those in folder `path`.

    The latents start as the first `latent` principal components of the images (Bojanowski et al., spec §4), each times
    the root of its SD, all together of mean square 1: neighbours then share what they have in common. Checkpoints,
    exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images of another kind,
    a batch or latent above n, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples = uint8_squares(images, None, device=device, sizes=SIZES)
    check_batch(batch, examples)
    if not 1 <= latent <= len(examples):
        raise ValueError(f"latent is {latent} for {len(examples)} images: give 1 to that many.")
    settings = {
        "model": AutoDecoder.name, "version": AutoDecoderTrainer.version,
        "image_size": examples.values.shape[2], "channels": examples.values.shape[1],
        "latent": latent, "maps": maps, "steps": steps, "batch": batch, "learning_rate": learning_rate,
        "latent_rate": latent_rate, "precision": precision, "seed": seed, "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: AutoDecoderTrainer(examples, settings, device), name="auto-decoder", path=path, settings=settings,
        steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return AutoDecoder.restored(tensors, settings, device)


class AutoDecoderTrainer(Trainer):
    """Generator, latents and their one optimiser, with the images beside them."""

    stream = "autodecoder"

    def __init__(self, examples: DeviceDataset, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.examples = examples
        with self.initialising():
            self.generator = self.place(_generator(settings))
        self.latents = nn.Parameter(_principal(examples, settings["latent"]))
        self.networks = {"generator": self.generator, "latents": nn.ParameterDict({"w": self.latents})}
        weights = [value for name, value in self.generator.named_parameters() if not name.startswith("label_map")]
        rates = (weights, settings["learning_rate"]), ([self.latents], settings["latent_rate"])
        groups = [{"params": params, "lr": rate, "highest": rate} for params, rate in rates]
        self.optimisers = {"both": torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One update of weights and latents."""
        s = self.settings
        for group in self.optimisers["both"].param_groups:
            group["lr"] = group["highest"] * (0.5 + 0.5 * math.cos(math.pi * step / s["steps"]))
        random = seeding.torch_generator(s["seed"], self.stream, step)
        rows = torch.randperm(len(self.examples), generator=random)[: s["batch"]].to(self.device)
        with self.autocast():
            made = self.generator.synthesis(self.latents[rows])
        wanted = self.examples.inputs(rows)
        loss = (laplacian_distance(made, wanted) + (made - wanted).square().mean(dim=(1, 2, 3))).mean()
        return {"loss": self.minimise("both", loss)}


def _generator(settings: dict) -> Generator:
    return Generator(settings["image_size"], 1, settings["channels"], settings["latent"], settings["maps"])


def _principal(examples: DeviceDataset, latent: int) -> Tensor:
    """Where the latents start: (n, latent)."""
    pixels = examples.inputs(slice(None)).flatten(1).double()
    left, sd, _ = torch.linalg.svd(pixels - pixels.mean(dim=0), full_matrices=False)
    columns = torch.arange(left.shape[1], device=left.device)
    left = left * left[left.abs().argmax(dim=0), columns].sign()  # the sign is arbitrary
    found = left[:, :latent] * sd[:latent].sqrt()
    return (found / found.square().mean().sqrt()).float()
