"""Wide ResNet-50-2: the classifier of identities, of diagnoses and of the task (Pennisi et al. 2023, spec §4.1).

Zagoruyko and Komodakis 2016, in the arrangement and with the parameter names of torchvision's `wide_resnet50_2`, whose
ImageNet weights load through `load_imagenet`. `width` scales every layer; 64 is the original.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core.paths import root
from lib.models.pretrained.weights import read_weights

WEIGHTS = "wide_resnet50_2-95faca4d.pth"
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue, in [0, 1]
_EXPANSION = 4


class WideResNet50(nn.Module):
    """(n, 1 or 3, h, w) float images in [-1, 1] -> (n, classes) logits; 66,834,240 + 2,049 · classes parameters.

    7x7 convolution of stride 2, 3x3 maximum of stride 2, stages of 3, 4, 6, 3 bottlenecks with `width` * 2, 4, 8, 16
    inner and twice as many outer channels, mean over positions, Linear. One grey channel is used three times. As in
    the released code nothing is normalised; `imagenet` does so by ImageNet's mean and SD, as its weights need.
    ValueError for images of another shape.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, classes: int = 2, *, width: int = 64, imagenet: bool = False):
        super().__init__()
        self.imagenet = imagenet
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, blocks in enumerate((3, 4, 6, 3)):
            planes, chain = width << stage, []
            for block in range(blocks):
                chain.append(_Bottleneck(inputs, planes, 2 if stage and not block else 1))
                inputs = _EXPANSION * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*chain))
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) -> (n, 32 * width): what the last layer receives."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"Wide ResNet takes (n, 1 or 3, h, w) images in [-1, 1], not {tuple(images.shape)}.")
        if self.imagenet:
            mean, sd = (images.new_tensor(values).view(-1, 1, 1) for values in (_MEAN, _SD))
            images = ((images + 1) / 2 - mean) / sd
        images = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside the identity, or beside a 1x1 one where size or channels change."""

    def __init__(self, inputs: int, planes: int, stride: int):
        super().__init__()
        inner, outputs = 2 * planes, _EXPANSION * planes  # "wide": ResNet-50 has `planes` inside
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        beside = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)).add_(beside), inplace=True)


def load_imagenet(model: WideResNet50, path=None) -> WideResNet50:
    """Put torchvision's ImageNet weights, from `path` or data/weights/, into `model`; their head is used if it fits.

    FileNotFoundError that says where the file comes from; ValueError for a damaged file, for weights that do not
    fit, and for a model that was not made with imagenet=True: it would see images of another mean and SD.
    """
    path = Path(path) if path is not None else root() / "data" / "weights" / WEIGHTS
    if not model.imagenet:
        raise ValueError("ImageNet weights need images normalised as ImageNet's: make WideResNet50(imagenet=True)")
    if not path.exists():
        raise FileNotFoundError(
            f"There are no Wide ResNet-50 weights at {path}: download torchvision's "
            "Wide_ResNet50_2_Weights.IMAGENET1K_V1 from "
            f"https://download.pytorch.org/models/{WEIGHTS} into data/weights/."
        )
    stored, own = read_weights(path), model.state_dict()
    head = {key for key in ("fc.weight", "fc.bias") if key not in stored or stored[key].shape != own[key].shape}
    if head:
        stored |= {key: own[key] for key in ("fc.weight", "fc.bias")}
    counters = {key: torch.zeros_like(value) for key, value in own.items() if key.endswith("num_batches_tracked")}
    stored = counters | stored
    wrong = sorted(own.keys() ^ stored.keys())
    wrong += sorted(key for key in own.keys() & stored.keys() if own[key].shape != stored[key].shape)
    if wrong:
        raise ValueError(
            f"The weights in {path} are not this Wide ResNet's: {len(wrong)} keys differ, the first is {wrong[0]}; "
            f"give torchvision's {WEIGHTS}."
        )
    model.load_state_dict(stored)
    return model
