"""Images and labels that hold nothing of a method: what a claim must not be met by.

A claim that an effect is there is compared with the same effect of these (`lib.experiment.verdict`).
"""

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 512  # images at a time


def uniform_noise(shape: tuple[int, ...], *, rng: np.random.Generator) -> np.ndarray:
    """Images of this shape, uint8: every pixel uniform from 0 to 255, and independent of all others."""
    return rng.integers(0, 256, size=shape, dtype=np.uint8)


def class_mean_noise(
    images: ArrayLike, labels: ArrayLike, *, wanted: ArrayLike, rng: np.random.Generator
) -> np.ndarray:
    """For each label `wanted` (m,) the mean image of its class plus independent normal noise: (m, ...) uint8.

    images (n, ...) uint8, labels (n,). The noise has the SD that the pixel has within the class, so that mean and SD of
    every pixel are those of real images. Raises ValueError for a wanted label that no image has.
    """
    images, labels, wanted = np.asarray(images), np.asarray(labels), np.asarray(wanted)
    if absent := sorted(set(wanted.tolist()) - set(labels.tolist())):
        raise ValueError(f"no image has the label {absent[0]!r}: give images of every wanted class")
    made = np.empty((len(wanted), *images.shape[1:]), np.uint8)
    for label in np.unique(wanted):
        of_class, here = images[labels == label].astype(np.float32), wanted == label
        noise = rng.standard_normal((here.sum(), *images.shape[1:]), dtype=np.float32)
        made[here] = (of_class.mean(axis=0) + of_class.std(axis=0) * noise).round().clip(0, 255)
    return made


def label_mean_noise(images, labels: ArrayLike, *, wanted: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """For each row of labels `wanted` (m, k) its mean image plus independent normal noise: (m, ...) uint8.

    images (n, ...) uint8, an array or unread rows; labels (n, k), several of which an image may have. The mean image of
    labels y is that of least squares, pixel by pixel a constant plus y times a slope a label, and the noise has the SD
    of what is left, so that no image is repeated where a row of labels stands once. Of one label at most an image, and
    equal SD, it is `class_mean_noise`. Drawn in blocks, so that the result is all that takes memory. Raises ValueError
    for labels that are no rows of k numbers.
    """
    labels, wanted = np.asarray(labels, np.float64), np.asarray(wanted, np.float64)
    if labels.ndim != 2 or wanted.ndim != 2 or wanted.shape[1] != labels.shape[1] or len(labels) != len(images):
        raise ValueError(
            f"labels are {labels.shape} for {len(images)} images, wanted {wanted.shape}: give (n, k), (m, k)"
        )
    shape, pixels = images.shape[1:], int(np.prod(images.shape[1:]))
    design = np.column_stack([np.ones(len(labels)), labels])
    products, squares = np.zeros((design.shape[1], pixels)), np.zeros(pixels)
    for start in range(0, len(images), _BLOCK):
        part = np.asarray(images[start : start + _BLOCK]).reshape(-1, pixels).astype(np.float64)
        products += design[start : start + _BLOCK].T @ part
        squares += np.square(part).sum(axis=0)
    slopes = np.linalg.lstsq(design.T @ design, products, rcond=None)[0]  # singular where two labels are one
    left = np.sqrt(np.maximum(squares - (slopes * products).sum(axis=0), 0) / len(images)).astype(np.float32)
    made = np.empty((len(wanted), *shape), np.uint8)
    asked = np.column_stack([np.ones(len(wanted)), wanted])
    for start in range(0, len(wanted), _BLOCK):
        means = (asked[start : start + _BLOCK] @ slopes).astype(np.float32)
        means += left * rng.standard_normal(means.shape, dtype=np.float32)
        made[start : start + _BLOCK] = means.round().clip(0, 255).reshape(-1, *shape)
    return made


def shuffled(labels: ArrayLike, *, groups: ArrayLike, rng: np.random.Generator) -> np.ndarray:
    """The labels (n,) permuted among patients: whoever has as many images as another may get that one's labels.

    groups (n,): the patient of each image. Images keep their order, and a patient's labels stay together, so that only
    the tie between image and label is lost. With single images a patient this is a permutation of the labels.
    """
    labels = np.asarray(labels)
    code = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = np.argsort(code, kind="stable")  # the images, patient by patient
    sizes = np.bincount(code)
    starts = np.cumsum(sizes) - sizes
    given = np.empty_like(labels)
    for size in np.unique(sizes):
        places = order[starts[sizes == size][:, None] + np.arange(size)]  # (patients of this size, size)
        given[places] = labels[rng.permutation(places)]
    return given
