"""Anonymisation a case so that the person goes and the evidence stays: a VAE-GAN trained against frozen classifiers.

Montenegro et al. 2021, spec §4.3 to spec §5.4. Each step updates a Wasserstein critic some times and then
encoder and decoder some times, which minimise the weighted sum (`Weights`) of losses of `lib.anonymise.vaegan.guidance`
and `lib.anonymise.vaegan.losses`. Where the released code differs in a way that shapes its results, `as_published`
names what to keep of it:

masks: of validation and test images they run from 0 to 255, as the encoder and the choice of weights see them (D1);
inert: see `lib.anonymise.vaegan.guidance.Guides` (D5); variance: see `lib.models.gan.vaegan` (D13); sums: evidence is
weighed by the sum over the batch, not the mean over its masks' pixels (D14); critic: three separate updates for its
losses of real, anonymised and mixed images (D18); classifiers: in training mode (spec §5.4).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.guidance import TERMS, AuxiliaryLosses
from lib.anonymise.vaegan.losses import critic_loss, kl_to_standard_normal, masked_mse
from lib.anonymise.vaegan.masked_images import Masks, checked_cases
from lib.core import seeding
from lib.models.gan.vaegan import VAE, Critic
from lib.training.gan.losses import gradient_norms
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.resume import weights_digest
from lib.training.loop.trainer import finished_training, run_training

DEFECTS = ("masks", "inert", "variance", "sums", "critic", "classifiers")
_SHAPE = ("image_size", "kernel", "width", "latent")


class Weights(NamedTuple):
    """What each loss counts in the sum that encoder and decoder minimise; published ones in spec §5.2."""

    realism: float = 0.4
    divergence: float = 0.002
    privacy: float = 1.0
    source: float = 0.0  # of "distance" only: from the image's own original
    finding: float = 1.0
    evidence: float = 20.0  # of the mean squared error in the mask, on [-1, 1]


class Curves(NamedTuple):
    """What a training went through."""

    names: tuple[str, ...]  # "critic", "realism", "divergence", "evidence" and those of `TERMS`
    values: np.ndarray  # (steps, names) float32, unweighted


def train_pp_vaegan(
    images, masks, identities, *, finding: nn.Module, identity: nn.Module | None = None, privacy: str, path, seed: int,
    steps: int, validation: tuple | None = None, validate_from: int = 0, validate_every: int = 50, batch: int = 64,
    kernel: int = 8, width: int = 256, latent: int = 128, dropout: float = 0.2, weights: Weights | None = None,
    margin: float = 1.0, noisy_targets: bool = True, critic_steps: int = 5, generator_steps: int = 2,
    penalty: float = 10.0, learning_rate: float = 2e-5, decay: float = 1e-6, betas: tuple = (0.9, 0.999),
    as_published: Sequence[str] = (), precision: str = "float32", device: torch.device | None = None,
    save_seconds: float = 60.0, progress: Callable | None = None,
) -> VAE:  # fmt: skip
    """Train a VAE that anonymises cases, or finish or fetch the one in folder `path`; in eval mode.

    images: (n, s, s) grey, uint8, or float32 in [-1, 1], s one of lib.models.gan.vaegan.SIZES; masks: (n, s, s) of 0
    and 1, the region of the evidence; identities: (n,) integers 0 … P − 1. finding, identity: trained classifiers,
    copied and frozen; privacy "posterior", "distance" (`margin`) or "none", see `lib.anonymise.vaegan.guidance`.
    noisy_targets: those of `uniform_targets`, published for PP-MIR. A step is `critic_steps` updates of the critic, the
    VAE in eval mode, and `generator_steps` updates of the VAE, by Adam; with a weight of realism of 0 there is no
    critic. The rate of a network is learning_rate / (1 + decay · its updates in whole steps so far).

    validation: (images, masks), on which from step `validate_from` on, every `validate_every` steps, the weighted sum
    of finding, privacy, source and evidence is taken; the weights of the least are handed over. None: the last weights.
    as_published: names from DEFECTS. precision, progress, save_seconds and checkpoints as in
    `lib.training.loop.trainer.run_training`. On the CPU a resumed training equals an uninterrupted one bit for bit.
    ValueError for colour images, masks that do not fit, identities without an image, an unknown name, or divergence.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, identities, device=device)
    weights = weights or Weights()
    if unknown := sorted(set(as_published) - set(DEFECTS)):
        raise ValueError(f"unknown {unknown} in as_published: choose from {', '.join(DEFECTS)}")
    if batch > len(examples):
        raise ValueError(f"The batch is {batch} of {len(examples)} training images: give at most as many.")
    held_out = None if validation is None else checked_cases(*validation, None, device=device, name="validation")
    settings = {
        "model": "anonymisation", "image_size": examples.values.shape[-1], "kernel": kernel, "width": width,
        "latent": latent, "dropout": dropout, "privacy": privacy, "weights": weights._asdict(), "margin": margin,
        "noisy_targets": noisy_targets, "critic_steps": critic_steps, "generator_steps": generator_steps,
        "penalty": penalty, "learning_rate": learning_rate, "decay": decay, "betas": betas,
        "as_published": sorted(as_published), "steps": steps, "batch": batch, "validate_from": validate_from,
        "validate_every": validate_every, "precision": precision, "seed": seed, "data": examples.digest,
        "masks": regions.digest, "validation": [part.digest for part in held_out or ()],
        "finding": weights_digest(finding), "identity": None if identity is None else weights_digest(identity),
    }  # fmt: skip
    auxiliary = AuxiliaryLosses(
        privacy, finding=finding, identity=identity, examples=examples, margin=margin, noisy_targets=noisy_targets,
        inert="inert" in as_published, training_mode="classifiers" in as_published,
    )  # fmt: skip
    tensors = run_training(
        lambda: Adversaries(examples, regions, auxiliary, held_out, settings, device), name=f"anonymisation ({privacy})",
        path=path, settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _trained(tensors, settings, device)


def load_pp_vaegan(path, *, device: torch.device | None = None) -> VAE:
    """The VAE of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _trained(*finished_training(path, "anonymisation"), device or seeding.device())


def anonymiser_curves(path) -> Curves:
    """The losses of every step of the finished training in folder `path`; errors as `load_pp_vaegan`."""
    tensors, settings = finished_training(path, "anonymisation")
    return Curves(_names(settings), tensors["curves"].numpy())


@torch.inference_mode()
def anonymise(
    model: VAE, images, masks, *, seed: int, decoder: nn.Module | None = None, as_published: Sequence[str] = (),
    batch: int = 256, device: torch.device | None = None,
) -> np.ndarray:  # fmt: skip
    """Images (n, s, s), with masks of 0 and 1, anonymised: uint8 (n, s, s), [-1, 1] mapped to 0..255.

    decoder: another one, such as a counterfactual's, on the same latent numbers where `seed` is the same; None: the
    model's own. Image i depends on seed, i and itself, not on `batch`. as_published: "masks" multiplies them by 255.
    ValueError for images or masks that do not fit.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, None, device=device, name="given")
    size = model.shape["image_size"]
    if examples.values.shape[-1] != size:
        raise ValueError(f"The images are {examples.values.shape[-1]} px wide: give the model's {size} px.")
    model, decoder = model.to(device).eval(), (decoder or model.decoder).to(device).eval()
    generator = seeding.torch_generator(seed, "redraw")
    noise = torch.randn(len(examples), model.shape["latent"], generator=generator).to(device)
    parts = []
    for i in range(0, len(examples), batch):
        part = slice(i, i + batch)
        given = regions.inputs(part) * (255 if "masks" in as_published else 1)
        drawn = decoder(model.sample(*model.encoder(examples.inputs(part), given), noise[part]))
        parts.append(((drawn[:, 0] + 1) * 127.5).round().to(torch.uint8).cpu())
    return torch.cat(parts).numpy()


class Adversaries:
    """VAE, critic and their optimisers on `device`, `settings` as `train_pp_vaegan` resolves them.

    `step(k)` does the k-th update and depends on nothing but the weights, the optimisers and (seed, k).
    """

    def __init__(
        self, examples: DeviceDataset, regions: Masks, auxiliary: AuxiliaryLosses, held_out: tuple | None, settings: dict, device
    ):  # fmt: skip
        self.examples, self.regions, self.auxiliary, self.held_out = examples, regions, auxiliary, held_out
        self.settings, self.device = settings, device
        self.weights, self.defects = Weights(**settings["weights"]), settings["as_published"]
        with seeding.initialising(settings["seed"], "redrawing"):
            self.vae = _vae(settings).to(device).train()
            self.critic = Critic(*(settings[key] for key in _SHAPE[:3])).to(device).train()
        self.networks = {"vae": self.vae, "critic": self.critic}
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimisers = {name: torch.optim.Adam(net.parameters(), **options) for name, net in self.networks.items()}
        self.curves = torch.zeros(settings["steps"], len(_names(settings)), device=device)
        self.best: dict[str, Tensor] = {"score": torch.tensor(torch.inf)}

    def step(self, step: int) -> dict[str, Tensor]:
        """Update the critic, then the VAE, each as often as asked; the last losses, unweighted."""
        for name, updates in (("critic", "critic_steps"), ("vae", "generator_steps")):
            slower = 1 + self.settings["decay"] * step * self.settings[updates]
            self.optimisers[name].param_groups[0]["lr"] = self.settings["learning_rate"] / slower
        with seeding.initialising(self.settings["seed"], "redrawing", "step", step):  # dropout included
            losses = dict.fromkeys(_names(self.settings), torch.zeros((), device=self.device))
            if self.weights.realism:
                losses["critic"] = self._criticise()
            for _ in range(self.settings["generator_steps"]):
                losses |= self._redraw()
            done = step + 1
            if self.held_out and done > self.settings["validate_from"] and done % self.settings["validate_every"] == 0:
                self._validate()
        self.curves[step] = torch.stack(list(losses.values()))
        return losses

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of both networks, the best VAE so far, and the curves."""
        parts = {name: network.state_dict() for name, network in self.networks.items()} | {"best": self.best}
        named = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
        return named | {"curves": self.curves}

    def state(self) -> dict:
        """The optimisers' states."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(_under(name, tensors))
            self.optimisers[name].load_state_dict(state[name])
        self.best, self.curves = _under("best", tensors), tensors["curves"].to(self.device)

    def _criticise(self) -> Tensor:
        """The mean difference of the last scores, real − anonymised. The VAE rests and anonymises for all updates at
        once."""
        rows = self._rows(self.settings["critic_steps"])
        self.vae.eval()
        with torch.no_grad(), self._precision():
            real = self.examples.inputs(rows.flatten())
            drawn = self.vae(real, self.regions.inputs(rows.flatten()), self._noise(rows.numel())).float()
        self.vae.train()
        mixed = torch.lerp(drawn, real, torch.rand(len(real), 1, 1, 1, device=self.device))
        for parts in zip(*(images.split(self.settings["batch"]) for images in (real, drawn, mixed)), strict=True):
            gap = self._three_updates(*parts) if "critic" in self.defects else self._one_update(*parts)
        return gap

    def _one_update(self, real: Tensor, drawn: Tensor, mixed: Tensor) -> Tensor:
        of_real, of_drawn = self._scores(torch.cat([real, drawn])).chunk(2)
        norms = gradient_norms(self._scores, mixed)
        loss = critic_loss(real=of_real, drawn=of_drawn, norms=norms, penalty=self.settings["penalty"])
        self._update("critic", loss)
        return (of_real.mean() - of_drawn.mean()).detach()

    def _three_updates(self, real: Tensor, drawn: Tensor, mixed: Tensor) -> Tensor:
        of_real = self._scores(real).mean()
        self._update("critic", -of_real)
        of_drawn = self._scores(drawn).mean()
        self._update("critic", of_drawn)
        norms = gradient_norms(self._scores, mixed)
        self._update("critic", self.settings["penalty"] * (1 - norms).square().mean())
        return (of_real - of_drawn).detach()

    def _redraw(self) -> dict[str, Tensor]:
        rows = self._rows(1)[0]
        original, masks = self.examples.inputs(rows), self.regions.inputs(rows)
        with self._precision():
            mean, log_variance = (part.float() for part in self.vae.encoder(original, masks))
            drawn = self.vae.decoder(self.vae.sample(mean, log_variance, self._noise(len(rows)))).float()
            losses = self.auxiliary.terms(drawn, rows)
        losses["divergence"] = kl_to_standard_normal(mean, log_variance)
        losses["evidence"] = masked_mse(original, drawn, masks, summed="sums" in self.defects)
        if self.weights.realism:
            self.critic.requires_grad_(False)  # its gradients are not computed here
            losses["realism"] = -self._scores(drawn).mean()
            self.critic.requires_grad_(True)
        self._update("vae", self._weighted(losses))
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _validate(self) -> None:
        """Keep the VAE's weights if the validation images have not been anonymised better yet."""
        examples, regions = self.held_out
        masks = regions.inputs(slice(None)) * (255 if "masks" in self.defects else 1)
        original = examples.inputs(slice(None))
        drawn = self.vae.eval()(original, masks, self._noise(len(examples)))
        self.vae.train()
        finding, identity = self.auxiliary.finding, self.auxiliary.identity
        source = identity(original) if self.auxiliary.privacy == "distance" else None
        losses = self.auxiliary.terms_of(drawn, finding(original), source, noisy=False)
        losses["evidence"] = masked_mse(original, drawn, masks, summed="sums" in self.defects)
        score = self._weighted(losses).cpu()
        if score <= self.best["score"]:
            self.best = {name: value.clone() for name, value in self.vae.state_dict().items()} | {"score": score}

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        return sum(getattr(self.weights, name) * loss for name, loss in losses.items())

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad()
        loss.backward()
        self.optimisers[name].step()

    def _scores(self, images: Tensor) -> Tensor:
        with self._precision():
            return self.critic(images).float().flatten()

    def _rows(self, batches: int) -> Tensor:
        """Rows (batches, batch) of training images, none twice in a batch."""
        draw = torch.rand(batches, len(self.examples), device=self.device)
        return draw.argsort(dim=1)[:, : self.settings["batch"]]

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.settings["latent"], device=self.device)

    def _precision(self):
        # A context for each pass: autocast keeps bf16 copies of the weights, which an update makes stale.
        return seeding.autocast(self.device, self.settings["precision"])


def _names(settings: dict) -> tuple[str, ...]:
    return ("critic", "realism", "divergence", "evidence", *TERMS[settings["privacy"]])


def _vae(settings: dict) -> VAE:
    shape = (settings[key] for key in _SHAPE)
    return VAE(*shape, dropout=settings["dropout"], as_published="variance" in settings["as_published"])


def _trained(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> VAE:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        model = _vae(settings)
    best = {name: value for name, value in _under("best", tensors).items() if name != "score"}
    model.load_state_dict(best or _under("vae", tensors))
    return model.to(device).eval()


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
