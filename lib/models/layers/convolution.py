"""Convolutions of StyleGAN2's kind on a CPU: twice differentiable at first-order prices, and the [1, 3, 3, 1] filter.

Torch's own second derivative of a convolution with respect to the weights, which the gradient penalty and the path
length need, is a convolution with kernels of the size of the image, several times slower. Here a convolution, its
adjoint and the product of both that is the weights' gradient are each other's derivatives, all of them fast forms.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)
_BLOCK = 4


def conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, scale: float = 1.0) -> Tensor:
    """F.conv2d with scale · weight, no bias: x (n, in, h, w), weight (out, in, k, k); stride divides h + 2 padding - k.

    In the precision of autocast, as torch's own. Of a gradient that is itself to be differentiated (create_graph) only
    the part with respect to x is given.
    """
    return _Convolved.apply(*as_autocast(x, weight), stride, padding, scale)


def conv_transpose2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, scale: float = 1.0) -> Tensor:
    """F.conv_transpose2d likewise, the adjoint of `conv2d`: x (n, out, h, w), weight (out, in, k, k)."""
    return _Spread.apply(*as_autocast(x, weight), stride, padding, scale)


def as_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the precision of autocast where it is on, which does not reach into functions of our own."""
    kind = tensors[0].device.type
    return tuple(t.to(torch.get_autocast_dtype(kind)) for t in tensors) if torch.is_autocast_enabled(kind) else tensors


class Convolution(nn.Conv2d):
    """nn.Conv2d, whose gradient with respect to a batch of grey images is faster on a CPU.

    Torch's own leaves all vector units but one idle, as such an image has one channel. Here the pixels of a block of
    4 x 4 are 16 channels of a plain convolution: with frozen weights, at 32 px, forward and back take .3 to .75 of
    torch's time. Meant for the first layer of a frozen network that others are trained through: where the weights
    are trained too, their gradient is computed even if it is not asked for. Images that ask for a gradient cannot be
    mapped by torch.func; for all else it is nn.Conv2d.
    """

    def forward(self, x: Tensor) -> Tensor:
        fast = self._is_of_grey and x.ndim == 4 and x.requires_grad and x.device.type == "cpu"
        if fast and not torch.is_autocast_enabled("cpu"):
            return _Grey.apply(x, self.weight, self.bias, self.stride[0], self.padding[0])
        return super().forward(x)

    @property
    def _is_of_grey(self) -> bool:
        plain = self.in_channels == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        square = all(pair[0] == pair[1] for pair in (self.kernel_size, self.stride, self.padding))
        return plain and square and isinstance(self.padding, tuple) and _BLOCK % self.stride[0] == 0


class Filter(nn.Module):
    """The separable low-pass filter [1, 3, 3, 1] / 8 of each channel, which keeps a constant constant.

    Of (n, channels, h, w), what lies outside being 0: `same` with padding p has (h + 2p - 3, w + 2p - 3) pixels,
    `halved` is every second pixel of it with padding 1.
    """

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        self.register_buffer("kernel", torch.outer(taps, taps).repeat(channels, 1, 1, 1), persistent=False)

    def same(self, x: Tensor, padding: int) -> Tensor:
        return _Filtered.apply(x, self.kernel.to(x.dtype), padding)

    def halved(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel.to(x.dtype), stride=2, padding=1, groups=len(self.kernel))


class Doubling(nn.Module):
    """(n, c, size, size) -> (n, c, 2 size, 2 size): zeros between the pixels, then four times the filter.

    As the products with one matrix from both sides, which for the few channels of an image is the fastest.
    """

    rows: Tensor

    def __init__(self, size: int):
        super().__init__()
        rows = torch.zeros(2 * size + 2, size)
        for place, tap in enumerate(TAPS):
            rows[place : place + 2 * size : 2] += torch.eye(size) * (2 * tap / sum(TAPS))
        self.register_buffer("rows", rows[1:-1].clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.rows.T


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int, padding: int, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, scale
        return _plain(F.conv2d, x, weight, *ctx.how)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _Spread.apply(gradient, weight, *ctx.how), None, None, None, None
        by_x = _plain(F.conv_transpose2d, gradient, weight, *ctx.how) if ctx.needs_input_grad[0] else None
        by_weight = _by_weight(x, gradient, weight, *ctx.how) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, None, None, None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int, padding: int, scale: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding, scale
        return _plain(F.conv_transpose2d, x, weight, *ctx.how)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _Convolved.apply(gradient, weight, *ctx.how), None, None, None, None
        by_x = _plain(F.conv2d, gradient, weight, *ctx.how) if ctx.needs_input_grad[0] else None
        by_weight = _by_weight(gradient, x, weight, *ctx.how) if ctx.needs_input_grad[1] else None
        return by_x, by_weight, None, None, None


class _Grey(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (x, weight), (stride, padding) = ctx.saved_tensors, ctx.how
        by_x = _block_by_block(gradient, weight, stride, padding, x.shape[2:]) if ctx.needs_input_grad[0] else None
        by_weight = _by_weight(x, gradient, weight, stride, padding, 1.0) if ctx.needs_input_grad[1] else None
        by_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return by_x, by_weight, by_bias, None, None


class _Filtered(torch.autograd.Function):
    """A symmetric filter is its own adjoint, but for the padding: so the gradient takes the fast forward form too."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.padding = padding
        return F.conv2d(x, kernel, padding=padding, groups=len(kernel))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (kernel,) = ctx.saved_tensors
        return _Filtered.apply(gradient, kernel, len(TAPS) - 1 - ctx.padding), None, None


def _plain(operation, x: Tensor, weight: Tensor, stride: int, padding: int, scale: float) -> Tensor:
    weight = weight if scale == 1 else weight * scale
    if operation is F.conv_transpose2d and stride == 2 and weight.shape[2] % 2 == 0 and x.device.type == "cpu":
        return _phase_by_phase(x, weight, padding)
    return operation(x, weight, None, stride, padding)


def _phase_by_phase(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """A transposed convolution of stride 2: the four pixels of each doubled one are channels of a plain convolution.

    On a CPU up to four times as fast for few channels.
    """
    outputs, inputs, kernel, _ = weight.shape
    half = kernel // 2
    phases = weight.view(outputs, inputs, half, 2, half, 2).permute(1, 3, 5, 0, 2, 4).flip(4, 5)
    whole = F.pixel_shuffle(F.conv2d(x, phases.reshape(4 * inputs, outputs, half, half), padding=half - 1), 2)
    return whole[:, :, padding : whole.shape[2] - padding, padding : whole.shape[3] - padding]


def _block_by_block(y: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    """The adjoint of a convolution of grey images (n, 1, *size): the pixels of a block as channels of a convolution.

    Pixel j of block t gets, by tap u, the output t · step + (j + padding − u) / stride where that is whole.
    """
    kernel, step = weight.shape[2], _BLOCK // stride
    first, last = min(-((kernel - 1 - padding) // stride), 0), (_BLOCK - 1 + padding) // stride
    tap = torch.arange(_BLOCK)[:, None] + padding - stride * torch.arange(first, last + 1)
    tap = torch.where((tap >= 0) & (tap < kernel), tap, kernel)  # the tap after the last weighs nothing
    taps = F.pad(weight[:, 0], (0, 1, 0, 1))[:, tap[:, None, :, None], tap[None, :, None, :]]
    taps = taps.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    blocks = [-(-side // _BLOCK) for side in size]
    missing = [(n - 1) * step + last + 1 - side + first for n, side in zip(blocks, y.shape[2:], strict=True)]
    if max(missing) > 0:  # more after the last output than before the first
        y = F.pad(y, (0, max(missing[1], 0), 0, max(missing[0], 0)))
    pixels = F.conv2d(y, taps, stride=step, padding=-first)
    return F.pixel_shuffle(pixels[:, :, : blocks[0], : blocks[1]], _BLOCK)[:, :, : size[0], : size[1]]


def _by_weight(x: Tensor, y: Tensor, weight: Tensor, stride: int, padding: int, scale: float) -> Tensor:
    """The derivative with respect to the weights of the inner product of y with the convolution of x."""
    if stride > 1 and padding == 0 and x.device.type == "cpu" and min(weight.shape[:2]) >= 64:
        gradient = _tap_by_tap(x, y, weight, stride)
    else:
        gradient = torch.ops.aten.convolution_backward(
            y, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, [False, True, False]
        )[1]
    return gradient if scale == 1 else gradient.mul_(scale)


def _tap_by_tap(x: Tensor, y: Tensor, weight: Tensor, stride: int) -> Tensor:
    """One matrix product for each place of the kernel: on a CPU nearly twice as fast where the stride is not 1."""
    height, width = y.shape[2:]
    rows = y.permute(1, 0, 2, 3).flatten(1) if not _last(y) else y.permute(0, 2, 3, 1).flatten(0, 2).T
    out = torch.empty_like(weight.permute(2, 3, 0, 1), memory_format=torch.contiguous_format)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            part = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            torch.mm(rows, part.permute(0, 2, 3, 1).reshape(-1, x.shape[1]), out=out[i, j])
    return out.permute(2, 3, 0, 1)


def _last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
