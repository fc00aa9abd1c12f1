"""Classifiers of people and of findings: a small classifier, and an embedding in which one person's images are near.

Montenegro et al. 2021, spec §4.1 and §4.2: kernels, widths, order of the layers and the constants of
batch normalisation are Keras's; convolutions are padded alike on both sides, where Keras pads one pixel more at the
end. Both take grey images in [-1, 1].
"""

from torch import Tensor, nn

from lib.models.layers.convolution import Convolution

_DENSE = 32
_SLOPE = 0.2
_DISTANCE_EPSILON = 1e-8


class ConvClassifier(nn.Module):
    """(n, 1, s, s) -> LOGITS (n, classes) of findings or of people; published image_size 64, width 32, momentum 0.01.

    Four times convolution, ReLU, batch normalisation (`momentum` in PyTorch's sense: the weight of the newest batch)
    and maximum over 3 x 3 with stride 2; a dense layer of `width`, dropout and a linear head. ValueError for a size
    that is no multiple of 16, and for images of another size.
    """

    def __init__(self, image_size: int = 64, classes: int = 2, width: int = 32, momentum: float = 0.01):
        super().__init__()
        if image_size < 16 or image_size % 16:
            raise ValueError(f"The image size {image_size} is not a multiple of 16, as four halvings need.")
        self.image_size = image_size
        layers = []
        for inputs, kernel in ((1, 5), (width, 5), (width, 3), (width, 3)):
            layers += [Convolution(inputs, width, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
            layers += [_norm(width, momentum), nn.MaxPool2d(3, 2, ceil_mode=True)]
        dense = [nn.Flatten(), nn.Linear(width * (image_size // 16) ** 2, _DENSE), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, *dense, nn.Dropout(0.25))
        self.head = nn.Linear(_DENSE, classes)
        self.apply(initialise)

    def features(self, images: Tensor) -> Tensor:
        """(n, 32): what the head sees."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = "×".join(map(str, images.shape[-2:]))
            raise ValueError(f"The classifier takes images of {self.image_size} px, not of {size}: train one on these.")
        return self.layers(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Embedding(nn.Module):
    """(n, 1, s, s) -> points (n, dimensions): images are of one person when their points are near (see `distances`).

    Published width 32 and 256 dimensions: convolutions of width, 2, 4 and 8 times it and stride 2, each followed by
    batch normalisation and leaky ReLU; the mean over positions; a linear layer, not normalised. Any size from 16 px.
    """

    def __init__(self, width: int = 32, dimensions: int = 256, momentum: float = 0.01):
        super().__init__()
        self.dimensions = dimensions
        layers, inputs = [], 1
        for level, kernel in enumerate((5, 5, 3, 3)):
            outputs = width * 2**level
            layers += [Convolution(inputs, outputs, kernel, 2, kernel // 2), _norm(outputs, momentum)]
            layers += [nn.LeakyReLU(_SLOPE, inplace=True)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, dimensions)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.layers(images).mean(dim=(2, 3)))


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance (n, m) of every row of `first` (n, d) from every row of `second` (m, d).

    Differences are formed before they are squared, so that near points keep their digits; 1e-8 is added under the
    root, which has no gradient at 0 (spec §7, D17): the distance of a point from itself is 1e-4.
    """
    return (first[:, None] - second[None]).square().sum(dim=2).add(_DISTANCE_EPSILON).sqrt()


def paired_distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance (n,) of each row of `first` (n, d) from the same row of `second`; 1e-8 as in `distances`."""
    return (first - second).square().sum(dim=1).add(_DISTANCE_EPSILON).sqrt()


def initialise(module: nn.Module) -> None:
    """Keras's default of a convolution or dense layer: uniform weights after Glorot and Bengio 2010, no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)
