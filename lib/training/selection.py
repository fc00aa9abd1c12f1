"""Model selection: which epoch's weights a training hands over.

As Osuala et al. 2024 (§5 of the specification): the best average precision of class 1 (benign) on the validation
images; among equals the lower validation loss, then the earlier epoch. No early stopping.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.metrics.utility import auprc
from lib.training.batches import Examples

SELECTIONS = ("auprc", "last")


@dataclass
class History:
    """What a training went through: one entry an epoch, and the epoch whose weights were kept, counted from 1."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_auprc: list[float] = field(default_factory=list)
    selected: int = 0


class Selection:
    """Judges each epoch on the `validation` examples and keeps the weights of the best.

    `rule`: "auprc", or "last" for no choice. `batch` images are judged at a time. ValueError for an unknown rule,
    or unless the validation labels are 0 and 1 and both occur.
    """

    def __init__(self, rule: str, validation: Examples, *, batch: int, label_smoothing: float):
        if rule not in SELECTIONS:
            raise ValueError(f"unknown selection {rule!r}: choose one of {', '.join(SELECTIONS)}")
        self.rule, self.examples, self.batch, self.smoothing = rule, validation, batch, label_smoothing
        self.labels = validation.labels.cpu().numpy()
        if set(self.labels.tolist()) != {0, 1}:
            raise ValueError(
                f"The validation labels hold only {sorted(set(self.labels.tolist()))}: selection by average precision "
                "needs images of both classes, 0 and 1."
            )
        self.weights: dict[str, Tensor] = {}

    def judge(self, network: nn.Module, history: History, *, eligible: bool = True) -> None:
        """Append the epoch's validation loss and average precision; keep the weights if it is `eligible` and best.

        The loss carries the label smoothing of the training. ValueError when an output is not finite.
        """
        logits = logits_of(network, self.examples, batch=self.batch)
        loss = float(F.cross_entropy(logits, self.examples.labels, label_smoothing=self.smoothing))
        if not torch.isfinite(logits).all():
            raise ValueError(f"The training diverged in epoch {len(history.loss)}: lower the learning rate.")
        score = auprc(self.labels, logits.softmax(1)[:, 1].cpu().numpy())
        history.validation_loss.append(loss)
        history.validation_auprc.append(score)
        if not eligible:
            return
        best = history.selected - 1
        if (
            self.rule == "last"
            or best < 0
            or (score, -loss) > (history.validation_auprc[best], -history.validation_loss[best])
        ):
            history.selected = len(history.validation_auprc)
            self.weights = {name: value.detach().clone() for name, value in changing(network).items()}


def changing(network: nn.Module) -> dict[str, Tensor]:
    """The part of the state that training changes: everything but frozen parameters."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def training_mode(network: nn.Module) -> None:
    """Training mode for what is trained; parts whose parameters are all frozen stay in eval mode."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


@torch.inference_mode()
def logits_of(network: nn.Module, examples: Examples, *, batch: int) -> Tensor:
    """Logits (n, classes) float32 of the examples as they are, `batch` at a time; leaves `network` in eval mode."""
    network.eval()
    parts = [network(examples.inputs(slice(i, i + batch))) for i in range(0, len(examples), batch)]
    return torch.cat(parts).float()
