"""ResNet-18, the region classifier of Sun et al. 2021 (spec §4).

He et al. 2016, in the arrangement and with the parameter names of torchvision's `resnet18`, whose weights load by
`load_state_dict`. `width` scales every layer; 64 is the original.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResNet18(nn.Module):
    """(n, channels, h, w) float images -> (n, classes) logits; 11,196,867 parameters as published (9, 3, 64).

    7x7 convolution of stride 2, 3x3 maximum of stride 2, four stages of two blocks with `width` * 1, 2, 4, 8
    channels (the last three begin with stride 2), mean over positions, Linear.
    """

    def __init__(self, channels: int = 9, classes: int = 3, width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, images: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, 8 * width): what the last layer receives."""
        images = images.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


class _Block(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 convolution where size or channels change."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        beside = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(y)).add_(beside), inplace=True)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, stride), _Block(outputs, outputs, 1))
