"""Anonymising images so that the identity is lost and the evidence kept: a VAE-GAN trained against classifiers.

Montenegro et al. 2021, spec §4.3 to spec §5.4. Each step updates a Wasserstein critic some times and then encoder and
decoder some times, which minimise the weighted sum (`Weights`) of losses of `lib.anonymise.vaegan.guidance` and
`lib.anonymise.vaegan.losses`. Where the released code differs in a way that shapes its results, `as_published` names
what to keep of it:

masks: of validation and test images they run from 0 to 255, as the encoder and the choice of weights see them (D1);
inert: see `lib.anonymise.vaegan.guidance.AuxiliaryLosses` (D5); variance: see `lib.models.gan.vaegan` (D13); sums: the
evidence is weighted by the sum over the batch, not the mean over its masks' pixels (D14); critic: three separate
updates for its losses of real, anonymised and mixed images (D18); classifiers: in training mode (spec §5.4).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.guidance import LOSSES, AuxiliaryLosses
from lib.anonymise.vaegan.losses import critic_loss, kl_to_standard_normal, masked_mse
from lib.anonymise.vaegan.masked_images import Masks, checked_cases
from lib.core import seeding
from lib.models.gan.vaegan import VAE, Critic
from lib.training.gan.losses import gradient_norms
from lib.training.loop.dataset import DeviceDataset, check_batch
from lib.training.loop.images import to_uint8
from lib.training.loop.inference import in_batches, without_gradients
from lib.training.loop.placement import placed
from lib.training.loop.resume import weights_digest
from lib.training.loop.trainer import Trainer, finished_training, restored, run_training, under

DEFECTS = ("masks", "inert", "variance", "sums", "critic", "classifiers")


class Weights(NamedTuple):
    """The weight of each loss in the sum that encoder and decoder minimise; the published ones are in spec §5.2."""

    realism: float = 0.4
    divergence: float = 0.002
    privacy: float = 1.0
    source: float = 0.0  # of "distance" only: from the image's own original
    finding: float = 1.0
    evidence: float = 20.0  # of the mean squared error in the mask, on [-1, 1]


def train_pp_vaegan(
    images,  # (n, s, s) grey, uint8, or float32 in [-1, 1], s one of lib.models.gan.vaegan.SIZES
    masks,  # (n, s, s) of 0 and 1, the region of the evidence
    identities,  # (n,) integers 0 … P − 1
    *,
    finding: nn.Module,  # a trained classifier, copied and frozen
    identity: nn.Module | None = None,  # likewise
    classifiers: Mapping | None = None,  # how these two were trained, JSON-able; see below
    privacy: str,  # "posterior", "distance" or "none", see `lib.anonymise.vaegan.guidance`
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,
    validation: tuple | None = None,  # (images, masks): the weights that do best on them are returned; None: the last
    validate_from: int = 0,  # the first step with a validation
    validate_every: int = 50,  # steps between two of them
    batch: int = 64,
    kernel: int = 8,
    width: int = 256,
    latent: int = 128,
    dropout: float = 0.2,
    weights: Weights | None = None,
    margin: float = 1.0,  # of privacy "distance"
    noisy_targets: bool = True,  # those of `uniform_targets`, published for PP-MIR
    critic_steps: int = 5,  # updates of the critic in a step, the VAE in eval mode; none where realism weighs 0
    generator_steps: int = 2,  # updates of the VAE in a step, by Adam
    penalty: float = 10.0,
    learning_rate: float = 2e-5,
    decay: float = 1e-6,  # the rate of a network is learning_rate / (1 + decay · its updates in whole steps so far)
    betas: tuple = (0.9, 0.999),
    as_published: Sequence[str] = (),  # names from DEFECTS
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> VAE:
    """Train a VAE that anonymises images, or finish or fetch the one in folder `path`; in eval mode.

    What a validation compares is the weighted sum of finding, privacy, source and evidence. The checkpoint keeps both
    classifiers too (`load_auxiliary`). A stored training is found by `classifiers` in place of their weights, which
    another machine rounds otherwise, as it is by a summary of the images (`lib.anonymise.vaegan.stored`). Checkpoints,
    exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for colour images, masks that
    do not fit, identities without an image, an unknown name, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, identities, device=device)
    weights = weights or Weights()
    if unknown := sorted(set(as_published) - set(DEFECTS)):
        raise ValueError(f"unknown {unknown} in as_published: choose from {', '.join(DEFECTS)}")
    check_batch(batch, examples)
    held_out = None
    if validation is not None:
        held_out = checked_cases(validation[0], validation[1], None, device=device, name="validation")
    settings = {
        "model": "pp_vaegan", "version": PPVAEGANTrainer.version,
        "image_size": examples.values.shape[-1], "kernel": kernel, "width": width,
        "latent": latent, "dropout": dropout, "privacy": privacy, "weights": weights._asdict(), "margin": margin,
        "noisy_targets": noisy_targets, "critic_steps": critic_steps, "generator_steps": generator_steps,
        "penalty": penalty, "learning_rate": learning_rate, "decay": decay, "betas": betas,
        "as_published": sorted(as_published), "steps": steps, "batch": batch, "validate_from": validate_from,
        "validate_every": validate_every, "precision": precision, "seed": seed,
        "classifiers": None if classifiers is None else dict(classifiers),
        "data": {
            "images": examples.digest, "masks": regions.digest, "validation": [part.digest for part in held_out or ()],
            "finding": weights_digest(finding), "identity": None if identity is None else weights_digest(identity),
        },
    }  # fmt: skip
    auxiliary = AuxiliaryLosses(
        privacy, finding=finding, identity=identity, examples=examples, margin=margin, noisy_targets=noisy_targets,
        inert="inert" in as_published, training_mode="classifiers" in as_published,
    )  # fmt: skip
    tensors = run_training(
        lambda: PPVAEGANTrainer(examples, regions, auxiliary, held_out, settings, device),
        name=f"anonymisation ({privacy})", path=path, settings=settings, steps=steps, save_seconds=save_seconds,
        progress=progress,
    )  # fmt: skip
    return _trained(tensors, settings, device)


def load_pp_vaegan(path, *, device: torch.device | None = None) -> VAE:
    """The VAE of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _trained(*finished_training(path, "anonymisation", model="pp_vaegan"), device or seeding.device())


def load_auxiliary(path, name: str, network: nn.Module, *, device: torch.device | None = None) -> nn.Module:
    """`network` with the weights of the classifier that the finished training in folder `path` was guided by.

    name: "finding" or "identity". In eval mode. Errors as `load_pp_vaegan`; ValueError also for a training without that
    classifier, or one of another shape.
    """
    tensors, _ = finished_training(path, "anonymisation", model="pp_vaegan")
    try:
        network.load_state_dict(under(name, tensors))
    except RuntimeError as error:
        given = type(network).__name__
        raise ValueError(f"The training in {path} had no {given} of this shape as its {name} classifier.") from error
    return placed(network, device or seeding.device()).eval()


@torch.inference_mode()
def anonymise(
    model: VAE, images, masks, *, seed: int, decoder: nn.Module | None = None, as_published: Sequence[str] = (),
    batch: int = 256, device: torch.device | None = None,
) -> np.ndarray:  # fmt: skip
    """Images (n, s, s), with masks of 0 and 1, anonymised: uint8 (n, s, s), [-1, 1] mapped to 0..255 and clipped.

    decoder: another one, such as a counterfactual's, on the same latent numbers where `seed` is the same; None: the
    model's own. Image i depends on seed, i and itself, not on `batch`. as_published: "masks" multiplies them by 255.
    ValueError for images or masks that do not fit.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, None, device=device, name="given")
    size = model.shape["image_size"]
    if examples.values.shape[-1] != size:
        raise ValueError(f"The images are {examples.values.shape[-1]} px wide: give the model's {size} px.")
    model, decoder = placed(model, device).eval(), placed(decoder or model.decoder, device).eval()
    generator = seeding.torch_generator(seed, "redraw")
    noise = torch.randn(len(examples), model.shape["latent"], generator=generator).to(device)

    def anonymised(part: slice) -> Tensor:
        given = regions.inputs(part) * (255 if "masks" in as_published else 1)
        mean, log_variance = model.encoder(examples.inputs(part), given)
        return to_uint8(decoder(model.sample(mean, log_variance, noise[part]))[:, 0]).cpu()

    return in_batches(anonymised, len(examples), batch).numpy()


class PPVAEGANTrainer(Trainer):
    """VAE, critic and their optimisers, with the images, their masks and the auxiliary losses beside them.

    Of `values`, "best.…" are the VAE's weights of the best validation so far, with its score. The batches, like the
    dropout, are drawn from torch's own generator, which `step` seeds.
    """

    stream = "redrawing"
    has_dropout = True

    def __init__(
        self,
        examples: DeviceDataset,
        regions: Masks,
        auxiliary: AuxiliaryLosses,
        held_out: tuple[DeviceDataset, Masks] | None,
        settings: dict,
        device: torch.device,
    ):
        super().__init__(settings, device)
        self.examples, self.regions, self.auxiliary, self.held_out = examples, regions, auxiliary, held_out
        self.weights, self.defects = Weights(**settings["weights"]), settings["as_published"]
        with self.initialising():
            self.vae, self.critic = self.place(_vae(settings)), self.place(_critic(settings))
        self.networks = {"vae": self.vae, "critic": self.critic}
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimisers = {name: torch.optim.Adam(net.parameters(), **options) for name, net in self.networks.items()}
        self.values = {"best.score": torch.tensor(torch.inf, device=device)}

    def tensors(self) -> dict[str, Tensor]:
        """As `Trainer.tensors`, with the frozen classifiers, by which results are evaluated later."""
        frozen = {
            f"{name}.{key}": value
            for name, network in self.auxiliary.networks.items()
            for key, value in network.state_dict().items()
        }
        return super().tensors() | frozen

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.auxiliary.networks.items():
            network.load_state_dict(under(name, tensors))
        own = {key: value for key, value in tensors.items() if key.split(".")[0] not in self.auxiliary.networks}
        super().restore(own, state)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update the critic, then the VAE, each as often as asked; the last losses, unweighted."""
        for name, updates in (("critic", "critic_steps"), ("vae", "generator_steps")):
            slower = 1 + self.settings["decay"] * step * self.settings[updates]
            self.optimisers[name].param_groups[0]["lr"] = self.settings["learning_rate"] / slower
        losses = dict.fromkeys(_names(self.settings), torch.zeros((), device=self.device))
        if self.weights.realism:
            losses["critic"] = self.critic_step()
        for _ in range(self.settings["generator_steps"]):
            losses |= self.vae_step()
        done = step + 1
        if self.held_out and done > self.settings["validate_from"] and done % self.settings["validate_every"] == 0:
            self._validate(*self.held_out)
        return losses

    def critic_step(self) -> Tensor:
        """All updates of the critic in a step; the mean difference of the last scores, real − anonymised."""
        rows = self._rows(self.settings["critic_steps"])
        self.vae.eval()  # it rests, and anonymises for all updates at once
        with torch.no_grad(), self.autocast():
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
        self.minimise("critic", loss)
        return (of_real.mean() - of_drawn.mean()).detach()

    def _three_updates(self, real: Tensor, drawn: Tensor, mixed: Tensor) -> Tensor:
        of_real = self._scores(real).mean()
        self.minimise("critic", -of_real)
        of_drawn = self._scores(drawn).mean()
        self.minimise("critic", of_drawn)
        norms = gradient_norms(self._scores, mixed)
        self.minimise("critic", self.settings["penalty"] * (1 - norms).square().mean())
        return (of_real - of_drawn).detach()

    def vae_step(self) -> dict[str, Tensor]:
        """One update of the VAE; its losses, unweighted."""
        rows = self._rows(1)[0]
        original, masks = self.examples.inputs(rows), self.regions.inputs(rows)
        with self.autocast():
            mean, log_variance = (part.float() for part in self.vae.encoder(original, masks))
            drawn = self.vae.decoder(self.vae.sample(mean, log_variance, self._noise(len(rows)))).float()
            losses = self.auxiliary.of_examples(drawn, rows)
        losses["divergence"] = kl_to_standard_normal(mean, log_variance)
        losses["evidence"] = masked_mse(original, drawn, masks, summed="sums" in self.defects)
        if self.weights.realism:
            with without_gradients(self.critic):
                losses["realism"] = -self._scores(drawn).mean()
        self.minimise("vae", self._weighted(losses))
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _validate(self, examples: DeviceDataset, regions: Masks) -> None:
        """Keep the VAE's weights if the validation images have not been anonymised better yet."""
        masks = regions.inputs(slice(None)) * (255 if "masks" in self.defects else 1)
        original = examples.inputs(slice(None))
        drawn = self.vae.eval()(original, masks, self._noise(len(examples)))
        self.vae.train()
        losses = self.auxiliary.of_images(drawn, original)
        losses["evidence"] = masked_mse(original, drawn, masks, summed="sums" in self.defects)
        score = self._weighted(losses)
        if score <= self.values["best.score"]:
            self.values |= {f"best.{name}": value.clone() for name, value in self.vae.state_dict().items()}
            self.values["best.score"] = score

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        parts = (getattr(self.weights, name) * loss for name, loss in losses.items())
        return sum(parts, torch.zeros((), device=self.device))

    def _scores(self, images: Tensor) -> Tensor:
        with self.autocast():
            return self.critic(images).float().flatten()

    def _rows(self, batches: int) -> Tensor:
        """Rows (batches, batch) of training images, none twice in a batch."""
        draw = torch.rand(batches, len(self.examples), device=self.device)
        return draw.argsort(dim=1)[:, : self.settings["batch"]]

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.settings["latent"], device=self.device)


def _names(settings: dict) -> tuple[str, ...]:
    return ("critic", "realism", "divergence", "evidence", *LOSSES[settings["privacy"]])


def _vae(settings: dict) -> VAE:
    shape = {key: settings[key] for key in ("image_size", "kernel", "width", "latent", "dropout")}
    return VAE(**shape, as_published="variance" in settings["as_published"])


def _critic(settings: dict) -> Critic:
    return Critic(settings["image_size"], settings["kernel"], settings["width"])


def _trained(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> VAE:
    best = {name: value for name, value in under("best", tensors).items() if name != "score"}
    return restored(lambda: _vae(settings), "vae", {f"vae.{name}": v for name, v in best.items()} or tensors, device)
