"""Per-sample gradients: the gradient of each image's own loss, one row an image.

Three engines give the same numbers (a test holds each to the other two):

`layers`       one forward pass, one backward pass to the layers' outputs only (no summed weight gradients), then
               each layer's rule from its input and its output's gradient. The rules are Opacus' own registry, which
               many eyes have read; convolutions and group norms have a faster statement of the same sums, as this is
               where the time goes. The fastest for small convolutional networks on a CPU (benchmarks/dpsgd_step.py).
`vmap`         torch.func: any network without in-place or data-dependent operations, parameters used in any way.
`microbatch`   one image at a time: the definition, and the reference.

The gradients are rows of `FlatParameters`: one vector that shares memory with the trainable parameters, so that
clipping, noise and the optimiser's step are single operations.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call, grad, vmap

from lib.models.layers.convolution import Convolution


class FlatParameters:
    """The trainable parameters of `model` as one leaf, `vector` (p,), that shares their memory.

    Convolution weights (o, c, h, w) lie there as (o, h, w, c), the order in which images and gradients are fastest
    (channels last). `release` gives every parameter memory of its own again. ValueError when nothing is trainable
    or the parameters differ in device or dtype.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("The model has no trainable parameter: set requires_grad on the part to train.")
        kinds = {(str(p.device), str(p.dtype)) for p in self.parameters}
        if len(kinds) > 1:
            raise ValueError(f"The trainable parameters are of several kinds, {kinds}: move the model first.")
        self.layers = [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
        self.vector = nn.Parameter(self.flatten([p.detach() for p in self.parameters]))
        self._spans: dict[Tensor, slice] = {}
        end = 0
        for parameter in self.parameters:
            self._spans[parameter] = slice(end, end := end + parameter.numel())
            parameter.data = self.part(self.vector.detach()[None], parameter)[0]

    def __contains__(self, parameter: Tensor) -> bool:
        return parameter in self._spans

    def part(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """The view (n, *parameter.shape) of one parameter in `rows` (n, p)."""
        part = rows[:, self._spans[parameter]]
        if parameter.ndim != 4:
            return part.unflatten(1, parameter.shape or (1,))
        o, c, h, w = parameter.shape
        return part.unflatten(1, (o, h, w, c)).permute(0, 1, 4, 2, 3)

    def flatten(self, gradients: list[Tensor | None]) -> Tensor:
        """(p,) from one tensor per trainable parameter, in `parameters`' order; None stands for zeros."""
        whole = [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, gradients, strict=True)]
        return torch.cat([(g.permute(0, 2, 3, 1) if g.ndim == 4 else g).flatten() for g in whole])

    def release(self) -> None:
        """Give every parameter memory of its own, at its present values."""
        for parameter in self.parameters:
            parameter.data = parameter.data.clone(memory_format=torch.preserve_format)


def per_sample_gradients(
    flat: FlatParameters, inputs: Tensor, labels: Tensor, *, loss: Callable, engine: str = "layers"
) -> tuple[Tensor, Tensor]:
    """Gradients (n, p) of each of n images' losses, and the losses (n,), detached.

    `inputs` (n, ...) as `flat.model` takes them, `labels` (n,); `loss` maps (logits, labels) to (n,) losses and
    must not mix images. The model is used in the mode it is in. ValueError for an unknown engine, and under
    `layers` for a layer without a rule.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if len(inputs) == 0:
        return inputs.new_zeros(0, len(flat.vector)), inputs.new_zeros(0)
    return ENGINES[engine](flat, inputs, labels, loss)


def check_engine(flat: FlatParameters, inputs: Tensor, labels: Tensor, *, loss: Callable, engine: str) -> None:
    """ValueError unless `engine` agrees with one image at a time on these images; a handful is enough.

    It finds images mixed by batch statistics, and parameters used otherwise than by their layer's forward pass.
    All but batch norms are in eval mode meanwhile, so that dropout cannot differ.
    """
    training = [m for m in flat.model.modules() if m.training]
    for module in training:
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    try:
        ours, _ = per_sample_gradients(flat, inputs, labels, loss=loss, engine=engine)
        single, _ = per_sample_gradients(flat, inputs, labels, loss=loss, engine="microbatch")
    finally:
        for module in training:
            module.training = True
    wrong = ~torch.isclose(ours, single, rtol=1e-3, atol=1e-4 * float(single.abs().max()))
    names = [name for name, p in flat.model.named_parameters() if p in flat and flat.part(wrong, p).any()]
    if names:
        raise ValueError(
            f"The per-sample gradients of {', '.join(names)} by {engine!r} are not those of single images: a layer "
            "mixes images, or is not used by its own forward pass; replace it, freeze it, or try engine='vmap'."
        )


def _layers(flat: FlatParameters, inputs: Tensor, labels: Tensor, loss: Callable) -> tuple[Tensor, Tensor]:
    from opacus.grad_sample import GradSampleHooks  # imported late: it takes seconds, and only privacy needs it

    rules = GradSampleHooks.GRAD_SAMPLERS
    for layer in flat.layers:
        if type(layer) not in rules and not _is_plain_convolution(layer):
            raise ValueError(f"No per-sample rule for the layer {type(layer).__name__}: choose engine='vmap'.")
    calls = []

    def record(layer, args, output):
        # The edge, not the tensor: after an in-place ReLU the tensor would stand for something else.
        edge = get_gradient_edge(output)
        calls.append((layer, args[0].detach(), edge, _statistics(layer, edge)))

    handles = [layer.register_forward_hook(record) for layer in flat.layers]
    try:
        losses = loss(flat.model(inputs), labels)
    finally:
        for handle in handles:
            handle.remove()
    outputs = torch.autograd.grad(losses.sum(), [edge for _, _, edge, _ in calls], allow_unused=True)
    rows = flat.vector.new_empty(len(inputs), len(flat.vector))
    written = set()
    for (layer, x, _, statistics), g in zip(calls, outputs, strict=True):
        if g is None:
            continue
        if len(x) != len(inputs):
            raise ValueError(
                f"A layer {type(layer).__name__} sees {len(x)} rows for {len(inputs)} images: keep the images as the "
                "first axis of every trainable layer's input, or choose engine='vmap'."
            )
        if _is_plain_convolution(layer):
            fresh = layer.weight in flat and layer.weight not in written
            gradients = _convolution(layer, x, g, flat.part(rows, layer.weight) if fresh else None)
            if fresh:
                written.add(layer.weight)
                del gradients[layer.weight]
        elif statistics:
            gradients = _group_norm(layer, x, g, *statistics)
        else:
            # Opacus 1.6 unfolds by the strides of a contiguous image, and silently wrongly for channels last.
            gradients = rules[type(layer)](layer, [x.contiguous()], g.contiguous())
        for parameter, gradient in gradients.items():
            if parameter in flat:
                place = flat.part(rows, parameter)
                place.add_(gradient) if parameter in written else place.copy_(gradient)
                written.add(parameter)
    for parameter in flat.parameters:
        if parameter not in written:
            flat.part(rows, parameter).zero_()
    return rows, losses.detach()


def _is_plain_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer) in (nn.Conv2d, Convolution)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _convolution(layer: nn.Conv2d, x: Tensor, g: Tensor, out: Tensor | None) -> dict[Tensor, Tensor]:
    """One matrix product an image: output gradients (o, positions) times the patches they saw (positions, h*w*c).

    `out`: where the weight's gradients (n, o, c, h, w) are to lie, if that is free yet.
    """
    n, o = g.shape[:2]
    g = g.permute(0, 2, 3, 1).reshape(n, -1, o)
    patches = _patches(x, layer.kernel_size, layer.stride, tuple(layer.padding))
    if out is None:
        out = x.new_empty(n, o, *layer.kernel_size, x.shape[1]).permute(0, 1, 4, 2, 3)
    torch.bmm(g.transpose(1, 2), patches, out=out.permute(0, 1, 3, 4, 2).flatten(2))
    return {layer.weight: out} if layer.bias is None else {layer.weight: out, layer.bias: g.sum(1)}


def _patches(x: Tensor, kernel: tuple, stride: tuple, padding: tuple) -> Tensor:
    """(n, c, height, width) -> (n, positions, h*w*c): every patch that a convolution multiplies, as a row."""
    (h, w), (down, across) = kernel, stride
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    n, height, width, c = x.shape
    if c == 1:  # patch rows of a few numbers: copied faster by index than by stride
        return x.flatten(1).index_select(1, _patch_index(height, width, kernel, stride, x.device)).view(n, -1, h * w)
    shape = (n, (height - h) // down + 1, (width - w) // across + 1, h, w * c)
    strides = (x.stride(0), down * x.stride(1), across * c, x.stride(1), 1)
    return x.as_strided(shape, strides).reshape(n, -1, h * w * c)


@lru_cache(maxsize=64)
def _patch_index(height: int, width: int, kernel: tuple, stride: tuple, device: torch.device) -> Tensor:
    pixels = torch.arange(height * width, device=device).view(height, width)
    return pixels.unfold(0, kernel[0], stride[0]).unfold(1, kernel[1], stride[1]).flatten()


def _statistics(layer: nn.Module, edge) -> tuple[Tensor, Tensor] | None:
    """Mean and 1/SD (n, groups) that a group norm computed on its way forward, where autograd shows them."""
    if type(layer) is not nn.GroupNorm or edge.node.name() != "NativeGroupNormBackward0":
        return None
    return edge.node._saved_result1.detach(), edge.node._saved_result2.detach()


def _group_norm(layer: nn.GroupNorm, x: Tensor, g: Tensor, mean: Tensor, scale: Tensor) -> dict[Tensor, Tensor]:
    """Sum over the positions of g times the normalised x, from sums of g x and g as in PyTorch's own backward pass."""
    n, c = x.shape[:2]
    mean, scale = (s.view(n, -1).repeat_interleave(c // layer.num_groups, dim=1) for s in (mean, scale))
    positions = tuple(range(2, x.ndim))
    total = g.sum(positions)
    return {layer.weight: ((x * g).sum(positions) - mean * total) * scale, layer.bias: total}


def _vmap(flat: FlatParameters, inputs: Tensor, labels: Tensor, loss: Callable) -> tuple[Tensor, Tensor]:
    named = {name: p.detach() for name, p in flat.model.named_parameters() if p.requires_grad}

    def single(parameters, image, label):
        value = loss(functional_call(flat.model, parameters, (image[None],)), label[None])[0]
        return value, value

    per_sample = vmap(grad(single, has_aux=True), in_dims=(None, 0, 0), randomness="different")
    gradients, losses = per_sample(named, inputs, labels)
    rows = flat.vector.new_empty(len(inputs), len(flat.vector))
    for parameter, gradient in zip(flat.parameters, gradients.values(), strict=True):
        flat.part(rows, parameter).copy_(gradient)
    return rows, losses.detach()


def _microbatch(flat: FlatParameters, inputs: Tensor, labels: Tensor, loss: Callable) -> tuple[Tensor, Tensor]:
    rows, losses = [], []
    for image, label in zip(inputs.split(1), labels.split(1), strict=True):
        value = loss(flat.model(image), label)[0]
        rows.append(flat.flatten(list(torch.autograd.grad(value, flat.parameters, allow_unused=True))))
        losses.append(value.detach())
    return torch.stack(rows), torch.stack(losses)


ENGINES = {"layers": _layers, "vmap": _vmap, "microbatch": _microbatch}
