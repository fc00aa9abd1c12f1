"""CycleGAN: the translator between two domains of images, and the critic of patches (Zhu et al. 2017).

Han et al. 2019, spec §4.3, which names the defaults for 256 px: the ResNet generator with 9 blocks
and the 70 x 70 PatchGAN, both of width 64 with instance normalisation. Fewer blocks, layers or channels suit smaller
images. The grey levels are in [-1, 1].
"""

from torch import Tensor, nn


class Translator(nn.Module):
    """(n, channels, h, w) -> the same shape in [-1, 1], h and w multiples of 4; 11,378,179 parameters as published.

    7x7 convolution to `width` channels, two of stride 2 that double them, `blocks` residual blocks of two 3x3
    convolutions, two transposed ones back, 7x7 and tanh; borders of full-size and residual maps are reflected.
    published: channels 3, width 64, blocks 9. ValueError for sides that are no multiple of 4, or below 8.
    """

    def __init__(self, channels: int = 1, width: int = 64, blocks: int = 9):
        super().__init__()
        self.channels = channels
        layers = [nn.Conv2d(channels, width, 7, padding=3, padding_mode="reflect"), *_normalised(width)]
        for inputs in (width, 2 * width):
            layers += [nn.Conv2d(inputs, 2 * inputs, 3, 2, 1), *_normalised(2 * inputs)]
        layers += [_Residual(4 * width) for _ in range(blocks)]
        for inputs in (4 * width, 2 * width):
            layers += [nn.ConvTranspose2d(inputs, inputs // 2, 3, 2, 1, 1), *_normalised(inputs // 2)]
        layers += [nn.Conv2d(width, channels, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        if any(side % 4 or side < 8 for side in images.shape[2:]):
            raise ValueError(f"CycleGAN takes sides that are multiples of 4, at least 8, not {tuple(images.shape)}.")
        return self.layers(images)


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect") for _ in range(2))
        self.layers = nn.Sequential(first, *_normalised(width), second, nn.InstanceNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class PatchCritic(nn.Module):
    """(n, channels, h, w) in [-1, 1] -> (n, 1, h', w'), a score of each patch; 2,764,737 parameters as published.

    `depth` 4x4 convolutions of stride 2 and one of stride 1, from `width` channels doubled each time up to 8 `width`,
    then one to a single channel. A score sees a square of 9 · 2^depth − 2 pixels: 70 for the published
    depth of 3 (channels 3, width 64).
    """

    def __init__(self, channels: int = 1, width: int = 64, depth: int = 3):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        widths = [width * min(2**level, 8) for level in range(depth + 1)]
        for level, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False), 1):
            layers += [nn.Conv2d(inputs, outputs, 4, 2 if level < depth else 1, 1), nn.InstanceNorm2d(outputs)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def _normalised(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width), nn.ReLU(inplace=True)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
