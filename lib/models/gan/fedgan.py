"""Federated GAN: a DCGAN generator and a critic that also guesses the findings, for clients that share weights only.

Han et al. 2019, spec §4.4, at 128 px and width 64; the same family with fewer or more levels at 16,
32, 64 and 256 px. Kernel 4 and no bias throughout. The findings replace the first entries of the noise; the critic
does not see them but guesses them. Nothing in it mixes images, as the gradient penalty
of each one needs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.gan.dcgan_conventions import channels_by_level

SIZES = (16, 32, 64, 128, 256)
NORMS = ("instance", "none")
_SLOPE = 0.2


class Generator(nn.Module):
    """(n, latent) normal noise and (n, labels) 0/1 findings -> (n, 1, image_size, image_size) in [-1, 1].

    The first `labels` numbers of the noise give way to the findings. From `width` * image_size / 8 channels at 4 px
    down to `width` at half size, batch norm and ReLU after each layer but the last. ValueError for an unknown size,
    or a latent that the labels would fill.
    """

    def __init__(self, image_size=128, latent=128, labels=1, width=64):
        super().__init__()
        if not 0 < labels < latent:
            raise ValueError(f"{labels} labels in a latent of {latent}: give at least one, and a longer latent.")
        self.image_size, self.latent, self.labels = image_size, latent, labels
        channels = channels_by_level(image_size, width, sizes=SIZES)[::-1]
        # The published first layer, a transposed convolution of a 1 x 1 map, is this matrix product.
        layers = [nn.Linear(latent, channels[0] * 16, bias=False), nn.Unflatten(1, (channels[0], 4, 4))]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(channels[-1]), nn.ReLU(inplace=True), _ToGrey(channels[-1], 1, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialise)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.layers(torch.cat([labels.to(noise.dtype), noise[:, self.labels :]], dim=1))


class Discriminator(nn.Module):
    """(n, 1, image_size, image_size) in [-1, 1] -> scores (n,), no probabilities, and LOGITS of findings (n, labels).

    From `width` channels at half size up to `width` * image_size / 8 at 4 px, norm and leaky ReLU after each layer, the
    first included. The score sees the whole last map, the findings its mean. norm: "instance" (with affine, as
    published), which hides from the critic how light and how strong in contrast an image is, but for its edges; or
    "none", which learns sooner at small sizes. ValueError for an unknown size or norm.
    """

    def __init__(self, image_size=128, labels=1, width=64, norm="instance"):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"The norm {norm!r} is not one of {', '.join(NORMS)}.")
        self.image_size, self.labels = image_size, labels
        channels = channels_by_level(image_size, width, sizes=SIZES)
        layers = []
        for before, after in zip([1, *channels], channels, strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False)]
            layers += [nn.InstanceNorm2d(after, affine=True)] if norm == "instance" else []
            layers += [nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(channels[-1] * 16, 1, bias=False)  # the published convolution of a 4 x 4 map
        self.label = nn.Linear(channels[-1], labels)
        self.apply(_initialise)
        nn.init.xavier_uniform_(self.label.weight)
        nn.init.zeros_(self.label.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(images)
        return self.score(features.flatten(1)).flatten(), self.label(features.mean(dim=(2, 3)))


class _ToGrey(nn.ConvTranspose2d):
    """A transposed convolution to one channel as a matrix product, folded: on a CPU half the time."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        patches = self.weight.flatten(1).T @ x.flatten(2)
        return F.fold(patches, (2 * x.shape[2], 2 * x.shape[3]), 4, padding=1, stride=2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight)
