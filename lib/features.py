"""Features of images by named extractors: what distances, neighbours and attacks are computed on."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.core.inputs import reading
from lib.core.paths import root
from lib.core.seeding import device
from lib.metrics.fidelity.radiomics import FIRST_ORDER, radiomics
from lib.models.pretrained.inception import WEIGHTS, load_inception
from lib.training.loop.images import network_input
from lib.training.loop.inference import in_batches

EXTRACTORS = ("pixels", "radiomics", "radiomics_first_order", "inception")
_BATCH = 64


def extract(extractor: str | nn.Module, images, *, cache: Path | None = None) -> np.ndarray:
    """Features (n, d) of uint8 grey images (n, H, W) by the named extractor, or by the `features` of a classifier.

    A classifier sees pixels in [-1, 1], as in training; its features are float32.
    "pixels": all grey values in [0, 1], float32; of images of any shape (n, ...), such as units of several slices.
    "radiomics": 102 two-dimensional features, float64; "radiomics_first_order": the 18 of them that know no texture.
    "inception": the 2,048 pool features that Fréchet Inception distances are defined on, float32; needs the published
    weights (`inception_weights`). `cache`: folder in which radiomics are kept by content. Raises ValueError for another
    name, for images that are not uint8, and for colour or several slices where an extractor takes one grey image.
    """
    place = device()
    if isinstance(extractor, nn.Module):
        features = cast(Callable[[Tensor], Tensor], extractor.to(place).eval().features)
        return _by_network(lambda batch: features(network_input(batch)), _grey(images), place)
    if extractor not in EXTRACTORS:
        raise ValueError(f"unknown extractor {extractor!r}: choose one of {', '.join(EXTRACTORS)}")
    images = _uint8(images) if extractor == "pixels" else _grey(images)
    if extractor == "pixels":
        return images.reshape(len(images), -1).astype(np.float32) / 255
    if extractor == "inception":
        return _by_network(load_inception(inception_weights()).to(place), images, place)
    values = np.asarray(radiomics(images, cache=cache))
    return values[:, FIRST_ORDER] if extractor == "radiomics_first_order" else values


def inception_weights() -> Path:
    """Where the Inception weights of Fréchet Inception distances are looked for."""
    return reading(root() / "data" / "weights" / WEIGHTS)


def _uint8(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype}, whose range is not known: give uint8 images, from 0 to 255")
    return images


def _grey(images) -> np.ndarray:
    images = _uint8(images)
    if images.ndim != 3:
        raise ValueError(f"images have shape {images.shape}: give one grey image each, (n, H, W); turn colour to grey")
    return images


@torch.inference_mode()
def _by_network(network: Callable[[Tensor], Tensor], images, place: torch.device) -> np.ndarray:
    """What `network` makes of uint8 images (b, 1, H, W), a batch at a time: (n, d) float32."""

    def features(part: slice) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(images[part])).to(place)
        return network(batch[:, None]).float().cpu()

    return in_batches(features, len(images), _BATCH, kind=type(network).__name__).numpy()
