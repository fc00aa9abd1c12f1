"""Auxiliary-classifier GAN ("pGAN"): the slices of a volume are the channels of a plane network.

Sun et al. 2021, spec §4, at 64 px and width 128; the same family with one level fewer at 32 px, two
fewer at 16 px and one more at 128 px. Kernel 4 throughout. The region reaches the generator as a one-hot vector
joined to the noise; the discriminator does not see it but guesses it.

Both networks keep their weights, and compute, with the channels last: on a CPU too that is the faster layout here
(in float32 with AVX-512 a training step at 32 px takes about half the time).
"""

import torch
from torch import Tensor, nn

from lib.models.gan.dcgan_conventions import channels_by_level, initialise

SIZES = (16, 32, 64, 128)
_SLOPE = 0.2


class Generator(nn.Module):
    """(n, regions) weights and (n, noise) normal numbers -> (n, slices, image_size, image_size) in [-1, 1].

    The weights are one-hot rows, or mixtures of them to interpolate between regions. From `width` * image_size / 8
    channels at 4 px down to `width` at half size; no bias. batch_norm: normalise before each ReLU (published: no).
    ValueError for an unknown size.
    """

    def __init__(self, image_size=64, width=128, slices=9, regions=3, noise=100, batch_norm=False):
        super().__init__()
        self.image_size, self.slices, self.regions, self.noise = image_size, slices, regions, noise
        channels = channels_by_level(image_size, width, sizes=SIZES)[::-1]
        layers = [_FromPoint(regions + noise, channels[0], 4, bias=False)]
        for before, after in zip(channels, [*channels[1:], slices], strict=True):
            layers += [nn.BatchNorm2d(before)] if batch_norm else []
            layers += [nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(initialise)

    def forward(self, regions: Tensor, noise: Tensor) -> Tensor:
        return self.layers(torch.cat([regions, noise], dim=1)[:, :, None, None])


class Discriminator(nn.Module):
    """(n, slices, image_size, image_size) in [-1, 1] -> LOGITS of being real (n,), and of each region (n, regions).

    The published heads end in a sigmoid and a softmax; here both are folded into the losses. The first and the last
    convolution have no bias, the others do; nothing follows the last, which leaves `width` numbers for the two
    linear heads. batch_norm: normalise all but the first and the last. ValueError for an unknown size.
    """

    def __init__(self, image_size=64, width=128, slices=9, regions=3, batch_norm=False):
        super().__init__()
        self.image_size, self.slices, self.regions = image_size, slices, regions
        channels = channels_by_level(image_size, width, sizes=SIZES)
        layers = [nn.Conv2d(slices, width, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE, inplace=True)]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1)]
            layers += [nn.BatchNorm2d(after)] if batch_norm else []
            layers += [nn.LeakyReLU(_SLOPE, inplace=True)]
        self.layers = nn.Sequential(*layers, _ToPoint(channels[-1], width, 4, bias=False))
        self.real = nn.Linear(width, 1)
        self.region = nn.Linear(width, regions)
        self.apply(initialise)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(images).flatten(1)
        return self.real(features).flatten(), self.region(features)


class _FromPoint(nn.ConvTranspose2d):
    """A transposed convolution of a 1 x 1 map, which is one matrix product; the result has its channels last."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        weight = self.weight.permute(0, 2, 3, 1)
        return (x.flatten(1) @ weight.flatten(1)).unflatten(1, weight.shape[1:]).permute(0, 3, 1, 2)


class _ToPoint(nn.Conv2d):
    """A convolution of a map of the kernel's size, which is one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.permute(0, 2, 3, 1).flatten(1) @ self.weight.permute(0, 2, 3, 1).flatten(1).T)[:, :, None, None]
