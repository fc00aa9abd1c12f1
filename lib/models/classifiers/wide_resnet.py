"""Wide ResNet-50-2: the classifier of identities, of diagnoses and of the task (Pennisi et al. 2023, spec §4.1).

Zagoruyko and Komodakis 2016, in the arrangement and with the parameter names of torchvision's `wide_resnet50_2`.
`width` scales every layer; 64 is the original.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EXPANSION = 4


class WideResNet50(nn.Module):
    """(n, 1 or 3, h, w) float images in [-1, 1] -> (n, classes) logits; 66,834,240 + 2,049 · classes parameters.

    7x7 convolution of stride 2, 3x3 maximum of stride 2, stages of 3, 4, 6, 3 bottlenecks with `width` * 2, 4, 8, 16
    inner and twice as many outer channels, mean over positions, Linear. One grey channel is used three times. As in
    the released code the images are not normalised. ValueError for images of another shape.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, classes: int = 2, *, width: int = 64):
        super().__init__()
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
