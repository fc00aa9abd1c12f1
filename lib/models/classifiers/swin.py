"""Swin transformer (Liu et al. 2021) and the mammogram classifiers built on it, without torchvision.

Written so that Opacus sees every parameter: each one belongs to a module that is called as a module, with the
images as the first dimension of its input; the relative-position bias is an nn.Embedding. The result equals
torchvision's `swin_t`, whose published weights `swin_classifier` takes.
Osuala et al. 2024, spec §4.2, for the three classifiers.
"""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.pretrained.weights import read_weights

VARIANTS = ("frozen_two_layer", "whole", "frozen_linear")
_UNKNOWN = "The Swin classifier {!r} is not one of " + ", ".join(VARIANTS) + "."
_FROM_TORCHVISION = (
    ("features.0.0.", "stages.0.projection."),
    ("features.0.2.", "stages.0.norm."),
    ("features.", "stages."),
    (".attn.relative_position_bias_table", ".attention.position_bias.weight"),
    (".attn.", ".attention."),
    (".mlp.3.", ".mlp.2."),
)


class Swin(nn.Module):
    """(n, 1 or 3, h, w) float images -> (n, classes) logits; the defaults are Swin-T (28,288,354 parameters).

    Any h and w of at least `patch`: maps are padded to whole windows, and to even sizes before merging. One grey
    channel is used three times. input_size: images are first resized to input_size x input_size, bilinearly.
    stochastic_depth: the last block's chance of being skipped in training; it rises linearly from 0.
    """

    def __init__(
        self, classes=1000, *, patch=4, window=7, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24),
        stochastic_depth=0.2, input_size=None,
    ):  # fmt: skip
        super().__init__()
        self.input_size = input_size
        stages: list[nn.Module] = [_PatchEmbedding(patch, width)]
        block, last = 0, max(sum(depths) - 1, 1)
        for depth, count in zip(depths, heads, strict=True):
            if len(stages) > 1:
                stages.append(_PatchMerging(width))
                width *= 2
            blocks = []
            for index in range(depth):
                skip = stochastic_depth * block / last
                blocks.append(_Block(width, count, window, shifted=index % 2 == 1, skip=skip))
                block += 1
            stages.append(nn.Sequential(*blocks))
        self.width, self.frozen = width, False
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(width)
        self.head: nn.Module = nn.Linear(width, classes)
        self.apply(_initialise)

    def features(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) -> (n, width): what the head sees, the mean over positions of the last map."""
        if self.input_size is not None:
            images = F.interpolate(images, size=(self.input_size, self.input_size), mode="bilinear")
        images = images.expand(-1, 3, -1, -1)
        return self.norm(self.stages(images)).mean(dim=(1, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def freeze(self) -> "Swin":
        """Only the head stays trainable, and the rest stays in eval mode, so that its features can be cached."""
        self.frozen = True
        for part in (self.stages, self.norm):
            part.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Swin":
        super().train(mode)
        if self.frozen:
            self.stages.eval()
            self.norm.eval()
        return self


class _PatchEmbedding(nn.Module):
    """(n, 3, h, w) -> (n, h / patch, w / patch, width): from here on, channels come last."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.projection(images).permute(0, 2, 3, 1))


class _PatchMerging(nn.Module):
    """(n, h, w, c) -> (n, h / 2, w / 2, 2 c): the four neighbours concatenated, normalised, projected."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        neighbours = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbours, dim=-1)))


class _Block(nn.Module):
    """(n, h, w, c) -> same: attention and a two-layer perceptron, each normalised before and added."""

    def __init__(self, width: int, heads: int, window: int, *, shifted: bool, skip: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window, window // 2 if shifted else 0)
        self.skip = _StochasticDepth(skip)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.skip(self.attention(self.norm1(x)))
        return x + self.skip(self.mlp(self.norm2(x)))


class _StochasticDepth(nn.Module):
    """In training, drop a whole branch of an image with probability `chance`, and scale up the others.

    Draws from torch's global CPU generator, as nn.Dropout does on a CPU: seed it around a training step.
    """

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.chance == 0:
            return x
        kept = (torch.rand(len(x)) >= self.chance).to(x.device, x.dtype) / (1 - self.chance)
        return x * kept.view(-1, *[1] * (x.ndim - 1))


class WindowAttention(nn.Module):
    """(n, h, w, width) -> same: every position attends to its `window` x `window` neighbours.

    `shift`: the grid of windows is moved by so many positions, cyclically; positions that only the wrap-around
    brought together do not attend to each other. A side that one window covers is not shifted. Padding up to whole
    windows takes part in attention as zeros do, as in torchvision.
    """

    position_index: Tensor

    def __init__(self, width: int, heads: int, window: int, shift: int):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.position_bias = nn.Embedding((2 * window - 1) ** 2, heads)
        self.register_buffer("position_index", _position_index(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, high, wide, width = x.shape
        window, heads = self.window, self.heads
        x = F.pad(x, (0, 0, 0, -wide % window, 0, -high % window))
        rows, columns = x.shape[1] // window, x.shape[2] // window
        shifts = tuple(self.shift if count > 1 else 0 for count in (rows, columns))
        if any(shifts):
            x = x.roll((-shifts[0], -shifts[1]), dims=(1, 2))
        x = x.view(n, rows, window, columns, window, width).transpose(2, 3)
        x = x.reshape(n, rows * columns, window**2, width)  # images stay the first dimension, for Opacus

        q, k, v = self.qkv(x).unflatten(-1, (3, heads, width // heads)).permute(3, 0, 1, 4, 2, 5)
        scores = (q * (width // heads) ** -0.5) @ k.transpose(-1, -2)  # (n, windows, heads, window², window²)
        scores = scores + self._bias(n)
        if any(shifts):
            scores = scores + _wrapped(rows, columns, window, shifts, scores.device, scores.dtype)
        x = self.proj((scores.softmax(dim=-1) @ v).transpose(2, 3).flatten(3))

        x = x.view(n, rows, columns, window, window, width).transpose(2, 3)
        x = x.reshape(n, rows * window, columns * window, width)
        if any(shifts):
            x = x.roll(shifts, dims=(1, 2))
        return x[:, :high, :wide]

    def _bias(self, n: int) -> Tensor:
        # Per-sample gradients need one look-up an image; without gradients one look-up serves all.
        trained = torch.is_grad_enabled() and self.position_bias.weight.requires_grad
        bias = self.position_bias(self.position_index.expand(n if trained else 1, -1))
        return bias.unflatten(1, (self.window**2, self.window**2)).permute(0, 3, 1, 2)[:, None]


def _position_index(window: int) -> Tensor:
    """(window^4,): for each pair of positions in a window, the row of the bias table of their offset."""
    at = torch.arange(window, device="cpu")
    y, x = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
    down, right = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return (down * (2 * window - 1) + right).flatten()


@lru_cache(maxsize=64)
def _wrapped(rows, columns, window, shifts, device, dtype) -> Tensor:
    """(windows, 1, window², window²): -100 where only the wrap-around brought two positions together, else 0."""
    with torch.inference_mode(False):
        sides = []
        for count, shift in zip((rows, columns), shifts, strict=True):
            at = torch.arange(count * window, device=device)
            sides.append((at >= len(at) - shift).view(count, window))
        region = 2 * sides[0][:, None, :, None] + sides[1][None, :, None, :].long()
        region = region.reshape(rows * columns, window**2)
        apart = region[:, :, None] != region[:, None, :]
        return (apart.to(dtype) * -100.0)[:, None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02)


def classifier_head(variant: str, *, features: int = 768, classes: int = 2) -> nn.Module:
    """(n, features) -> (n, classes): two layers for "frozen_two_layer", else one.

    Of 768 features and two classes they have 296,066 and 1,538 parameters. ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(_UNKNOWN.format(variant))
    if variant == "frozen_two_layer":
        half = features // 2
        return nn.Sequential(nn.Linear(features, half), nn.LeakyReLU(0.2), nn.Linear(half, classes))
    return nn.Linear(features, classes)


def swin_classifier(variant: str, *, classes: int = 2, weights=None, **architecture) -> Swin:
    """A Swin-T (or the Swin of the keywords `architecture`) with one of the three published heads.

    variant: "frozen_two_layer", only a new two-layer head is trained; "whole", everything is; "frozen_linear", only
    a linear head is, warm-started from a trained "whole". weights: None for random ones, a path to torchvision's
    Swin-T checkpoint (.pth or .safetensors), or a state dict with torchvision's key names or this module's. The
    head in them is used if it has the variant's shapes and left out otherwise, as ImageNet's 1,000 classes are.
    ValueError when "frozen_linear" is given weights without its head, for an unknown variant, or for weights that
    do not fit; FileNotFoundError when the file is absent.
    """
    if variant not in VARIANTS:
        raise ValueError(_UNKNOWN.format(variant))
    model = Swin(classes, **architecture)
    model.head = classifier_head(variant, features=model.width, classes=classes)
    if weights is not None:
        state = read_weights(weights) if isinstance(weights, str | Path) else dict(weights)
        state = _ours(state) if "features.0.0.weight" in state else state
        stored = {key: value for key, value in state.items() if key.startswith("head.")}
        wanted = {f"head.{key}": value for key, value in model.head.state_dict().items()}
        fits = {k: v.shape for k, v in stored.items()} == {k: v.shape for k, v in wanted.items()}
        if variant == "frozen_linear" and not fits:
            raise ValueError(
                f"The weights hold no linear head of {classes} classes: frozen_linear continues from a trained "
                "'whole' classifier, so give that one's weights."
            )
        _load(model, {k: v for k, v in state.items() if k not in stored} | (stored if fits else wanted))
    return model if variant == "whole" else model.freeze()


def _ours(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under this module's key names, without the derived index buffers."""
    renamed = {}
    for key, value in state_dict.items():
        if key.endswith(".relative_position_index"):
            continue
        for theirs, ours in _FROM_TORCHVISION:
            key = key.replace(theirs, ours)
        renamed[key] = value
    return renamed


def _load(model: Swin, state: dict[str, Tensor]) -> Swin:
    own = model.state_dict()
    faults = {
        "missing": own.keys() - state.keys(),
        "unexpected": state.keys() - own.keys(),
        "of another shape": {k for k in own.keys() & state.keys() if own[k].shape != state[k].shape},
    }
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {', '.join(sorted(keys))}" for kind, keys in faults.items() if keys)
        raise ValueError(f"The weights do not fit this Swin transformer ({listed}): give those of the same sizes.")
    model.load_state_dict(state)
    return model
