"""Labelled images resident on the device, and augmented batches of them."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.training.loop.images import flipped, network_input

AUGMENTATIONS = ("flips", "none")


class DeviceDataset:
    """Images kept on `device` as they are stored (uint8 stays uint8), with their labels.

    images: (n, h, w) or (n, c, h, w), uint8 or float32, array, tensor or rows of an HDF5 file. uint8 reaches the
    network as float32 in [-1, 1] (that is [0, 1] normalised with mean and SD 0.5); float32 unchanged.
    labels: (n,) integers from 0, or None. `name` says in errors which images are meant. `digest`: SHA-256 of the
    content. ValueError for an unknown augmentation, another shape or dtype, no image, or NaN.
    """

    def __init__(self, images, labels, *, device, augment: str = "none", name: str = "training"):
        if augment not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {augment!r}: choose one of {', '.join(AUGMENTATIONS)}")
        self.augment, self.name = augment, name
        values = _pixels(images, name)
        classes = None if labels is None else _classes(labels, len(values), name)
        self.digest = _digest(values, classes)
        self.values = values.to(device)
        self._labels = None if classes is None else classes.to(device)

    @property
    def labels(self) -> Tensor:
        """The labels (n,) int64; ValueError where none were given."""
        if self._labels is None:
            raise ValueError(f"The {self.name} images have no labels: give one an image.")
        return self._labels

    def __len__(self) -> int:
        return len(self.values)

    def draw_flips(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Whether each of n images is mirrored (left-right, upside down): (n, 2) bool, None without augmentation."""
        if self.augment == "none":
            return None
        return torch.randint(0, 2, (n, 2), generator=generator, dtype=torch.bool).to(self.values.device)

    def inputs(self, rows: Tensor | slice, flips: Tensor | None = None) -> Tensor:
        """What the network sees of `rows`, flipped as `draw_flips` drew: (n, c, h, w) float32."""
        images = self.values[rows]
        if flips is not None:
            images = flipped(images, flips)
        return network_input(images)


class Features(DeviceDataset):
    """The features of some examples under each flip, where a frozen backbone always gives the same.

    features: (v, n, d) float32 from `lib.training.classifier.single_label.frozen_features`, v = 4 with flips, else 1.
    """

    def __init__(self, features: Tensor, examples: DeviceDataset):
        self.augment, self.name, self.digest = examples.augment, examples.name, examples.digest
        self.features, self._labels = features, examples._labels
        self.values = features[0]  # of the images as they are, (n, d)

    def inputs(self, rows: Tensor | slice, flips: Tensor | None = None) -> Tensor:
        """The features (n, d) of `rows`, of the flips that `draw_flips` drew."""
        if flips is None:
            return self.features[0, rows]
        return self.features[flips[:, 0] + 2 * flips[:, 1], rows]


def uint8_squares(
    images, labels, *, device, channels: int | None = None, sizes: Sequence[int] = (), name: str = "training"
) -> DeviceDataset:  # fmt: skip
    """A `DeviceDataset` of uint8 (n, c, s, s): c `channels` and s one of `sizes` where they are given.

    Images (n, s, s) have one channel. ValueError for other images, and what `DeviceDataset` refuses.
    """
    examples = DeviceDataset(images, labels, device=device, name=name)
    n, c, height, width = examples.values.shape
    if examples.values.dtype != torch.uint8:
        raise ValueError(f"The {name} images are {examples.values.dtype}: give uint8, 0 to 255.")
    if height != width or (sizes and height not in sizes):
        wanted = f" of one of {', '.join(map(str, sizes))} pixels" if sizes else ""
        raise ValueError(f"The {name} images are {height} x {width}: give squares{wanted}.")
    if channels is not None and c != channels:
        raise ValueError(f"The {name} images have {c} channels: give {channels}.")
    return examples


def grey_images(images, labels, *, device, name: str = "training") -> DeviceDataset:
    """A `DeviceDataset` of grey images (n, 1, h, w), or (n, h, w); ValueError for more channels."""
    examples = DeviceDataset(images, labels, device=device, name=name)
    if examples.values.shape[1] != 1:
        raise ValueError(f"The {name} images have {examples.values.shape[1]} channels: give grey ones, (n, s, s).")
    return examples


def check_every_class(labels: Tensor, classes: int) -> None:
    """ValueError unless each of the classes 0 to `classes - 1`, and no other, is among the labels (n,)."""
    present = labels.unique().tolist()
    if present != list(range(classes)):
        raise ValueError(f"The labels hold the classes {present}: each of 0..{classes - 1} must occur, and no other.")


def check_batch(batch: int, examples: DeviceDataset) -> None:
    """ValueError for a batch of fewer than one or of more images than there are."""
    if not 1 <= batch <= len(examples):
        raise ValueError(f"The batch is {batch} of {len(examples)} {examples.name} images: give 1 to that many.")


def _pixels(images, name: str) -> Tensor:
    values = images.detach().cpu() if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if values.dtype == torch.float64:
        values = values.float()
    if values.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"The {name} images are {values.dtype}: give uint8 (0 to 255) or float32.")
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or 0 in values.shape:
        raise ValueError(f"The {name} images have shape {tuple(values.shape)}: give (n, h, w) or (n, c, h, w), n > 0.")
    if values.is_floating_point() and not torch.isfinite(values).all():
        raise ValueError(f"The {name} images hold NaN or infinite pixels: repair or drop them.")
    return values


def _classes(labels, n: int, name: str) -> Tensor:
    values = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if values.shape != (n,) or values.dtype.kind not in "iub":
        raise ValueError(f"The {name} labels are {values.dtype} of shape {values.shape}: give {n} integers.")
    values = values.astype(np.int64)
    if values.min() < 0:
        raise ValueError(f"The {name} labels hold {values.min()}: classes are counted from 0.")
    return torch.from_numpy(values)


def _digest(values: Tensor, labels: Tensor | None) -> str:
    content = hashlib.sha256(f"{tuple(values.shape)} {values.dtype}".encode())
    for part in (values, labels):
        if part is not None:
            content.update(part.contiguous().numpy().data)
    return content.hexdigest()
