"""Conditional DCGAN ("MCGAN"): one image channel, the class embedded and concatenated to noise and image.

Osuala et al. 2024, spec §4.1, at 128 px and width 64; the same family with fewer or more
up- and down-sampling layers at 16, 32, 64 and 256 px. All convolutions are free of bias; leaky slope 0.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.gan.dcgan_conventions import channels_by_level, initialise

SIZES = (16, 32, 64, 128, 256)
NORMS = ("instance", "batch")
_EMBEDDING = 50
_SLOPE = 0.1


class Generator(nn.Module):
    """(n, latent) noise and (n,) int64 classes -> (n, 1, image_size, image_size) in [-1, 1].

    Kernel 4 throughout; from `width` * image_size / 8 channels at 4 px down to `width` at half size. The class
    goes through Embedding(classes, 50), Linear(50, 100) and a leaky ReLU, and is concatenated to the noise.
    `norm`: "instance" (without affine, as published) or "batch". ValueError for an unknown size or norm.
    """

    def __init__(self, image_size=128, latent=100, classes=2, width=64, norm="instance"):
        super().__init__()
        self.image_size, self.latent, self.classes = image_size, latent, classes
        channels = channels_by_level(image_size, width, sizes=SIZES)[::-1]
        self.condition = _condition(classes, 100)
        layers = [_FromPoint(latent + 100, channels[0], 4, 1, 0, bias=False)]
        for before, after in zip(channels, [*channels[1:], 1], strict=True):
            layers += [_normalisation(norm, before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(initialise)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        joined = torch.cat([noise, self.condition(labels)], dim=1)  # (n, latent + 100)
        return self.layers(joined[:, :, None, None])


class Discriminator(nn.Module):
    """(n, 1, image_size, image_size) in [-1, 1] and (n,) int64 classes -> (n,) LOGITS of being real.

    The published network ends in a sigmoid; here it is folded into the loss (binary cross-entropy with logits),
    which is the same objective without its overflow.
    Kernel 6, unlike the generator's 4, meant to fight checkerboards; no norm after the first layer.
    The class becomes one more image channel by Embedding(classes, 50), Linear(50, size²) and a leaky ReLU.
    `norm`: "instance" (without affine, as published) or "batch". ValueError for an unknown size or norm.
    Nothing works in place, and with instance norm nothing mixes images, so that Opacus can train it.
    """

    def __init__(self, image_size=128, classes=2, width=64, norm="instance"):
        super().__init__()
        self.image_size, self.classes = image_size, classes
        channels = channels_by_level(image_size, width, sizes=SIZES)
        self.condition = _condition(classes, image_size**2)
        layers = [_Halving(2, channels[0], 6, 2, 2, bias=False), nn.LeakyReLU(_SLOPE)]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(before, after, 6, 2, 2, bias=False), _normalisation(norm, after)]
            layers += [nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, _ToPoint(channels[-1], 1, 6, 1, 1, bias=False))
        self.apply(initialise)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        plane = self.condition(labels).view(-1, 1, self.image_size, self.image_size)
        return self.layers(torch.cat([images, plane], dim=1)).flatten()


class _FromPoint(nn.ConvTranspose2d):
    """A transposed convolution of a 1 x 1 map, which is one matrix product."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return (x.flatten(1) @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])


class _ToPoint(nn.Conv2d):
    """A 6 x 6 convolution of a 4 x 4 map padded by 1, which is one matrix product with the kernel's middle."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.weight[:, :, 1:5, 1:5].flatten(1).T)[:, :, None, None]


class _Halving(nn.Conv2d):
    """A 6 x 6 convolution of stride 2 as the equal 3 x 3 one of the four pixel phases.

    Two input channels leave vector units and tensor cores idle; eight fill them. Halves the time of this layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        outputs, inputs = self.weight.shape[:2]
        phases = self.weight.view(outputs, inputs, 3, 2, 3, 2).permute(0, 1, 3, 5, 2, 4)
        return F.conv2d(F.pixel_unshuffle(x, 2), phases.reshape(outputs, 4 * inputs, 3, 3), padding=1)


def _condition(classes: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(classes, _EMBEDDING), nn.Linear(_EMBEDDING, outputs), nn.LeakyReLU(_SLOPE))


def _normalisation(norm: str, channels: int) -> nn.Module:
    if norm not in NORMS:
        raise ValueError(f"The norm {norm!r} is not one of {', '.join(NORMS)}.")
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.BatchNorm2d(channels)
