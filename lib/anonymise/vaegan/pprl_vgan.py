"""Swapping identities, an older method: an image is anonymised as that of another, real person of the training set.

PPRL-VGAN (Chen, Konrad and Ishwar 2018) as Montenegro et al. 2021 build on it, spec §4.6: a VAE whose decoder is given
the person to draw, and a discriminator with three heads, real or not, who, and which finding. Per update, of
cross-entropies in nats, y being the true identity and finding, c the identity asked for at random::

    L_D = ¼ BCE(real | x) + ½ CE(y_id | x) + ¼ CE(y_finding | x) + BCE(not real | x̂)
    L_G = 0.002 KL + 0.078 BCE(real | x̂) + 0.8 CE(c | x̂) + 0.12 CE(y_finding | x̂)

Targets of the first head are drawn from U(0.9, 1) for real and from U(0, 0.1) for anonymised images.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.anonymise.vaegan.losses import kl_to_standard_normal
from lib.core import seeding
from lib.models.gan.vaegan import VAE, Critic
from lib.training.loop.dataset import DeviceDataset, check_batch, grey_images
from lib.training.loop.images import to_uint8
from lib.training.loop.inference import in_batches, without_gradients
from lib.training.loop.placement import placed
from lib.training.loop.trainer import Trainer, restored, run_training


def train_pprl_vgan(
    images,  # (n, s, s) grey, uint8, or float32 in [-1, 1]
    identities,  # (n,) integers from 0, none left out
    findings,  # likewise
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # each is one update of the discriminator and `generator_steps` of the VAE, by RMSprop
    batch: int = 256,
    kernel: int = 8,
    width: int = 256,
    latent: int = 128,
    dropout: float = 0.3,
    generator_steps: int = 2,
    learning_rate: float = 3e-4,
    as_published: bool = False,  # the VAE's own variance (`lib.models.gan.vaegan.sample`), which later work inherited
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> VAE:
    """Train a VAE that anonymises images as those of given people, or finish or fetch the one in `path`; in eval mode.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for colour
    images, labels that do not fit or leave out a number, a batch above n, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples, found = (grey_images(images, labels, device=device) for labels in (identities, findings))
    for name, labels in (("Identities", examples.labels), ("Findings", found.labels)):
        if missing := torch.bincount(labels).eq(0).nonzero().flatten().tolist():
            raise ValueError(f"{name} {missing} have no training image: number those that have from 0.")
    check_batch(batch, examples)
    settings = {
        "model": "pprl_vgan", "version": PPRLVGANTrainer.version,
        "image_size": examples.values.shape[-1], "kernel": kernel, "width": width,
        "latent": latent, "dropout": dropout, "identities": int(examples.labels.max()) + 1,
        "findings": int(found.labels.max()) + 1, "generator_steps": generator_steps, "learning_rate": learning_rate,
        "as_published": as_published, "steps": steps, "batch": batch, "precision": precision, "seed": seed,
        "data": [examples.digest, found.digest],
    }  # fmt: skip
    tensors = run_training(
        lambda: PPRLVGANTrainer(examples, found.labels, settings, device), name="PPRL-VGAN", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return restored(lambda: _vae(settings), "vae", tensors, device)


@torch.inference_mode()
def swap(
    model: VAE, images, targets, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:  # fmt: skip
    """Images (n, s, s) anonymised as those of the people `targets` (n,): uint8 (n, s, s).

    [-1, 1] is mapped to 0..255 and clipped. Image i depends on seed, i, itself and its target. ValueError for images
    that do not fit or an unknown target.
    """
    device = device or seeding.device()
    examples = DeviceDataset(images, targets, device=device, name="given")
    people = model.decoder.layers[0].in_features - model.shape["latent"]
    if (unknown := int(examples.labels.max())) >= people:
        raise ValueError(f"There is no identity {unknown} to turn into: give targets from 0 to {people - 1}.")
    model = placed(model, device).eval()
    generator = seeding.torch_generator(seed, "swap")
    noise = torch.randn(len(examples), model.shape["latent"], generator=generator).to(device)
    codes = F.one_hot(examples.labels, people).float()

    def turned(part: slice) -> Tensor:
        return to_uint8(model(examples.inputs(part), codes[part], noise[part])[:, 0]).cpu()

    return in_batches(turned, len(examples), batch).numpy()


class PPRLVGANTrainer(Trainer):
    """VAE, discriminator and their optimisers, with the images, their identities and findings beside them.

    The batches, like the dropout, are drawn from torch's own generator, which `step` seeds.
    """

    stream = "swapping"
    has_dropout = True

    def __init__(self, examples: DeviceDataset, findings: Tensor, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.examples, self.findings = examples, findings
        with self.initialising():
            self.vae, self.discriminator = self.place(_vae(settings)), self.place(_discriminator(settings))
        self.networks = {"vae": self.vae, "discriminator": self.discriminator}
        self.optimisers = {
            name: torch.optim.RMSprop(network.parameters(), settings["learning_rate"], alpha=0.9, eps=1e-7)
            for name, network in self.networks.items()
        }

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the discriminator, then the VAE; the last losses."""
        losses = {"loss_d": self.discriminator_step()}
        for _ in range(self.settings["generator_steps"]):
            losses["loss_g"] = self.vae_step()
        return losses

    def discriminator_step(self) -> Tensor:
        """One update of the discriminator by L_D; the VAE is in eval mode meanwhile."""
        rows, images = self._batch()
        self.vae.eval()
        with torch.no_grad(), self.autocast():
            drawn = self.vae(images, self._asked()[1], self._noise()).float()
        self.vae.train()
        real, who, what = self._logits(torch.cat([images, drawn]))
        count = len(images)
        soft = torch.rand(2, count, device=self.device) * 0.1
        loss = F.binary_cross_entropy_with_logits(real[:count], 1 - soft[0]) / 4
        loss = loss + F.cross_entropy(who[:count], self.examples.labels[rows]) / 2
        loss = loss + F.cross_entropy(what[:count], self.findings[rows]) / 4
        return self.minimise("discriminator", loss + F.binary_cross_entropy_with_logits(real[count:], soft[1]))

    def vae_step(self) -> Tensor:
        """One update of the VAE by L_G."""
        rows, images = self._batch()
        asked, codes = self._asked()
        with self.autocast():
            mean, log_variance = (part.float() for part in self.vae.encoder(images))
            latents = self.vae.sample(mean, log_variance, self._noise())
            drawn = self.vae.decoder(torch.cat([latents, codes], dim=1)).float()
        with without_gradients(self.discriminator):
            real, who, what = self._logits(drawn)
        loss = 0.002 * kl_to_standard_normal(mean, log_variance)
        loss = loss + 0.078 * F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + 0.8 * F.cross_entropy(who, asked) + 0.12 * F.cross_entropy(what, self.findings[rows])
        return self.minimise("vae", loss)

    def _logits(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three heads' logits: real (n,), who (n, people), what (n, findings)."""
        with self.autocast():
            logits = self.discriminator(images).float()
        real, who, what = logits.split([1, self.settings["identities"], self.settings["findings"]], dim=1)
        return real.flatten(), who, what

    def _batch(self) -> tuple[Tensor, Tensor]:
        rows = torch.rand(len(self.examples), device=self.device).argsort()[: self.settings["batch"]]
        return rows, self.examples.inputs(rows)

    def _asked(self) -> tuple[Tensor, Tensor]:
        """Random identities (batch,), and their codes."""
        asked = torch.randint(self.settings["identities"], (self.settings["batch"],), device=self.device)
        return asked, F.one_hot(asked, self.settings["identities"]).float()

    def _noise(self) -> Tensor:
        return torch.randn(self.settings["batch"], self.settings["latent"], device=self.device)


def _vae(settings: dict) -> VAE:
    names = ("image_size", "kernel", "width", "latent", "dropout", "identities", "as_published")
    return VAE(**{name: settings[name] for name in names})


def _discriminator(settings: dict) -> Critic:
    shape = {key: settings[key] for key in ("image_size", "kernel", "width")}
    return Critic(**shape, outputs=1 + settings["identities"] + settings["findings"])
