"""What all trained generators have in common: their images are drawn by `sample`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from lib.core import seeding
from lib.training.loop.images import pixels
from lib.training.loop.inference import in_batches


class TrainedGenerator(ABC):
    """A finished training's `generator`, in eval mode and without gradients, and the `settings` it was trained by.

    `name`: of the method, by which lib.generators knows it; a checkpoint has it as settings["model"]. `also_stored`:
    how the names of tensors begin that weights/ keeps beside those that `sample` needs.
    """

    name: ClassVar[str]
    also_stored: ClassVar[tuple[str, ...]] = ()
    generator: nn.Module

    def __init__(self, generator: nn.Module, settings: dict):
        self.generator, self.settings = generator.requires_grad_(False).eval(), settings

    @classmethod
    @abstractmethod
    def restored(cls, tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Self:
        """The generator on `device`, from what its finished training left in a checkpoint."""

    @abstractmethod
    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """`n` images: uint8 (n, s, s), or (n, c, s, s) with c > 1 channels, `batch` of them computed at a time.

        labels: n of them, as the generator was trained on; None only where it was trained without. The noise of image
        i depends on `seed` and i, and not on the labels: the same seed with other labels shows what these do.
        ValueError for labels of another shape or range, and for an `n`, a `seed` or a `batch` that is no whole number
        of at least 1, 0 and 1.
        """

    @property
    def classes(self) -> int:
        """How many labels it knows of which each image has one; 1 where it was trained without, or by findings."""
        return getattr(self.generator, "classes", 1)

    @property
    def findings(self) -> int:
        """How many labels it knows of which an image has any or none; 0 where it was trained without, or by classes."""
        return getattr(self.generator, "labels", 0)

    @property
    def device(self) -> torch.device:
        """Where the generator computes."""
        return next(self.generator.parameters()).device


@torch.inference_mode()
def drawn(draw: Callable[..., Tensor], *inputs: Tensor, batch: int, device: torch.device) -> np.ndarray:
    """The images of draw(*inputs) as `pixels`, `batch` rows of every input at a time, moved to `device`.

    ValueError for a batch that is no whole number from 1.
    """
    _check_whole("batch", batch, 1)

    def images(part: slice) -> Tensor:
        return torch.from_numpy(pixels(draw(*(values[part].to(device) for values in inputs))))

    return in_batches(images, len(inputs[0]), batch).numpy()


def class_labels(labels, n: int, classes: int) -> Tensor:
    """The (n,) integer labels, each below `classes`, as int64; None stands for zeros where there is one class.

    ValueError for other labels.
    """
    _check_whole("n", n, 1)
    values = np.zeros(n, np.int64) if labels is None and classes == 1 else _array(labels)
    if values.shape != (n,) or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= classes:
        raise ValueError(f"Labels to generate must be {n} integers in 0..{classes - 1}, not {_described(values)}.")
    return torch.from_numpy(values.astype(np.int64))


def finding_labels(labels, n: int, columns: int) -> Tensor:
    """The labels (n, columns), numbers in [0, 1], as float32; (n,) stands for one column. ValueError for others."""
    _check_whole("n", n, 1)
    given = _array(labels)
    values = given[:, None] if given.ndim == 1 else given
    if values.shape != (n, columns) or values.dtype.kind not in "iufb" or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Labels to generate must be ({n}, {columns}) numbers in [0, 1], not {_described(given)}.")
    return torch.from_numpy(values.astype(np.float32))


def normal_noise(n: int, width: int, seed: int, *names: str, in_blocks: bool = True) -> Tensor:
    """Standard normal numbers (n, width) of the stream `names`; row i is the same for every n > i if drawn `in_blocks`.

    ValueError for an `n` that is no whole number from 1, or a `seed` that is none from 0.
    """
    _check_whole("n", n, 1)
    _check_whole("seed", seed, 0)
    rows = -(-n // 16) * 16 if in_blocks else n  # torch fills blocks of 16 numbers one after another
    return torch.randn(rows, width, generator=seeding.torch_generator(seed, *names))[:n]


def _check_whole(name: str, value, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}.")


def _array(labels) -> np.ndarray:
    """The labels as they are; those that are no array of numbers as one of objects, which no generator takes."""
    try:
        return np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    except ValueError:  # rows of different lengths
        return np.empty(len(labels), object)


def _described(values: np.ndarray) -> str:
    if values.ndim == 0:
        return repr(values.item())
    extent = f" from {values.min()} to {values.max()}" if values.size and values.dtype.kind in "iuf" else ""
    return f"{values.dtype} of shape {values.shape}{extent}"
