"""The classifiers that notebooks ask for by name, whole or with a frozen encoder, from scratch or warm."""

from torch import nn

from lib.core.paths import root
from lib.core.seeding import initialising
from lib.models.classifiers import densenet
from lib.models.classifiers.small_cnn import SmallCNN
from lib.models.classifiers.swin import swin_classifier
from lib.models.classifiers.wide_resnet import WideResNet50
from lib.models.pretrained.weights import rehearsed_without

CLASSIFIERS = ("small_cnn", "swin", "densenet", "wide_resnet")
SWIN_WEIGHTS = "swin_t-704ceda3.pth"


def classifier(
    name: str,
    *,
    variant: str = "whole",
    classes: int = 2,
    channels: int = 1,
    seed: int,
    start: nn.Module | None = None,
) -> nn.Module:
    """A network (n, channels, s, s) -> (n, classes) logits. Swin and DenseNet resize images to 224 pixels.

    name: "small_cnn", "wide_resnet" (Wide ResNet-50, from scratch), or "swin" (Swin-T) or "densenet" (DenseNet-121),
    whose ImageNet weights are read from data/weights. variant: "whole", everything is trained; "frozen_linear" (swin,
    small_cnn), only a linear head is; "frozen_two_layer" (swin), only a new two-layer head is. start: a trained
    "whole" classifier to continue from; otherwise weights are drawn from `seed`. channels: of the images, 1, or 3 of
    "small_cnn" and "wide_resnet".
    ValueError for another name, variant or number of channels, FileNotFoundError where the ImageNet weights are absent.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {name!r}: choose one of {', '.join(CLASSIFIERS)}")
    if channels not in ((1, 3) if name in ("small_cnn", "wide_resnet") else (1,)):
        raise ValueError(f"{name} does not take images of {channels} channels: give grey ones, or another classifier")
    state = None if start is None else start.state_dict()
    with initialising(seed, "classifier"):
        if name == "swin":
            published = root() / "data" / "weights" / SWIN_WEIGHTS
            weights = state or (None if rehearsed_without(published) else published)
            return swin_classifier(variant, classes=classes, weights=weights, input_size=224)
        if name == "small_cnn":
            model: nn.Module = SmallCNN(classes, channels)
        else:
            model = {"densenet": densenet.DenseNet, "wide_resnet": WideResNet50}[name](classes)
    variants = ("whole", "frozen_linear") if name == "small_cnn" else ("whole",)
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r} of {name}: choose {' or '.join(variants)}")
    if state is not None:
        model.load_state_dict(state)
    elif isinstance(model, densenet.DenseNet):
        published = root() / "data" / "weights" / densenet.WEIGHTS
        return model if rehearsed_without(published) else densenet.load_imagenet(model, published)
    if variant == "frozen_linear":
        model.layers.requires_grad_(False)
    return model
