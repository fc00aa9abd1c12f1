"""StyleGAN2 with classes: a mapping z -> w, a synthesis whose convolutions w modulates, and a residual discriminator.

Written from Karras et al. 2020 (arXiv 1912.04958, 2006.06676) and the table of spec §7 of Pennisi et
al. 2023, for 8 to 256 px. Weights are N(0, 1) and scaled when used. A modulated convolution w'_{oik} = s_i w_{oik},
demodulated by d_o = (Σ w'² + 1e-8)^(-1/2), is computed as d ⊙ conv(s ⊙ x, w): one convolution for the whole batch.
Up- and down-sampling is a convolution of stride 2 with the filter [1, 3, 3, 1] after or before it. The gain √2 of an
activation is applied where its result is used next, together with the scales there.

Under autocast the maps are of its precision, and their convolutions, filters and dense layers with them. float32 remain
what costs little and loses much: the mapping, styles and demodulation, the image as it is added up, the spread of a
batch, and the logits.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.layers.convolution import Doubling, Filter, as_autocast, conv2d, conv_transpose2d

SIZES = (8, 16, 32, 64, 128, 256)
GROUP = 4
_SLOPE = 0.2
_GAIN = math.sqrt(2)
_EPSILON = 1e-8
_SLOW = 0.01  # learning rate of the mapping over that of the rest


class Generator(nn.Module):
    """(n, latent) normal numbers and (n,) integer labels -> (n, channels, image_size, image_size), near [-1, 1].

    forward(z, labels) is synthesis(mapping(z, labels)); both parts are differentiable, `synthesis` twice. classes: 1
    makes it unconditional. maps: (largest, base), at r px min(base / r, largest) channels, published (512, 16384)
    below 512 px. `layers` is the number of places where w enters. ValueError for an unknown size.
    """

    def __init__(self, image_size=256, classes=2, channels=1, latent=512, maps=(512, 16384), mapping_layers=2):
        super().__init__()
        self.image_size, self.classes, self.channels, self.latent = image_size, classes, channels, latent
        widths = _widths(image_size, maps)
        self.layers = 2 * len(widths)
        self.label_map = _LabelMap(latent, classes, latent, mapping_layers)
        self.constant = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.convolutions = nn.ModuleList([_Styled(widths[0], widths[0], latent, 4, gain=1.0)])
        for level, (before, after) in enumerate(zip(widths, widths[1:], strict=False), 1):
            self.convolutions.append(_Styled(before, after, latent, 4 << level, up=True))
            self.convolutions.append(_Styled(after, after, latent, 4 << level))
        self.to_image = nn.ModuleList([_ToImage(width, channels, latent) for width in widths])
        self.doublings = nn.ModuleList([Doubling(4 << level) for level in range(len(widths) - 1)])

    def forward(self, z: Tensor, labels: Tensor, noise: torch.Generator | None = None) -> Tensor:
        return self.synthesis(self.mapping(z, labels), noise)

    def mapping(self, z: Tensor, labels: Tensor) -> Tensor:
        """w (n, latent) of normal numbers z (n, latent) and labels (n,)."""
        with _no_autocast(z):
            return self.label_map(z, labels)

    def synthesis(self, w: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Images of w (n, latent), or of one w for each layer (n, layers, latent).

        noise: what draws the noise of each pixel; None for the noise kept with the weights, the same for all images.
        """
        w = w[:, None].expand(-1, self.layers, -1) if w.ndim == 2 else w
        x = self.constant.expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        (x,) = as_autocast(x)
        with _no_autocast(x):
            x = self.convolutions[0](x, w[:, 0], noise)
            image = self.to_image[0](x, w[:, 1])
            for level in range(1, len(self.to_image)):
                for at in (2 * level - 1, 2 * level):
                    x = self.convolutions[at](x, w[:, at], noise)
                image = self.doublings[level - 1](image) + self.to_image[level](x, w[:, 2 * level + 1])
            return image


class Discriminator(nn.Module):
    """(n, channels, image_size, image_size) and labels (n,) -> LOGITS of being real (n,).

    The label enters by projection: ⟨features, M(label)⟩ / √d. The spread of the batch is measured in groups of four
    successive images: n is a multiple of 4, or less than 4, else ValueError. Arguments as for the `Generator`.
    """

    def __init__(self, image_size=256, classes=2, channels=1, maps=(512, 16384), mapping_layers=2):
        super().__init__()
        self.image_size, self.classes, self.channels = image_size, classes, channels
        widths = _widths(image_size, maps)[::-1]
        last = widths[-1]
        self.from_image = _Pointwise(channels, widths[0])
        pairs = zip(widths, widths[1:], strict=False)
        self.blocks = nn.ModuleList([_Block(*pair, gain=1.0 if i else _GAIN) for i, pair in enumerate(pairs)])
        self.last = _Convolution(last + 1, last)
        self.dense = _Dense(16 * last, last, gain=_GAIN)
        self.head = _Dense(last, last if classes > 1 else 1, gain=_GAIN)
        self.label_map = _LabelMap(0, classes, last, mapping_layers) if classes > 1 else None

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        (images,) = as_autocast(images)
        with _no_autocast(images):
            x = _leaky(self.from_image(images))
            for block in self.blocks:
                x = block(x)
            x = _leaky(self.last(torch.cat([x, _deviation(x).to(x.dtype)], dim=1)))
            x = self.head(_at_least_float32(_leaky(self.dense(x.flatten(1)))))
            if self.label_map is None:
                return x.flatten()
            return (x * self.label_map(None, labels)).sum(dim=1) / math.sqrt(x.shape[1])


class _LabelMap(nn.Module):
    """z (n, latent), or None where latent is 0, and labels (n,) -> (n, width): fully connected, `slow` layers."""

    def __init__(self, latent: int, classes: int, width: int, layers: int):
        super().__init__()
        self.classes = classes
        self.embedding = _Dense(classes, width) if classes > 1 else None
        inputs = [latent + (width if classes > 1 else 0)] + [width] * (layers - 1)
        self.layers = nn.ModuleList(
            [_Dense(i, width, gain=_GAIN if at else 1.0, rate=_SLOW) for at, i in enumerate(inputs)]
        )

    def forward(self, z: Tensor | None, labels: Tensor) -> Tensor:
        parts = [] if z is None else [_unit(z)]
        if self.embedding is not None:
            parts.append(_unit(self.embedding(F.one_hot(labels, self.classes).float())))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = _leaky(layer(x))
        return x * _GAIN


class _Dense(nn.Module):
    """A dense layer with weights scaled by gain / √inputs, which learns at `rate` times the learning rate.

    This layer and the following compute in the precision of their input.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0, bias: float = 0.0, rate: float = 1.0):
        super().__init__()
        self.scale, self.rate = gain * rate / math.sqrt(inputs), rate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return torch.addmm(bias, x, weight.T, beta=self.rate, alpha=self.scale)


class _Convolution(nn.Module):
    """A 3 x 3 convolution with weights scaled by gain / √(9 inputs); padded to the same size at stride 1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, gain: float = 1.0):
        super().__init__()
        self.scale, self.stride = gain / math.sqrt(9 * inputs), stride
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        x = conv2d(x, weight, stride=self.stride, padding=int(self.stride == 1), scale=self.scale)
        return x.add_(self.bias.to(x.dtype))


class _Pointwise(nn.Module):
    """A 1 x 1 convolution, which is a dense layer of each pixel; the result has its channels last in memory."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0, bias: bool = True):
        super().__init__()
        self.scale = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (self.weight * self.scale).to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


class _Styled(nn.Module):
    """leaky(modulated 3 x 3 convolution of gain · x + strength · noise + bias); up: to twice the size.

    The scale of the weights drops out: d ⊙ conv(s ⊙ x, w) is the same for any multiple of w, but for the epsilon.
    """

    noise: Tensor
    epsilon: Tensor

    def __init__(self, inputs: int, outputs: int, latent: int, size: int, up: bool = False, gain: float = _GAIN):
        super().__init__()
        self.up = up
        self.share = (4 * gain if up else gain) ** -2  # the filter after zeros were inserted keeps a quarter
        self.style = _Dense(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(*((inputs, outputs) if up else (outputs, inputs)), 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.register_buffer("epsilon", torch.tensor(_EPSILON * 9 * inputs), persistent=False)
        self.filter = Filter(outputs) if up else None

    def forward(self, x: Tensor, w: Tensor, noise: torch.Generator | None) -> Tensor:
        style = self.style(w)
        power = self.weight.square().sum(dim=(2, 3))
        power = torch.addmm(
            self.epsilon, style.square(), power if self.up else power.T, beta=self.share, alpha=self.share
        )
        x = x * style[:, :, None, None].to(x.dtype)
        weight = self.weight.to(x.dtype)
        if self.filter is not None:
            x = self.filter.same(conv_transpose2d(x, weight, stride=2), padding=1)
        else:
            x = conv2d(x, weight, padding=1)
        drawn = self.noise
        if noise is not None:
            drawn = torch.randn(len(x), *drawn.shape[1:], generator=noise, device=x.device)
        x = x * power.rsqrt()[:, :, None, None].to(x.dtype)
        return _leaky(x.add_((drawn * self.strength).to(x.dtype)).add_(self.bias.to(x.dtype)))


class _ToImage(nn.Module):
    """A modulated 1 x 1 convolution of √2 x, not demodulated: for so few outputs, one small matrix for each image."""

    def __init__(self, inputs: int, channels: int, latent: int):
        super().__init__()
        self.scale = _GAIN / math.sqrt(inputs)
        self.style = _Dense(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight, bias = (self.weight * self.style(w)[:, None]).to(x.dtype), self.bias.to(x.dtype)
        pixels = torch.baddbmm(bias, x.permute(0, 2, 3, 1).flatten(1, 2), weight.mT, alpha=self.scale)
        return _at_least_float32(pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))


class _Block(nn.Module):
    """Of gain · x: (conv 3 x 3, conv 3 x 3 to half the size, + 1 x 1 of the halved input) / √2."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.first = _Convolution(inputs, inputs, gain=gain)
        self.second = _Convolution(inputs, outputs, stride=2, gain=_GAIN)  # and its own gain is lost in the / √2
        self.skip = _Pointwise(inputs, outputs, gain=gain / _GAIN, bias=False)
        self.filter = Filter(inputs)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.skip(self.filter.halved(x))
        x = self.filter.same(_leaky(self.first(x)), padding=2)
        return skip.add_(_leaky(self.second(x)))


def _widths(image_size: int, maps: tuple[int, int]) -> list[int]:
    """Channels at 4 px, 8 px, ... up to image_size."""
    if image_size not in SIZES:
        raise ValueError(f"The image size {image_size} is not one of {', '.join(map(str, SIZES))}.")
    largest, base = maps
    return [max(1, min(base // 2**level, largest)) for level in range(2, image_size.bit_length())]


def _leaky(x: Tensor) -> Tensor:
    # In place: whatever comes before does not need its own result for its gradient.
    return F.leaky_relu(x, _SLOPE, inplace=True)


def _no_autocast(x: Tensor) -> torch.autocast:
    return torch.autocast(x.device.type, enabled=False)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _unit(x: Tensor) -> Tensor:
    """Each row scaled to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPSILON)


def _deviation(x: Tensor) -> Tensor:
    """(n, 1, h, w): the SD over each image's group, averaged over channels and pixels, as a constant map."""
    group = min(GROUP, len(x))
    if len(x) % group:
        raise ValueError(f"The discriminator was given {len(x)} images: give a multiple of {GROUP}.")
    groups = _at_least_float32(x).unflatten(0, (-1, group))
    variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
    deviation = torch.sqrt(variance + _EPSILON).mean(dim=(1, 2, 3))
    return deviation.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
