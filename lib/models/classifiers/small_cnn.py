"""The small classifier of the smoke and demo scales (pilot of Osuala et al., spec §8.3)."""

import torch
from torch import Tensor, nn

from lib.models.layers.convolution import Convolution


class SmallCNN(nn.Module):
    """(n, channels, s, s) float images -> (n, classes) logits; of grey images 14,594 parameters, whatever the size.

    Three convolutions of stride 2 (5x5 1->16, 3x3 16->32, 3x3 32->32), padded by half the kernel and with bias, each
    followed by GroupNorm of 4 groups with affine and ReLU; then the mean and the maximum over positions, Linear.
    This arrangement has as many parameters as the spec says. No statistic mixes images: fit for DP-SGD.
    """

    def __init__(self, classes: int = 2, channels: int = 1):
        super().__init__()
        layers = []
        for inputs, outputs, kernel in ((channels, 16, 5), (16, 32, 3), (32, 32, 3)):
            convolution = Convolution if inputs == 1 else nn.Conv2d  # which Opacus knows by its exact type
            layers += [convolution(inputs, outputs, kernel, 2, kernel // 2), nn.GroupNorm(4, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """(n, channels, s, s) -> (n, 64): mean and maximum of each of the 32 maps."""
        maps = self.layers(images)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
