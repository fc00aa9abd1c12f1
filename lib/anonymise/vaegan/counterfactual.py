"""A second decoder that draws the anonymised image with the opposite finding, and changes nothing outside the mask.

Montenegro et al. 2021, spec §4.5 and §5.1. It learns in a stage of its own, encoder and first decoder frozen: the
released switch within one run changes the frozen networks and not the new one (spec §7, D8). Realism, privacy and
divergence have no part in it: they come with the anonymised image, whose latent numbers it shares.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.guidance import FrozenClassifier
from lib.anonymise.vaegan.losses import background_mse, opposite_finding, soft_cross_entropy
from lib.anonymise.vaegan.masked_images import Masks, checked_cases
from lib.core import seeding
from lib.models.gan.vaegan import VAE, Decoder
from lib.training.loop.dataset import DeviceDataset, check_batch
from lib.training.loop.placement import placed
from lib.training.loop.resume import weights_digest
from lib.training.loop.trainer import Trainer, finished_training, restored, run_training

STARTS = ("factual", "random")


def train_counterfactual(
    model: VAE,  # from `lib.anonymise.vaegan.pp_vaegan.train_pp_vaegan`; it is not changed
    images,  # images, masks: as for `train_pp_vaegan`
    masks,
    *,
    finding: nn.Module,  # a trained classifier of two findings, copied and frozen
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,
    batch: int = 64,
    finding_weight: float = 1.0,  # of the cross-entropy to the finding that is less likely of the original
    background_weight: float = 1.0,  # of the mean squared difference outside the masks, on [-1, 1]
    start: str = "factual",  # a copy of the model's decoder, or "random"
    summed: bool = False,  # the sum over the batch instead of that mean, as in the released code (spec §7, D14)
    learning_rate: float = 2e-5,
    betas: tuple = (0.9, 0.999),
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> Decoder:
    """Train the counterfactual decoder of `model`, or finish or fetch the one in folder `path`; in eval mode.

    To draw, give the result to `lib.anonymise.vaegan.pp_vaegan.anonymise` as decoder=. Checkpoints, exact resuming,
    save_seconds and progress: see `lib.training.loop.trainer`. ValueError for input that does not fit, an unknown
    start, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, None, device=device)
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}: choose one of {', '.join(STARTS)}")
    check_batch(batch, examples)
    settings = {
        "model": "counterfactual", "version": CounterfactualTrainer.version,
        "shape": model.shape, "steps": steps, "batch": batch,
        "finding_weight": finding_weight, "background_weight": background_weight, "start": start, "summed": summed,
        "learning_rate": learning_rate, "betas": betas, "precision": precision, "seed": seed,
        "data": examples.digest, "masks": regions.digest, "factual": weights_digest(model),
        "finding": weights_digest(finding),
    }  # fmt: skip
    tensors = run_training(
        lambda: CounterfactualTrainer(model, examples, regions, finding, settings, device), name="counterfactual",
        path=path, settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _decoder(tensors, settings, device)


def load_counterfactual(path, *, device: torch.device | None = None) -> Decoder:
    """The decoder of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _decoder(
        *finished_training(path, "counterfactual decoder", model="counterfactual"), device or seeding.device()
    )


class CounterfactualTrainer(Trainer):
    """The new decoder and its optimiser; what the frozen networks say of each training image is computed once."""

    stream = "counterfactual"

    def __init__(
        self,
        model: VAE,
        examples: DeviceDataset,
        regions: Masks,
        finding: nn.Module,
        settings: dict,
        device: torch.device,
    ):
        super().__init__(settings, device)
        self.regions = regions
        self.model = placed(copy.deepcopy(model), device).requires_grad_(False).eval()
        with torch.no_grad():
            parts = [slice(i, i + 256) for i in range(0, len(examples), 256)]
            codes = [self.model.encoder(examples.inputs(part), regions.inputs(part)) for part in parts]
        self.mean, self.log_variance = (torch.cat(code) for code in zip(*codes, strict=True))
        self.finding = FrozenClassifier(finding, examples)
        self.wanted = opposite_finding(self.finding.of(slice(None)).softmax(dim=1))
        with self.initialising():
            self.decoder = self.place(_build(settings))
        if settings["start"] == "factual":
            self.decoder.load_state_dict(self.model.decoder.state_dict())
        self.networks = {"decoder": self.decoder}
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimisers = {"decoder": torch.optim.Adam(self.decoder.parameters(), **options)}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One update; both losses, unweighted."""
        order = torch.rand(len(self.mean), device=self.device, generator=self.random).argsort()
        rows = order[: self.settings["batch"]]
        noise = torch.randn(self.mean[rows].shape, device=self.device, generator=self.random)
        latents = self.model.sample(self.mean[rows], self.log_variance[rows], noise)
        with self.autocast():
            with torch.no_grad():
                factual = self.model.decoder(latents).float()
            drawn = self.decoder(latents).float()
            found = soft_cross_entropy(self.wanted[rows], self.finding(drawn))
        changed = background_mse(factual, drawn, self.regions.inputs(rows), summed=self.settings["summed"])
        loss = self.settings["finding_weight"] * found + self.settings["background_weight"] * changed
        self.minimise("decoder", loss)
        return {"finding": found.detach(), "background": changed.detach()}


def _build(settings: dict) -> Decoder:
    return Decoder(**settings["shape"])


def _decoder(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Decoder:
    return restored(lambda: _build(settings), "decoder", tensors, device)
