"""GAN inversion: the w of a StyleGAN2 generator whose image is nearest to a given one.

Pennisi et al. 2023, spec §4.4, and Karras et al. 2020 (arXiv 1912.04958, appendix D): w alone is
optimised, from the mean of its class, the generator and its noise being fixed. The loss is the mean squared
difference of the pixels plus one of features, by default of a Laplacian pyramid, which needs no weights. Whatever
features are used here should not evaluate privacy afterwards.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.gan.stylegan2 import Generator
from lib.training.gan.stylegan2 import class_means, known_labels
from lib.training.loop.dataset import DeviceDataset

FEATURES = ("laplacian", "none")


def invert(
    generator: Generator, images, labels, *, steps: int = 200, learning_rate: float = 0.2,
    features: str | Callable = "laplacian", feature_weight: float = 1.0, pixel_weight: float = 1.0, batch: int = 64,
    progress: Callable | None = None,
) -> Tensor:  # fmt: skip
    """w (n, latent) float32 on the generator's device, detached, of images (n, s, s) or (n, c, s, s) uint8.

    labels: (n,) integers of the generator's classes; each w starts at its class's mean. Adam, learning_rate in units
    of the SD of w, falling to 0 as a half cosine. The loss is feature_weight times the distance of the features,
    "laplacian" (see `laplacian_distance`), "none", or a function of images (b, c, s, s) in [-1, 1] that returns a list
    of maps (b, d, h, w), compared as LPIPS does (`unit_distance`); plus pixel_weight times the mean squared difference.
    The result of an image depends on no other: `batch` bounds the memory. progress: called as progress(images done,
    loss=their mean loss). ValueError for images, labels or features that do not fit.
    """
    if not callable(features) and features not in FEATURES:
        raise ValueError(f"unknown features {features!r}: choose one of {', '.join(FEATURES)}, or give a function")
    device = generator.constant.device
    given = DeviceDataset(images, None, device=device, name="given")
    shape = (generator.channels, generator.image_size, generator.image_size)
    if tuple(given.values.shape[1:]) != shape:
        raise ValueError(f"The images are {tuple(given.values.shape[1:])}: the generator draws {shape}.")
    labels = known_labels(generator, labels).to(device)
    if len(labels) != len(given):
        raise ValueError(f"There are {len(given)} images and {len(labels)} labels: give one label an image.")
    means, spread = (value.clone() if isinstance(value, Tensor) else value for value in class_means(generator))
    trainable = [p for p in generator.parameters() if p.requires_grad]
    generator.requires_grad_(False)  # nothing is then computed for the weights
    found = []
    try:
        for start in range(0, len(given), batch):
            part = slice(start, start + batch)
            distance = _distance(given.inputs(part), features, feature_weight, pixel_weight)
            w, loss = _descended(generator, means[labels[part]], distance, steps, learning_rate * spread)
            found.append(w)
            if progress:
                progress(start + len(w), loss=float(loss))
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
    return torch.cat(found)


def laplacian_distance(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j mean |L_j(a) - L_j(b)| of images (n, c, s, s), L_j the levels of their Laplacian pyramid down to 4 px: (n,).

    Ling and Okada 2006, whose 4^j times a sum over pixels is this mean; as a loss of generators Bojanowski et al. 2018
    (arXiv 1707.05776). A level is what averaging over 2 x 2 pixels loses, the last one what remains.
    """
    rest, total = a - b, 0.0
    while rest.shape[-1] > 4:
        coarse = F.avg_pool2d(rest, 2)
        total = total + (rest - F.interpolate(coarse, scale_factor=2.0, mode="nearest")).abs().mean(dim=(1, 2, 3))
        rest = coarse
    return total + rest.abs().mean(dim=(1, 2, 3))


def unit_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Of two lists of maps (n, d, h, w): the squared difference of their unit vectors of d numbers, the mean over
    pixels, the sum over the list (n,): the form of LPIPS with equal weights."""
    pairs = zip(a, b, strict=True)
    return sum((F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean(dim=(1, 2)) for x, y in pairs)


def _distance(target: Tensor, features: str | Callable, feature_weight: float, pixel_weight: float) -> Callable:
    """The loss of each image, as a function of what was drawn."""
    wanted = [x.detach() for x in features(target)] if callable(features) else None

    def distance(images: Tensor) -> Tensor:
        loss = pixel_weight * (images - target).square().mean(dim=(1, 2, 3))
        if wanted is not None:
            return loss + feature_weight * unit_distance(features(images), wanted)
        return loss + feature_weight * laplacian_distance(images, target) if features == "laplacian" else loss

    return distance


def _descended(generator: Generator, w: Tensor, distance: Callable, steps: int, rate: float) -> tuple[Tensor, Tensor]:
    w = w.clone().requires_grad_()
    adam = torch.optim.Adam([w], lr=rate)
    loss = torch.zeros((), device=w.device)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        loss = distance(generator.synthesis(w))
        (w.grad,) = torch.autograd.grad(loss.sum(), w)
        adam.step()
    return w.detach(), loss.detach().mean()
