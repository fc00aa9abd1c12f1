"""A second decoder that draws the anonymised case with the opposite finding, and changes nothing outside the mask.

Montenegro et al. 2021, spec §4.5 and §5.1. It learns in a stage of its own, encoder and first decoder frozen: the
released switch within one run changes the frozen networks and not the new one (spec §7, D8). Realism, privacy and
divergence have no part in it; the anonymised case, whose latent numbers it shares, brings them along.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.guidance import Guide
from lib.anonymise.vaegan.losses import background_mse, opposite_finding, soft_cross_entropy
from lib.anonymise.vaegan.masked_images import checked_cases
from lib.core import seeding
from lib.models.gan.vaegan import VAE, Decoder
from lib.training.loop.resume import weights_digest
from lib.training.loop.trainer import finished_training, run_training

STARTS = ("factual", "random")


def train_counterfactual(
    model: VAE, images, masks, *, finding: nn.Module, path, seed: int, steps: int, batch: int = 64,
    finding_weight: float = 1.0, surroundings_weight: float = 1.0, start: str = "factual", summed: bool = False,
    learning_rate: float = 2e-5, betas: tuple = (0.9, 0.999), precision: str = "float32",
    device: torch.device | None = None, save_seconds: float = 60.0, progress: Callable | None = None,
) -> Decoder:  # fmt: skip
    """Train the counterfactual decoder of `model`, or finish or fetch the one in folder `path`; in eval mode.

    images, masks: as for `lib.anonymise.vaegan.pp_vaegan.train_pp_vaegan`; `model`, from there, is not changed.
    finding: a trained classifier of two findings, copied and frozen; each image shall get the one that it thinks less
    likely of the original. surroundings_weight: of the mean squared difference from the anonymised case outside the
    masks, on [-1, 1], or with `summed` of its sum over the batch, as in the released code (spec §7, D14). start:
    "factual", a copy of the model's decoder, or "random". To draw, give the result to
    `lib.anonymise.vaegan.pp_vaegan.anonymise` as decoder=. The rest, resuming included, is as for `train_pp_vaegan`.
    ValueError for input that does not fit, an unknown start, or divergence.
    """
    device = device or seeding.device()
    examples, regions = checked_cases(images, masks, None, device=device)
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}: choose one of {', '.join(STARTS)}")
    if batch > len(examples):
        raise ValueError(f"The batch is {batch} of {len(examples)} training images: give at most as many.")
    settings = {
        "model": "counterfactual", "shape": model.shape, "steps": steps, "batch": batch,
        "finding_weight": finding_weight, "surroundings_weight": surroundings_weight, "start": start, "summed": summed,
        "learning_rate": learning_rate, "betas": betas, "precision": precision, "seed": seed,
        "data": examples.digest, "masks": regions.digest, "factual": weights_digest(model),
        "finding": weights_digest(finding),
    }  # fmt: skip
    tensors = run_training(
        lambda: _Training(model, examples, regions, Guide(finding, examples), settings, device), name="counterfactual",
        path=path, settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _decoder(tensors, settings, device)


def load_counterfactual(path, *, device: torch.device | None = None) -> Decoder:
    """The decoder of the finished training in folder `path`, in eval mode, whatever its settings.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _decoder(*finished_training(path, "counterfactual decoder"), device or seeding.device())


class _Training:
    """The new decoder and its optimiser; what the frozen networks say of each training image is computed once."""

    def __init__(self, model: VAE, examples, regions, guide: Guide, settings: dict, device: torch.device):
        self.settings, self.device, self.guide, self.regions = settings, device, guide, regions
        self.model = copy.deepcopy(model).to(device).requires_grad_(False).eval()
        with torch.no_grad():
            parts = [slice(i, i + 256) for i in range(0, len(examples), 256)]
            codes = [self.model.encoder(examples.inputs(part), regions.inputs(part)) for part in parts]
        self.mean, self.log_variance = (torch.cat(code) for code in zip(*codes, strict=True))
        self.wanted = opposite_finding(guide.outputs.softmax(dim=1))
        with seeding.initialising(settings["seed"], "counterfactual"):
            self.decoder = Decoder(**settings["shape"]).to(device)
        if settings["start"] == "factual":
            self.decoder.load_state_dict(self.model.decoder.state_dict())
        self.decoder.train()
        options = {"lr": settings["learning_rate"], "betas": settings["betas"], "fused": True}
        self.optimiser = torch.optim.Adam(self.decoder.parameters(), **options)
        self.random = torch.Generator(device)

    def step(self, step: int) -> dict[str, Tensor]:
        self.random.manual_seed(seeding.seed_of(self.settings["seed"], "counterfactual", "step", step))
        order = torch.rand(len(self.mean), device=self.device, generator=self.random).argsort()
        rows = order[: self.settings["batch"]]
        noise = torch.randn(self.mean[rows].shape, device=self.device, generator=self.random)
        latents = self.model.sample(self.mean[rows], self.log_variance[rows], noise)
        with seeding.autocast(self.device, self.settings["precision"]):
            with torch.no_grad():
                factual = self.model.decoder(latents).float()
            drawn = self.decoder(latents).float()
            found = soft_cross_entropy(self.wanted[rows], self.guide(drawn))
        masks = self.regions.inputs(rows)
        changed = background_mse(factual, drawn, masks, summed=self.settings["summed"])
        loss = self.settings["finding_weight"] * found + self.settings["surroundings_weight"] * changed
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"finding": found.detach(), "surroundings": changed.detach()}

    def tensors(self) -> dict[str, Tensor]:
        return self.decoder.state_dict()

    def state(self) -> dict:
        return {"optimiser": self.optimiser.state_dict()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        self.decoder.load_state_dict(tensors)
        self.optimiser.load_state_dict(state["optimiser"])


def _decoder(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Decoder:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        decoder = Decoder(**settings["shape"])
    decoder.load_state_dict(tensors)
    return decoder.to(device).eval()
