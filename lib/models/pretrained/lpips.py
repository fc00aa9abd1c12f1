"""LPIPS, the learned perceptual image patch similarity, and the network that stands in where its weights are absent.

Zhang et al. 2018: d(x, y) = Σ_l 1 / (H_l W_l) Σ_hw Σ_c w_lc (x̂_lhwc − ŷ_lhwc)², x̂ being the activations of five
layers, each position scaled to unit length. So it is a squared Euclidean distance: `features` gives the vectors between
which it is one, once an image, and exact nearest neighbours follow
(`lib.metrics.privacy.reidentification.nearest_real`). Its trunks, AlexNet and VGG-16, have torchvision's names; the
heads w those of the lpips package, version 0.1.

A distance of any other network is no LPIPS, and its number bears the `name` of that network.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.core.paths import root
from lib.models.pretrained.weights import read_weights, rehearsed_without

TRUNKS = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
ROTATIONS = 4
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # spec §6
# Layer numbers and channels of torchvision's `features`, five taps each: after the rectifier of the last of a tuple.
_ALEX = ((0, 64), (3, 192), (6, 384), (8, 256), (10, 256))
_VGG = (
    (0, 64), (2, 64), (5, 128), (7, 128), (10, 256), (12, 256), (14, 256),
    (17, 512), (19, 512), (21, 512), (24, 512), (26, 512), (28, 512),
)  # fmt: skip
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
_CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


class Lpips(nn.Module):
    """(n, 1 or 3, h, w) and (n, 1 or 3, h, w) float images in [-1, 1] -> distances (n,), 0 or more.

    trunk: "alex" (from 31 px) or "vgg" (from 16 px); one grey channel is used three times. `name` is that of its
    numbers. Its weights are random until `load_lpips` puts the published ones. ValueError for another trunk or shape.
    """

    def __init__(self, trunk: str = "alex"):
        super().__init__()
        if trunk not in TRUNKS:
            raise ValueError(f"unknown trunk {trunk!r}: choose one of {', '.join(TRUNKS)}")
        self.trunk, self.name = trunk, f"lpips_{trunk}"
        self.layers = _alexnet() if trunk == "alex" else _vgg()
        self.heads = nn.ParameterList([nn.Parameter(torch.ones(width)) for width in _CHANNELS[trunk]])

    def maps(self, images: Tensor) -> list[Tensor]:
        """Activations (n, c, h, w) of the five layers."""
        images = _prepared(images, channels=3)
        shift, scale = (images.new_tensor(values).view(-1, 1, 1) for values in (_SHIFT, _SCALE))
        return _tapped(self.layers, (images - shift) / scale, _TAPS[self.trunk])

    def features(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) -> (n, d): LPIPS is the squared Euclidean distance of these."""
        return embedding(self.maps(images), self.heads)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (self.features(first) - self.features(second)).square().sum(dim=1)


class RotationCNN(nn.Module):
    """The substitute of LPIPS: (n, 1, h, w) float images in [-1, 1] -> logits (n, 4) of the quarter turn.

    It learns, without any label, to tell by how many quarter turns an image was rotated (`rotations`), on images that
    are neither shared nor used to optimise what it evaluates. `features` are those of LPIPS with all heads 1.
    """

    name = "perceptual_rotation_cnn"

    def __init__(self, channels: int = 1, width: int = 16):
        super().__init__()
        layers, inputs = [], channels
        for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (4 * width, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.ReLU()]
            inputs = outputs
        self.channels, self.layers, self.head = channels, nn.Sequential(*layers), nn.Linear(inputs, ROTATIONS)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Activations (n, c, h, w) of the four layers."""
        return _tapped(self.layers, _prepared(images, channels=self.channels), (2, 5, 8, 11))

    def features(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) -> (n, d): the distance is the squared Euclidean distance of these."""
        return embedding(self.maps(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.maps(images)[-1].mean(dim=(2, 3)))


def rotations(images: Tensor) -> tuple[Tensor, Tensor]:
    """Square images (n, ..., s, s) in their four quarter turns (4n, ..., s, s), and the number of turns (4n,)."""
    turned = torch.cat([images.rot90(turns, dims=(-2, -1)) for turns in range(ROTATIONS)])
    return turned, torch.arange(ROTATIONS).repeat_interleave(len(images))


def embedding(maps: Iterable[Tensor], heads: Iterable[Tensor] | None = None) -> Tensor:
    """Vectors (n, d) of activations (n, c, h, w) of some layers, whose squared distance is that of LPIPS.

    `heads`: weights (c,), 0 or more, of the channels of each layer; None for 1.
    """
    maps = list(maps)
    heads = [torch.ones((), device=x.device) for x in maps] if heads is None else heads
    parts = []
    for x, weights in zip(maps, heads, strict=True):
        unit = x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
        scale = (weights.clamp_min(0) / x[0, 0].numel()).sqrt()  # the published heads are not negative
        parts.append((unit * scale.view(-1, 1, 1)).flatten(1))
    return torch.cat(parts, dim=1)


def load_lpips(trunk: str = "alex", *, folder=None) -> Lpips:
    """The network with its published weights, frozen, in eval mode, from `folder` or data/weights/.

    Two files: torchvision's ImageNet weights of the trunk, and the heads `lpips_<trunk>.pth`, which is weights/v0.1/
    <trunk>.pth of the lpips package and read from there where the package is installed. FileNotFoundError that says
    what is absent and where it comes from; ValueError for a damaged file or weights that do not fit.
    """
    model = Lpips(trunk)
    folder = Path(folder) if folder is not None else root() / "data" / "weights"
    body, heads = folder / TRUNKS[trunk], _heads_file(trunk, folder)
    if rehearsed_without(body, heads):
        return model.requires_grad_(False).eval()
    if not body.exists() or not heads.exists():
        raise FileNotFoundError(
            f"LPIPS needs {body.name} (https://download.pytorch.org/models/{body.name}) and {heads.name} (weights/v0.1/"
            f"{trunk}.pth of https://github.com/richzhang/PerceptualSimilarity) in {folder}, and "
            f"{' and '.join(path.name for path in (body, heads) if not path.exists())} is absent: put it there, or use "
            f"{RotationCNN.name}, whose numbers are not LPIPS."
        )
    stored = {key.replace("features", "layers"): value for key, value in read_weights(body).items()}
    for key, value in read_weights(heads).items():
        layer = key.removeprefix("lin").split(".")[0]
        stored[f"heads.{layer}"] = value.flatten()
    own = model.state_dict()
    wrong = sorted(key for key, value in own.items() if key not in stored or stored[key].shape != value.shape)
    if wrong:
        raise ValueError(f"The weights in {folder} are not those of LPIPS ({trunk}): {', '.join(wrong)} do not fit.")
    model.load_state_dict({key: stored[key] for key in own})
    return model.requires_grad_(False).eval()


def _heads_file(trunk: str, folder: Path) -> Path:
    beside = folder / f"lpips_{trunk}.pth"
    package = importlib.util.find_spec("lpips")
    if beside.exists() or package is None or package.origin is None:
        return beside
    return Path(package.origin).parent / "weights" / "v0.1" / f"{trunk}.pth"


def _alexnet() -> nn.Sequential:
    kernels = {0: (11, 4, 2), 3: (5, 1, 2), 6: (3, 1, 1), 8: (3, 1, 1), 10: (3, 1, 1)}
    layers: dict[int, nn.Module] = {}
    inputs = 3
    for at, outputs in _ALEX:
        layers[at], layers[at + 1], inputs = nn.Conv2d(inputs, outputs, *kernels[at]), nn.ReLU(), outputs
    layers |= {2: nn.MaxPool2d(3, 2), 5: nn.MaxPool2d(3, 2)}
    return nn.Sequential(*(layers[at] for at in sorted(layers)))


def _vgg() -> nn.Sequential:
    layers: dict[int, nn.Module] = {}
    inputs = 3
    for at, outputs in _VGG:
        layers[at], layers[at + 1], inputs = nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), outputs
    layers |= {at: nn.MaxPool2d(2, 2) for at in (4, 9, 16, 23)}
    return nn.Sequential(*(layers[at] for at in sorted(layers)))


def _tapped(layers: nn.Sequential, x: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    found = []
    for at, layer in enumerate(layers):
        x = layer(x)
        if at in taps:
            found.append(x)
    return found


def _prepared(images: Tensor, *, channels: int) -> Tensor:
    if images.ndim != 4 or images.shape[1] not in (1, channels):
        raise ValueError(f"images have shape {tuple(images.shape)}: give (n, 1 or {channels}, h, w) in [-1, 1]")
    return images.expand(-1, channels, -1, -1)
