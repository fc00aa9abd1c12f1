"""Variational auto-encoders and critics that anonymise an image, and the parts that those swapping identities need.

Montenegro et al. 2021, spec §4.3 to spec §4.5 (an encoder with a branch for the image and one for the mask of its
evidence, decoders, a Wasserstein critic) and, from the same parts, PPRL-VGAN (Chen et al. 2018, spec §4.6). Published
at 64 px, kernel 8, width 256 and 128 latent numbers; the same family has a level less at 32 px, two less at 16 px and
one more at 128 px. Images are grey, in [-1, 1].
"""

import torch
from torch import Tensor, nn

from lib.models.classifiers.identity import initialise
from lib.models.layers.convolution import conv2d, conv_transpose2d

SIZES = (16, 32, 64, 128)
_SLOPE = 0.2
_MOMENTUM = 0.2  # Keras's 0.8
_EPSILON = 1e-3


class Encoder(nn.Module):
    """Images (n, 1, s, s) and masks (n, 1, s, s) in {0, 1} -> mean and log-variance, (n, latent) each.

    width: channels at 4 px, halved with each level towards the image. masked: with the branch of the mask; without
    it the encoder takes images alone. Each branch repeats convolution of stride 2, batch normalisation, dropout, leaky
    ReLU; one linear layer after both gives the two outputs. as_published: the log-variance passes a sigmoid and thus
    stays between 0 and 1 (spec §7, D13). ValueError for an unknown size, kernel or width.
    """

    def __init__(
        self, image_size=64, kernel=8, width=256, latent=128, dropout=0.2, masked=True, as_published=False
    ):  # fmt: skip
        super().__init__()
        self.masked, self.as_published = masked, as_published
        shape = image_size, kernel, width
        self.image = _branch(*shape, dropout)
        self.mask = _branch(*shape, dropout) if masked else None
        self.head = nn.Linear(16 * width * (2 if masked else 1), 2 * latent)
        self.apply(_initialise)
        initialise(self.head)

    def forward(self, images: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        maps = self.image(images).flatten(1)
        if self.masked:
            maps = torch.cat([maps, self.mask(masks).flatten(1)], dim=1)
        mean, log_variance = self.head(maps).chunk(2, dim=1)
        return mean, log_variance.sigmoid() if self.as_published else log_variance


class Decoder(nn.Module):
    """(n, latent) -> (n, 1, s, s) in [-1, 1]; counterfactual decoders are another one of these.

    identities: that many numbers, a one-hot code, are joined to the latent ones. A dense layer to 4 px and width / 2
    channels; transposed convolutions of stride 2 to width, then to width / 2 channels, ReLU before each batch
    normalisation; the last to the image, with tanh. ValueError as for the `Encoder`.
    """

    def __init__(self, image_size=64, kernel=8, width=256, latent=128, identities=0):
        super().__init__()
        levels = len(_channels(image_size, kernel, width))
        channels = [width // 2, width, *[width // 2] * (levels - 2)]
        layers = [nn.Linear(latent + identities, 16 * channels[0]), nn.ReLU(), nn.Unflatten(1, (channels[0], 4, 4))]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [_Doubling(before, after, kernel, 2, kernel // 2 - 1), nn.ReLU(), _norm(after)]
        self.layers = nn.Sequential(*layers, _Doubling(channels[-1], 1, kernel, 2, kernel // 2 - 1), nn.Tanh())
        self.apply(initialise)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class Critic(nn.Module):
    """(n, 1, s, s) in [-1, 1] -> (n, outputs), unbounded; no normalisation mixes images.

    Convolutions of stride 2 with leaky ReLU, a dense layer of `width`, dropout, and a linear layer of `outputs`: 1 for
    the Wasserstein critic; 1 + identities + findings for the discriminator of PPRL-VGAN, whose logits they are. A
    gradient of it that is differentiated again costs no more than a plain one (see `lib.models.layers.convolution`).
    ValueError as for the `Encoder`.
    """

    def __init__(self, image_size=64, kernel=8, width=256, dropout=0.5, outputs=1):
        super().__init__()
        layers, inputs = [], 1
        for channels in _channels(image_size, kernel, width):
            layers += [_Halving(inputs, channels, kernel, 2, kernel // 2 - 1), nn.LeakyReLU(_SLOPE)]
            inputs = channels
        dense = [nn.Flatten(), nn.Linear(16 * width, width), nn.LeakyReLU(_SLOPE), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, *dense, nn.Linear(width, outputs))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class VAE(nn.Module):
    """Encoder and decoder: (n, 1, s, s) images, with masks or the people to turn into, -> anonymised images.

    identities: 0 with a branch for masks; above 0 without one, and the decoder is given one-hot codes of as many people
    (PPRL-VGAN). dropout: the encoder's. as_published: see `Encoder` and `sample`. `shape`: what another decoder for
    the same latent numbers is built of.
    """

    def __init__(
        self, image_size=64, kernel=8, width=256, latent=128, dropout=0.2, identities=0, as_published=False
    ):  # fmt: skip
        super().__init__()
        self.as_published = as_published
        self.shape = {"image_size": image_size, "kernel": kernel, "width": width, "latent": latent}
        self.encoder = Encoder(**self.shape, dropout=dropout, masked=not identities, as_published=as_published)
        self.decoder = Decoder(**self.shape, identities=identities)

    def sample(self, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        """Latent numbers (n, latent) from what the encoder gave and standard normal `noise` of that shape."""
        return sample(mean, log_variance, noise, as_published=self.as_published)

    def forward(self, images: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        if self.encoder.masked:
            mean, log_variance = self.encoder(images, condition)
            return self.decoder(self.sample(mean, log_variance, noise))
        mean, log_variance = self.encoder(images)
        return self.decoder(torch.cat([self.sample(mean, log_variance, noise), condition], dim=1))


def sample(mean: Tensor, log_variance: Tensor, noise: Tensor, *, as_published: bool = False) -> Tensor:
    """mean + σ · noise, all (n, latent), where σ = exp(s / 2) of log-variances s.

    as_published: σ = exp(s² / 2), between 1 and 1.65 for the s of the published encoder (spec §7, D13).
    """
    half = (log_variance.square() if as_published else log_variance) / 2
    return torch.addcmul(mean, half.exp(), noise)


class _Halving(nn.Conv2d):
    """A convolution whose gradient with respect to the image can be differentiated at the price of a plain one."""

    def forward(self, x: Tensor) -> Tensor:
        x = conv2d(x, self.weight, stride=2, padding=int(self.padding[0]))
        return x if self.bias is None else x + self.bias[:, None, None]


class _Doubling(nn.ConvTranspose2d):
    """A transposed convolution in the form that is fast on a CPU too."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = conv_transpose2d(x, self.weight, stride=2, padding=int(self.padding[0]))
        return x if self.bias is None else x + self.bias[:, None, None]


def _branch(image_size: int, kernel: int, width: int, dropout: float) -> nn.Sequential:
    layers, inputs = [], 1
    for channels in _channels(image_size, kernel, width):
        layers += [nn.Conv2d(inputs, channels, kernel, 2, kernel // 2 - 1), _norm(channels)]
        layers += [nn.Dropout(dropout), nn.LeakyReLU(_SLOPE)]
        inputs = channels
    return nn.Sequential(*layers)


def _channels(image_size: int, kernel: int, width: int) -> list[int]:
    """Channels at image_size / 2, image_size / 4, ..., 4 px: `width` at last."""
    if image_size not in SIZES:
        raise ValueError(f"The image size {image_size} is not one of {', '.join(map(str, SIZES))}.")
    levels = image_size.bit_length() - 3
    if kernel < 4 or kernel % 2 or width % 2 ** (levels - 1):
        raise ValueError(
            f"The kernel is {kernel} and the width {width}: at {image_size} px give an even kernel from 4 and a "
            f"multiple of {2 ** (levels - 1)}."
        )
    return [width // 2 ** (levels - 1 - level) for level in range(levels)]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
