"""DenseNet-121, the classifier of chest radiographs (Han et al. 2019, spec §4.2), without torchvision.

Huang et al. 2017, with the parameter names of torchvision's `densenet121`, whose ImageNet weights load through
`load_imagenet`. The preparation of the radiographs belongs to the network.
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.pretrained.weights import read_weights

WEIGHTS = "densenet121-a639ec97.pth"
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's red, green and blue, in [0, 1]
_SD = (0.229, 0.224, 0.225)


class DenseNet(nn.Module):
    """(n, 1 or 3, h, w) radiographs -> (n, classes) logits; the defaults are DenseNet-121 (6,968,206 parameters).

    Radiographs are uint8, or float32 in [-1, 1] as `lib.training.loop.images.network_input` gives them; one grey
    channel is used three times. The shorter side becomes `input_size` (bilinear, antialiased), the middle square is cut
    out and normalised by ImageNet's mean and SD. `growth`: the channels each layer adds. `blocks`: the layers of each
    block.
    """

    def __init__(self, classes=14, *, growth=32, blocks=(6, 12, 24, 16), stem=64, input_size=224):
        super().__init__()
        self.features = _Features(growth, blocks, stem, input_size)
        self.classifier = nn.Linear(self.features.width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


class _Features(nn.Sequential):
    """Radiographs -> (n, width): the mean over positions of the last rectified maps."""

    def __init__(self, growth: int, blocks: tuple, stem: int, input_size: int):
        super().__init__()
        self.input_size = input_size
        self.add_module("conv0", nn.Conv2d(3, stem, 7, 2, 3, bias=False))
        self.add_module("norm0", nn.BatchNorm2d(stem))
        self.add_module("relu0", nn.ReLU(inplace=True))
        self.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        width = stem
        for index, layers in enumerate(blocks, 1):
            self.add_module(f"denseblock{index}", _Block(width, growth, layers))
            width += layers * growth
            if index < len(blocks):
                self.add_module(f"transition{index}", _Transition(width))
                width //= 2
        self.add_module(f"norm{len(blocks) + 1}", nn.BatchNorm2d(width))
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(prepared(images, self.input_size)).relu().mean(dim=(2, 3))


class _Block(nn.ModuleDict):
    """Every layer sees the input and what all layers before it added."""

    def __init__(self, width: int, growth: int, layers: int):
        super().__init__({f"denselayer{i + 1}": _Layer(width + i * growth, growth) for i in range(layers)})

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class _Layer(nn.Module):
    """Normalise, rectify, 1x1 convolution to 4 `growth` channels; the same with 3x3 to `growth`."""

    def __init__(self, width: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        return self.conv2(F.relu(self.norm2(x), inplace=True))


class _Transition(nn.Module):
    """Half the channels, half the size. The mean is taken before the 1x1 convolution, which commutes with it."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(F.relu(self.norm(x), inplace=True), 2))


def prepared(images: Tensor, size: int) -> Tensor:
    """(n, 1 or 3, h, w) uint8, or float in [-1, 1], as ImageNet's classifiers expect them: (n, 3, size, size).

    ValueError for another shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"DenseNet takes (n, 1 or 3, h, w) radiographs, not {tuple(images.shape)}.")
    images = images / 255 if images.dtype == torch.uint8 else (images + 1) / 2
    shorter = min(images.shape[2:])
    if shorter != size:
        sides = [size * side // shorter for side in images.shape[2:]]
        images = F.interpolate(images, size=sides, mode="bilinear", antialias=True)
    top, left = (round((side - size) / 2) for side in images.shape[2:])
    images = images[:, :, top : top + size, left : left + size]
    mean, sd = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (_MEAN, _SD))
    return ((images - mean) / sd).contiguous(memory_format=torch.channels_last)


def load_imagenet(model: DenseNet, path) -> DenseNet:
    """Put torchvision's ImageNet weights, a .pth or .safetensors file, into `model`; its head is used if it fits.

    The published file's key names (`norm.1`, `conv.1`, ... in the layers) and the later ones (`norm1`, `conv1`, ...)
    are known; counters of training batches, which the file lacks, start from 0. FileNotFoundError that says where
    the weights come from; ValueError for a damaged file, or for weights that do not fit, with every such key.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There are no DenseNet-121 weights at {path}: download torchvision's DenseNet121_Weights.IMAGENET1K_V1 "
            f"from https://download.pytorch.org/models/{WEIGHTS} into data/weights/."
        )
    stored = {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): value for key, value in read_weights(path).items()}
    own = model.state_dict()
    fixed = {key: torch.zeros_like(value) for key, value in own.items() if key.endswith("num_batches_tracked")}
    head = {key: value for key, value in own.items() if key.startswith("classifier.")}
    if any(key not in stored or stored[key].shape != value.shape for key, value in head.items()):
        fixed |= head
        stored = {key: value for key, value in stored.items() if key not in head}
    stored = fixed | stored
    wrong = sorted(own.keys() ^ stored.keys())
    wrong += sorted(key for key in own.keys() & stored.keys() if own[key].shape != stored[key].shape)
    if wrong:
        raise ValueError(
            f"The weights in {path} are not this DenseNet's, {len(wrong)} keys differ ({', '.join(wrong)}): "
            f"give torchvision's {WEIGHTS}."
        )
    model.load_state_dict(stored)
    return model
