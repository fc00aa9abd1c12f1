"""The frozen classifiers that guide how a case is anonymised: what is found must stay, who it is must go.

Montenegro et al. 2021, spec §5.1. Who it is, is asked in one of two ways: of a classifier of many
people, whose posterior shall name nobody ("posterior", PP-MIR), or of an embedding, in which the anonymised image shall
be far from an image of everybody and from its own original ("distance", PP-SIR); or not at all ("none", a plain
VAE-GAN). Classifiers are in eval mode, so what they say of the training images is computed once and not in every step.
"""

import copy

import torch
from torch import Tensor, nn

from lib.anonymise.vaegan.losses import margin_loss, soft_cross_entropy, uniform_targets
from lib.models.classifiers.identity import distances, paired_distances
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import predict_logits

PRIVACIES = ("posterior", "distance", "none")
TERMS = {"posterior": ("finding", "privacy"), "distance": ("finding", "privacy", "source"), "none": ("finding",)}


class Guide:
    """A frozen copy of `network`, images -> outputs (n, k), on the device of `examples`, and its outputs on those.

    training_mode: with batch statistics and dropout, as the released code ran under TensorFlow 1; then no two passes
    agree, and nothing is computed ahead.
    """

    def __init__(self, network: nn.Module, examples: DeviceDataset, *, training_mode: bool = False):
        self.network = copy.deepcopy(network).to(examples.values.device).requires_grad_(False)
        self.examples = examples
        self.outputs = None if training_mode else predict_logits(self.network, examples, batch=256).clone()
        self.network.train(training_mode)

    def __call__(self, images: Tensor) -> Tensor:
        return self.network(images).float()

    @torch.no_grad()
    def of(self, rows: Tensor) -> Tensor:
        """The outputs on the examples `rows`."""
        return self(self.examples.inputs(rows)) if self.outputs is None else self.outputs[rows]


class AuxiliaryLosses:
    """What both classifiers ask of anonymised images of `examples`, whose labels are identities.

    finding: -> logits of findings; identity: -> logits of people for "posterior", points for "distance", None for
    "none". margin: of the distances. noisy_targets: see `uniform_targets`. inert: the released term of "distance" to
    everybody in its counterfactual script, a cross-entropy to targets of 0, which is 0 whatever is drawn (spec §7, D5).
    ValueError for an unknown privacy, a missing classifier, or identities that are not all of 0 … P − 1.
    """

    def __init__(
        self, privacy: str, *, finding: nn.Module, identity: nn.Module | None, examples: DeviceDataset, margin: float = 1.0,
        noisy_targets: bool = True, inert: bool = False, training_mode: bool = False,
    ):  # fmt: skip
        if privacy not in PRIVACIES:
            raise ValueError(f"unknown privacy {privacy!r}: choose one of {', '.join(PRIVACIES)}")
        if (identity is None) != (privacy == "none"):
            wanted = "takes no" if privacy == "none" else "needs an"
            raise ValueError(f"privacy {privacy!r} {wanted} identity classifier")
        self.privacy, self.margin, self.noisy, self.inert = privacy, margin, noisy_targets, inert
        self.finding = Guide(finding, examples, training_mode=training_mode)
        self.identity = Guide(identity, examples, training_mode=training_mode) if identity is not None else None
        counts = torch.bincount(examples.labels)
        if privacy == "posterior" and len(counts) > (known := self.identity(examples.inputs(slice(0, 1))).shape[1]):
            raise ValueError(f"Identities reach {len(counts) - 1}, but the classifier knows {known}: train it on all.")
        if privacy == "distance":
            if missing := counts.eq(0).nonzero().flatten().tolist():
                raise ValueError(f"Identities {missing} have no training image: number those that have from 0.")
            self.by_person, self.counts = examples.labels.argsort(stable=True), counts
            self.starts = counts.cumsum(0) - counts

    def terms(self, drawn: Tensor, rows: Tensor, *, noisy: bool | None = None) -> dict[str, Tensor]:
        """The losses `TERMS` of images (n, 1, s, s) anonymised from the examples `rows`; draws from torch's
        generator."""
        return self.terms_of(
            drawn, self.finding.of(rows), self.identity.of(rows) if self.privacy == "distance" else None,
            noisy=self.noisy if noisy is None else noisy,
        )  # fmt: skip

    def terms_of(self, drawn: Tensor, finding: Tensor, source: Tensor | None, *, noisy: bool) -> dict[str, Tensor]:
        """The same from the logits (n, findings) and, for "distance", points (n, d) of the originals."""
        terms = {"finding": soft_cross_entropy(finding.softmax(dim=1), self.finding(drawn))}
        if self.privacy == "posterior":
            logits = self.identity(drawn)
            draw = torch.rand(logits.shape, device=drawn.device) if noisy else None
            terms["privacy"] = soft_cross_entropy(uniform_targets(*logits.shape, draw=draw).to(logits), logits)
        elif self.privacy == "distance":
            points = self.identity(drawn)
            apart = distances(points, self.identity.of(self._anchors()))
            terms["privacy"] = margin_loss(apart, margin=self.margin)
            if self.inert:
                terms["privacy"] = soft_cross_entropy(torch.zeros_like(apart), apart)
            terms["source"] = margin_loss(paired_distances(points, source), margin=self.margin)
        return terms

    def _anchors(self) -> Tensor:
        """The row of one training image of each person, at random."""
        draw = torch.rand(len(self.counts), device=self.counts.device)
        return self.by_person[self.starts + (draw * self.counts).long()]
