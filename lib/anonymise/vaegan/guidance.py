"""The auxiliary losses of an anonymisation: frozen classifiers say whether the finding is kept and the identity lost.

Montenegro et al. 2021, spec §5.1. There are three kinds of privacy. "posterior" (PP-MIR): the posterior of an identity
classifier is pulled towards uniform. "distance" (PP-SIR): in an identity embedding, the anonymised image is pushed away
from one image of every patient and from its own original. "none": a plain VAE-GAN. The classifiers are in eval mode, so
that their outputs on the training images are computed once and not in every step.
"""

import copy

import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.losses import margin_loss, soft_cross_entropy, uniform_targets
from lib.models.classifiers.identity import distances, paired_distances
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import predict_logits
from lib.training.loop.placement import placed

# The auxiliary losses by the kind of privacy.
LOSSES = {"posterior": ("finding", "privacy"), "distance": ("finding", "privacy", "source"), "none": ("finding",)}


class FrozenClassifier:
    """A frozen copy of `network`, images -> outputs (n, k), on the device of `examples`, and its outputs on those.

    training_mode: with batch statistics and dropout, as the released code ran under TensorFlow 1; then no two passes
    agree, and nothing is computed ahead.
    """

    def __init__(self, network: nn.Module, examples: DeviceDataset, *, training_mode: bool = False):
        self.network = placed(copy.deepcopy(network), examples.values.device).requires_grad_(False)
        self.examples = examples
        self._known = None if training_mode else predict_logits(self.network, examples, batch=256).clone()
        self.network.train(training_mode)

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images).float()

    @torch.no_grad()
    def of(self, rows: Tensor | slice) -> Tensor:
        """The outputs on the examples `rows`."""
        return self(self.examples.inputs(rows)) if self._known is None else self._known[rows]


class AuxiliaryLosses:
    """The losses by both classifiers of anonymised images of `examples`, whose labels are identities.

    `networks`: the frozen classifiers, "finding" and, where there is one, "identity".
    ValueError for an unknown privacy, a missing classifier, or identities that are not all of 0 … P − 1.
    """

    def __init__(
        self,
        privacy: str,  # a key of `LOSSES`
        *,
        finding: nn.Module,  # -> logits of findings
        identity: nn.Module | None,  # -> logits of people for "posterior", points for "distance", None for "none"
        examples: DeviceDataset,
        margin: float = 1.0,  # of the distances
        noisy_targets: bool = True,  # see `uniform_targets`
        inert: bool = False,  # the released loss of the distance to everybody, 0 whatever is drawn (spec §7, D5)
        training_mode: bool = False,  # see `FrozenClassifier`
    ):
        if privacy not in LOSSES:
            raise ValueError(f"unknown privacy {privacy!r}: choose one of {', '.join(LOSSES)}")
        if (identity is None) != (privacy == "none"):
            wanted = "takes no" if privacy == "none" else "needs an"
            raise ValueError(f"privacy {privacy!r} {wanted} identity classifier")
        self.privacy, self.margin, self.noisy, self.inert = privacy, margin, noisy_targets, inert
        self.finding = FrozenClassifier(finding, examples, training_mode=training_mode)
        self.networks = {"finding": self.finding.network}
        if identity is None:
            return
        self.identity = FrozenClassifier(identity, examples, training_mode=training_mode)
        self.networks["identity"] = self.identity.network
        counts = torch.bincount(examples.labels)
        if privacy == "posterior" and len(counts) > (known := self.identity(examples.inputs(slice(0, 1))).shape[1]):
            raise ValueError(f"Identities reach {len(counts) - 1}, but the classifier knows {known}: train it on all.")
        if privacy == "distance":
            if missing := counts.eq(0).nonzero().flatten().tolist():
                raise ValueError(f"Identities {missing} have no training image: number those that have from 0.")
            self.by_person, self.counts = examples.labels.argsort(stable=True), counts
            self.starts = counts.cumsum(0) - counts

    def of_examples(self, drawn: Tensor, rows: Tensor, *, noisy: bool | None = None) -> dict[str, Tensor]:
        """The `LOSSES` of images (n, 1, s, s) anonymised from the examples `rows`; draws from torch's generator."""
        source = self.identity.of(rows) if self.privacy == "distance" else None
        return self._losses(drawn, self.finding.of(rows), source, self.noisy if noisy is None else noisy)

    def of_images(self, drawn: Tensor, original: Tensor) -> dict[str, Tensor]:
        """The `LOSSES` of images (n, 1, s, s) anonymised from other images `original`, with exact targets."""
        source = self.identity(original) if self.privacy == "distance" else None
        return self._losses(drawn, self.finding(original), source, noisy=False)

    def _losses(self, drawn: Tensor, finding: Tensor, source: Tensor | None, noisy: bool) -> dict[str, Tensor]:
        """From the logits (n, findings) and, for "distance", the points (n, d) of the originals."""
        losses = {"finding": soft_cross_entropy(finding.softmax(dim=1), self.finding(drawn))}
        if self.privacy == "posterior":
            logits = self.identity(drawn)
            draw = torch.rand(logits.shape, device=drawn.device) if noisy else None
            losses["privacy"] = soft_cross_entropy(uniform_targets(*logits.shape, draw=draw).to(logits), logits)
        elif source is not None:
            points = self.identity(drawn)
            apart = distances(points, self.identity.of(self._anchors()))
            losses["privacy"] = margin_loss(apart, margin=self.margin)
            if self.inert:
                losses["privacy"] = soft_cross_entropy(torch.zeros_like(apart), apart)
            losses["source"] = margin_loss(paired_distances(points, source), margin=self.margin)
        return losses

    def _anchors(self) -> Tensor:
        """The row of one training image of each person, at random."""
        draw = torch.rand(len(self.counts), device=self.counts.device)
        return self.by_person[self.starts + (draw * self.counts).long()]
