"""Model selection: which epoch's weights a training returns.

The best on the validation images, among equals the lower validation loss, then the earlier epoch; no early stopping.
For two classes by the average precision of class 1 (Osuala et al. 2024, spec §5), for any number by
the balanced accuracy (Sun et al. 2021, spec §6.3).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.statistics.roc import auprc
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import changing, predict_logits

SELECTIONS = ("auprc", "last", "balanced_accuracy")


@dataclass
class History:
    """The course of a training: one entry an epoch, and the epoch whose weights were kept, counted from 1.

    Of the two scores the one that the selection looked at is filled (see `Selection.measure`).
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_auprc: list[float] = field(default_factory=list)
    validation_balanced_accuracy: list[float] = field(default_factory=list)
    selected: int = 0


class Selection:
    """Evaluates each epoch on the `validation` examples and keeps the weights of the best.

    `rule`: "auprc", "balanced_accuracy", or "last" for no choice. `batch` images are evaluated at a time; with
    `batch_statistics` as in `predict_logits`. `measure`: the score of the history, which for "last" is "auprc" where
    the labels are 0 and 1. ValueError for an unknown rule, or unless images of both classes, for balanced accuracy of
    all the network's classes, occur.
    """

    def __init__(
        self,
        rule: str,
        validation: DeviceDataset,
        *,
        batch: int,
        label_smoothing: float,
        batch_statistics: bool = False,
    ):
        if rule not in SELECTIONS:
            raise ValueError(f"unknown selection {rule!r}: choose one of {', '.join(SELECTIONS)}")
        self.rule, self.examples, self.batch, self.smoothing = rule, validation, batch, label_smoothing
        self.batch_statistics = batch_statistics
        self.labels = validation.labels.cpu().numpy()
        present = sorted(set(self.labels.tolist()))
        binary = present == [0, 1]
        self.measure = "balanced_accuracy" if rule == "balanced_accuracy" or rule == "last" and not binary else "auprc"
        if self.measure == "auprc" and not binary:
            raise ValueError(
                f"The validation labels hold only {present}: selection by average precision "
                "needs images of both classes, 0 and 1."
            )
        if len(present) < 2:
            raise ValueError(f"The validation labels hold only {present}: give images of every class.")
        self.weights: dict[str, Tensor] = {}

    def evaluate(self, network: nn.Module, history: History, *, eligible: bool = True) -> None:
        """Append the epoch's validation loss and score; keep the weights if it is `eligible` and best.

        The loss carries the label smoothing of the training. ValueError when an output is not finite.
        """
        logits = predict_logits(network, self.examples, batch=self.batch, batch_statistics=self.batch_statistics)
        if self.measure == "balanced_accuracy":
            self._check_classes(logits.shape[1])
        loss = float(F.cross_entropy(logits, self.examples.labels, label_smoothing=self.smoothing))
        if not torch.isfinite(logits).all():
            raise ValueError(f"The training diverged in epoch {len(history.loss)}: lower the learning rate.")
        score, scores = self._score(logits), self.scores(history)
        history.validation_loss.append(loss)
        scores.append(score)
        if not eligible:
            return
        best = history.selected - 1
        if self.rule == "last" or best < 0 or (score, -loss) > (scores[best], -history.validation_loss[best]):
            history.selected = len(scores)
            self.weights = {name: value.detach().clone() for name, value in changing(network).items()}

    def scores(self, history: History) -> list[float]:
        """The list of `history` that holds this selection's `measure`."""
        return history.validation_auprc if self.measure == "auprc" else history.validation_balanced_accuracy

    def _score(self, logits: Tensor) -> float:
        if self.measure == "auprc":
            return float(auprc(self.labels, logits.softmax(1)[:, 1].cpu().numpy()))
        hits = self.labels == logits.argmax(1).cpu().numpy()
        return float((np.bincount(self.labels, hits) / np.bincount(self.labels)).mean())

    def _check_classes(self, classes: int) -> None:
        counts = np.bincount(self.labels, minlength=classes)
        if len(counts) > classes or (counts == 0).any():
            raise ValueError(
                f"The validation labels hold the classes {np.flatnonzero(counts).tolist()}: balanced accuracy needs "
                f"images of each of the {classes} classes of the model, and of no other."
            )
