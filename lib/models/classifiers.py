"""The classifiers that notebooks ask for by name, whole or with a frozen encoder, from scratch or warm."""

from torch import nn

from lib.models.small_cnn import SmallCNN
from lib.models.swin import swin_classifier
from lib.paper import root
from lib.seeding import initialising

CLASSIFIERS = ("small_cnn", "swin")
SWIN_WEIGHTS = "swin_t-704ceda3.pth"


def classifier(name: str, *, variant: str = "whole", seed: int, start: nn.Module | None = None) -> nn.Module:
    """A two-class network (n, 1, s, s) -> (n, 2) logits. Swin sees crops up-sampled to 224 pixels, in three channels.

    name: "small_cnn", or "swin", the Swin-T whose ImageNet weights are read from data/weights. variant: "whole",
    everything is trained; "frozen_linear", only a linear head is; "frozen_two_layer" (swin), only a new two-layer
    head is. start: a trained "whole" classifier to continue from; otherwise weights are drawn from `seed`.
    ValueError for another name or variant, FileNotFoundError where the ImageNet weights are absent.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {name!r}: choose one of {', '.join(CLASSIFIERS)}")
    state = None if start is None else start.state_dict()
    with initialising(seed, "classifier"):
        if name == "swin":
            weights = state or root() / "data" / "weights" / SWIN_WEIGHTS
            return swin_classifier(variant, weights=weights, input_size=224)
        model = SmallCNN()
    if variant not in ("whole", "frozen_linear"):
        raise ValueError(f"unknown variant {variant!r} of small_cnn: choose whole or frozen_linear")
    if state is not None:
        model.load_state_dict(state)
    model.layers.requires_grad_(variant == "whole")
    return model
