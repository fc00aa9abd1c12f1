"""Swapping identities, the older way: an image is anonymised as that of another, real person of the training set.

PPRL-VGAN (Chen, Konrad and Ishwar 2018) as Montenegro et al. 2021 build on it, spec §4.6: a VAE whose
decoder is told whom to draw, and a discriminator with three heads, real or not, who, and which finding. Per update, of
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
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.trainer import finished_training, run_training


def train_swapping(
    images, identities, findings, *, path, seed: int, steps: int, batch: int = 256, kernel: int = 8, width: int = 256,
    latent: int = 128, dropout: float = 0.3, generator_steps: int = 2, learning_rate: float = 3e-4,
    as_published: bool = False, precision: str = "float32", device: torch.device | None = None,
    save_seconds: float = 60.0, progress: Callable | None = None,
) -> VAE:  # fmt: skip
    """Train a VAE that anonymises images as those of given people, or finish or fetch the one in `path`; in eval mode.

    images: (n, s, s) grey, uint8, or float32 in [-1, 1]; identities, findings: (n,) integers from 0, none left out.
    RMSprop; a step is one update of the discriminator and `generator_steps` of the VAE. as_published: the VAE's own
    variance (`lib.models.gan.vaegan.sample`), which later work inherited. precision, progress, save_seconds,
    checkpoints and resuming as in `lib.training.loop.trainer.run_training`. ValueError for colour images, labels that
    do not fit or leave out a number, a batch above n, or divergence.
    """
    device = device or seeding.device()
    examples = DeviceDataset(images, identities, device=device)
    found = DeviceDataset(images, findings, device=device)
    if examples.values.shape[1] != 1:
        raise ValueError(f"The images have {examples.values.shape[1]} channels: give grey ones, (n, s, s).")
    for name, labels in (("Identities", examples.labels), ("Findings", found.labels)):
        if missing := torch.bincount(labels).eq(0).nonzero().flatten().tolist():
            raise ValueError(f"{name} {missing} have no training image: number those that have from 0.")
    if batch > len(examples):
        raise ValueError(f"The batch is {batch} of {len(examples)} training images: give at most as many.")
    settings = {
        "model": "swapping", "image_size": examples.values.shape[-1], "kernel": kernel, "width": width,
        "latent": latent, "dropout": dropout, "identities": int(examples.labels.max()) + 1,
        "findings": int(found.labels.max()) + 1, "generator_steps": generator_steps, "learning_rate": learning_rate,
        "as_published": as_published, "steps": steps, "batch": batch, "precision": precision, "seed": seed,
        "data": [examples.digest, found.digest],
    }  # fmt: skip
    tensors = run_training(
        lambda: _Adversaries(examples, found.labels, settings, device), name="identity swapping", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _trained(tensors, settings, device)


def load_swapping(path, *, device: torch.device | None = None) -> VAE:
    """The VAE of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _trained(*finished_training(path, "identity swapping"), device or seeding.device())


@torch.inference_mode()
def swap(
    model: VAE, images, targets, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:  # fmt: skip
    """Images (n, s, s) anonymised as those of the people `targets` (n,): uint8 (n, s, s), [-1, 1] mapped to 0..255.

    Image i depends on seed, i, itself and its target. ValueError for images that do not fit or an unknown target.
    """
    device = device or seeding.device()
    examples = DeviceDataset(images, targets, device=device, name="given")
    people = model.decoder.layers[0].in_features - model.shape["latent"]
    if (unknown := int(examples.labels.max())) >= people:
        raise ValueError(f"There is no identity {unknown} to turn into: give targets from 0 to {people - 1}.")
    model = model.to(device).eval()
    generator = seeding.torch_generator(seed, "swap")
    noise = torch.randn(len(examples), model.shape["latent"], generator=generator).to(device)
    codes = F.one_hot(examples.labels, people).float()
    parts = []
    for i in range(0, len(examples), batch):
        part = slice(i, i + batch)
        drawn = model(examples.inputs(part), codes[part], noise[part])
        parts.append(((drawn[:, 0] + 1) * 127.5).round().to(torch.uint8).cpu())
    return torch.cat(parts).numpy()


class _Adversaries:
    """VAE, discriminator and their optimisers on `device`; update k depends on them and (seed, k) alone."""

    def __init__(self, examples: DeviceDataset, findings: Tensor, settings: dict, device: torch.device):
        self.settings, self.device, self.examples, self.findings = settings, device, examples, findings
        outputs = 1 + settings["identities"] + settings["findings"]
        with seeding.initialising(settings["seed"], "swapping"):
            vae = _vae(settings).to(device).train()
            shape = (settings[key] for key in ("image_size", "kernel", "width"))
            discriminator = Critic(*shape, outputs=outputs).to(device).train()
        self.networks = {"vae": vae, "discriminator": discriminator}
        self.optimisers = {
            name: torch.optim.RMSprop(network.parameters(), settings["learning_rate"], alpha=0.9, eps=1e-7)
            for name, network in self.networks.items()
        }

    def step(self, step: int) -> dict[str, Tensor]:
        with seeding.initialising(self.settings["seed"], "swapping", "step", step):  # dropout included
            losses = {"loss_d": self._discriminate()}
            for _ in range(self.settings["generator_steps"]):
                losses["loss_g"] = self._swap()
        return losses

    def tensors(self) -> dict[str, Tensor]:
        return {f"{name}.{k}": v for name, network in self.networks.items() for k, v in network.state_dict().items()}

    def state(self) -> dict:
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        for name, network in self.networks.items():
            _load(network, name, tensors)
            self.optimisers[name].load_state_dict(state[name])

    def _discriminate(self) -> Tensor:
        rows, images = self._batch()
        vae = self.networks["vae"].eval()
        with torch.no_grad(), self._precision():
            drawn = vae(images, self._asked()[1], self._noise()).float()
        vae.train()
        real, who, what = self._scores(torch.cat([images, drawn]))
        count = len(images)
        soft = torch.rand(2, count, device=self.device) * 0.1
        loss = F.binary_cross_entropy_with_logits(real[:count], 1 - soft[0]) / 4
        loss = loss + F.cross_entropy(who[:count], self.examples.labels[rows]) / 2
        loss = loss + F.cross_entropy(what[:count], self.findings[rows]) / 4
        return self._update("discriminator", loss + F.binary_cross_entropy_with_logits(real[count:], soft[1]))

    def _swap(self) -> Tensor:
        rows, images = self._batch()
        asked, codes = self._asked()
        vae, discriminator = self.networks["vae"], self.networks["discriminator"]
        with self._precision():
            mean, log_variance = (part.float() for part in vae.encoder(images))
            latents = vae.sample(mean, log_variance, self._noise())
            drawn = vae.decoder(torch.cat([latents, codes], dim=1)).float()
        discriminator.requires_grad_(False)  # its gradients are not computed here
        real, who, what = self._scores(drawn)
        discriminator.requires_grad_(True)
        loss = 0.002 * kl_to_standard_normal(mean, log_variance)
        loss = loss + 0.078 * F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + 0.8 * F.cross_entropy(who, asked) + 0.12 * F.cross_entropy(what, self.findings[rows])
        return self._update("vae", loss)

    def _scores(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with self._precision():
            logits = self.networks["discriminator"](images).float()
        real, who, what = logits.split([1, self.settings["identities"], self.settings["findings"]], dim=1)
        return real.flatten(), who, what

    def _batch(self) -> tuple[Tensor, Tensor]:
        rows = torch.rand(len(self.examples), device=self.device).argsort()[: self.settings["batch"]]
        return rows, self.examples.inputs(rows)

    def _asked(self) -> tuple[Tensor, Tensor]:
        asked = torch.randint(self.settings["identities"], (self.settings["batch"],), device=self.device)
        return asked, F.one_hot(asked, self.settings["identities"]).float()

    def _noise(self) -> Tensor:
        return torch.randn(self.settings["batch"], self.settings["latent"], device=self.device)

    def _update(self, name: str, loss: Tensor) -> Tensor:
        self.optimisers[name].zero_grad()
        loss.backward()
        self.optimisers[name].step()
        return loss.detach()

    def _precision(self):
        # A context for each pass: autocast keeps bf16 copies of the weights, which an update makes stale.
        return seeding.autocast(self.device, self.settings["precision"])


def _vae(settings: dict) -> VAE:
    names = ("image_size", "kernel", "width", "latent", "dropout", "identities", "as_published")
    return VAE(**{name: settings[name] for name in names})


def _trained(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> VAE:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        model = _vae(settings)
    _load(model, "vae", tensors)
    return model.to(device).eval()


def _load(network: torch.nn.Module, name: str, tensors: dict[str, Tensor]) -> None:
    prefix = f"{name}."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
