"""Progressive GAN with labels: it grows from 4 px, and fades each new level in.

Han et al. 2019, spec §4.1; parameter counts there for 14 labels at 256, 512 and 1,024 px. Weights are
N(0, 1) and scaled when used (equalised learning rate), the generator normalises each pixel's channels and ends
without tanh, the discriminator sees the spread of its batch. Labels join the noise; the discriminator guesses them.

An up-sampling and the convolution after it are one 4 x 4 transposed convolution of stride 2, a convolution and the
averaging after it one 4 x 4 convolution of stride 2: the same arithmetic with 2.25 times fewer products.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.layers.convolution import as_autocast

SIZES = tuple(2**level for level in range(2, 11))
NORMALISED = ("joint", "latent")
GROUP = 4
_SLOPE = 0.2
_GAIN = math.sqrt(2)
_EPSILON = 1e-8


class Generator(nn.Module):
    """(n, latent) normal numbers and (n, labels) in [0, 1] -> (n, 1, size, size), real images being in [-1, 1].

    maps: (largest, base), see `channels`. normalise: "joint" scales noise and labels together to a mean square of 1,
    as published; "latent" the noise alone, so that in small nets its length does not shake the labels (spec §7, D2).
    `size` is image_size, or any power of two from 4 below it, to leave the levels above out; at `alpha` < 1 it is
    still being faded in: (1 - alpha) of its image comes from the level below. ValueError for an unknown name or size.
    """

    def __init__(self, image_size=256, labels=14, latent=512, maps=(512, 8192), normalise="joint"):
        super().__init__()
        if normalise not in NORMALISED:
            raise ValueError(f"The normalisation {normalise!r} is not one of {', '.join(NORMALISED)}.")
        self.image_size, self.labels, self.latent, self.normalise = image_size, labels, latent, normalise
        widths = channels(image_size, maps)[1:]  # at 4 px, 8 px, ...
        self.first = _Linear(latent + labels, 16 * widths[0], gain=_GAIN / 4, bias=False)
        self.bias = nn.Parameter(torch.zeros(widths[0], 1, 1))
        self.levels = nn.ModuleList([nn.ModuleList([_Conv(widths[0], widths[0])])])
        for before, after in zip(widths, widths[1:], strict=False):
            self.levels.append(nn.ModuleList([_UpConv(before, after), _Conv(after, after)]))
        self.to_grey = nn.ModuleList([_Pointwise(width, 1, gain=1.0) for width in widths])

    def forward(self, noise: Tensor, labels: Tensor, *, size: int | None = None, alpha: float = 1.0) -> Tensor:
        top = _level(size or self.image_size, self.image_size)
        if self.normalise == "joint":
            joined = _Normalised.apply(torch.cat([noise, labels], dim=1))
        else:
            joined = torch.cat([_Normalised.apply(noise), labels], dim=1)
        x = self.first(joined).view(len(joined), 4, 4, -1).permute(0, 3, 1, 2)
        x = _Normalised.apply(_leaky(x + self.bias))
        below = x
        for level in range(top + 1):
            below = x
            for convolution in self.levels[level]:
                x = _Normalised.apply(_leaky(convolution(x)))
        image = self.to_grey[top](x)
        if top == 0 or alpha == 1:
            return image
        return torch.lerp(doubled(self.to_grey[top - 1](below)), image, alpha)


class Discriminator(nn.Module):
    """(n, 1, size, size) -> scores (n,), higher for real images, and LOGITS of the labels (n, labels).

    `size`, `alpha`, `maps` and errors as for the `Generator`, which it mirrors. The spread of the batch is measured
    in groups of four successive images: n is a multiple of 4, or less than 4, else ValueError.
    """

    def __init__(self, image_size=256, labels=14, maps=(512, 8192)):
        super().__init__()
        self.image_size, self.labels = image_size, labels
        last, *widths = channels(image_size, maps)  # after the dense layer; at 4 px, 8 px, ...
        self.from_grey = nn.ModuleList([_Pointwise(1, width) for width in widths])
        self.levels = nn.ModuleList([nn.ModuleList([_Conv(widths[0] + 1, widths[0])])])
        for below, width in zip(widths, widths[1:], strict=False):
            self.levels.append(nn.ModuleList([_Conv(width, width), _DownConv(width, below)]))
        self.dense = _Linear(16 * widths[0], last)
        self.heads = _Linear(last, 1 + labels, gain=1.0)

    def forward(self, images: Tensor, *, alpha: float = 1.0) -> tuple[Tensor, Tensor]:
        top = _level(images.shape[-1], self.image_size)
        x = _leaky(self.from_grey[top](images))
        for level in range(top, 0, -1):
            for convolution in self.levels[level]:
                x = _leaky(convolution(x))
            if level == top and alpha != 1:
                x = torch.lerp(_leaky(self.from_grey[top - 1](halved(images))), x, alpha)
        x = torch.cat([x, _spread(x)], dim=1)
        x = _leaky(self.levels[0][0](x))
        score, labels = self.heads(_leaky(self.dense(x.flatten(1)))).split([1, self.labels], dim=1)
        return score.flatten(), labels


def channels(image_size: int, maps: tuple[int, int]) -> list[int]:
    """min(base / 2^s, largest) for s = 0 (the dense layer), 1 (4 px), 2 (8 px), ... up to image_size.

    maps: (largest, base), published (512, 8192); (48, 256) gives 48, 48, 32, 16 at 4 to 32 px. From 512 px on a level
    counts as the one below. ValueError for an unknown size, or when the base leaves a level without a channel.
    """
    if image_size not in SIZES:
        raise ValueError(f"The image size {image_size} is not one of {', '.join(map(str, SIZES))}.")
    largest, base = maps
    stages = range(image_size.bit_length() - 1)
    widths = [min(base // 2 ** (s if s < 8 else s - 1), largest) for s in stages]
    if min(widths) < 1:
        raise ValueError(f"The maps {tuple(maps)} leave no channel at {image_size} px: raise the second number.")
    return widths


def doubled(images: Tensor) -> Tensor:
    """(n, c, s, s) at twice the size, each pixel four times."""
    return F.interpolate(images, scale_factor=2, mode="nearest")


def halved(images: Tensor) -> Tensor:
    """(n, c, s, s) at half the size, each pixel the mean of four."""
    return F.avg_pool2d(images, 2)


class _Linear(nn.Module):
    """A dense layer of N(0, 1) weights, scaled by gain / √inputs when used."""

    def __init__(self, inputs: int, outputs: int, gain: float = _GAIN, bias: bool = True):
        super().__init__()
        self.scale = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class _Pointwise(_Linear):
    """A 1 x 1 convolution, which is a dense layer of each pixel; the result has its channels last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Conv(nn.Module):
    """A 3 x 3 convolution of the same size with N(0, 1) weights, scaled by √2 / √(9 inputs) when used."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.scale = _GAIN / math.sqrt(9 * inputs)
        self.weight = nn.Parameter(torch.randn(*self._order(inputs, outputs), 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))

    @staticmethod
    def _order(inputs: int, outputs: int) -> tuple[int, int]:
        return outputs, inputs

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.weight * self.scale, self.bias, 1)


class _Fused(_Conv):
    """Kernels of 4 x 4: the sum of the 3 x 3 one at four neighbouring places, times `share`."""

    share: float
    places: Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        places = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]) * math.sqrt(self.share * self.scale)
        self.register_buffer("places", torch.kron(places, places).T.contiguous(), persistent=False)  # (9, 16)

    def kernels(self) -> Tensor:
        return (self.weight.flatten(2) @ self.places).unflatten(2, (4, 4))


class _DownConv(_Fused):
    """The convolution followed by `halved`."""

    share = 0.25

    def forward(self, x: Tensor) -> Tensor:
        return _convolved(x, self.kernels(), self.bias, 2)


class _UpConv(_Fused):
    """The convolution of what `doubled` gives, its kernels stored for the transposed convolution that both are."""

    share = 1.0

    @staticmethod
    def _order(inputs: int, outputs: int) -> tuple[int, int]:
        return inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernels(), self.bias, stride=2, padding=1)


def _level(size: int, largest: int) -> int:
    if size not in SIZES or size > largest:
        raise ValueError(f"The size {size} is not a power of two from 4 to {largest}.")
    return size.bit_length() - 3


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    return _Convolved.apply(*as_autocast(x, weight, bias), stride)


class _Convolved(torch.autograd.Function):
    """F.conv2d padded by 1, with a gradient that is again a plain convolution.

    Torch's own second derivative with respect to the weights, which the gradient penalty needs, is a convolution
    with kernels of the size of the image, several times slower. Of a gradient that is itself to be differentiated
    (create_graph) only the part with respect to x is given.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, bias, stride, padding=1)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return F.conv_transpose2d(gradient, weight, None, ctx.stride, padding=1), None, None, None
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            gradient, x, weight, [len(weight)], [ctx.stride] * 2, [1, 1], [1, 1], False, [0, 0], 1,
            ctx.needs_input_grad[:3],
        )  # fmt: skip
        return grad_x, grad_weight, grad_bias, None


class _Normalised(torch.autograd.Function):
    """x / √(mean over dimension 1 of x² + 1e-8), with the short form of its gradient, a third of the time."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        inverse = torch.rsqrt(norm.square() / x.shape[1] + _EPSILON).to(x.dtype)
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        y, inverse = ctx.saved_tensors
        along = (gradient * y).mean(dim=1, keepdim=True)
        return torch.addcmul(gradient, y, along, value=-1).mul_(inverse)


def _spread(x: Tensor) -> Tensor:
    """(n, 1, h, w): the SD over each image's group, averaged over channels and pixels, as a constant map."""
    group = min(GROUP, len(x))
    if len(x) % group:
        raise ValueError(f"The discriminator was given {len(x)} images: give a multiple of {GROUP}.")
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (-1, group))
    deviation = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
    spread = torch.sqrt(deviation + _EPSILON).mean(dim=(1, 2, 3))
    return spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
