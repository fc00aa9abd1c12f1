"""Grey images as rows of pixels that stay in uint8 until they are computed with: a quarter of their memory."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


class GreyRows:
    """uint8 images (n, ...) as rows (n, d) of float32 grey values in [0, 1], those of `lib.features.extract("pixels")`.

    `nearest` and the attacks by distance take them, and answer bit for bit as for these features. Of a tensor they have
    what is needed there: a part of the rows is again `GreyRows`, and `to` a dtype makes numbers of it. Lies on the GPU
    where there is one. ValueError for images of another dtype, or none.
    """

    dtype = torch.float32

    def __init__(self, images: ArrayLike | torch.Tensor, *, device: torch.device | None = None):
        grey = images if isinstance(images, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(images))
        if grey.dtype != torch.uint8 or grey.ndim < 2 or 0 in grey.shape:
            raise ValueError(f"images are {grey.dtype} of shape {tuple(grey.shape)}: give uint8 images (n, ...)")
        place = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._grey = grey.reshape(len(grey), -1).to(place)

    def __len__(self) -> int:
        return len(self._grey)

    @property
    def shape(self) -> torch.Size:
        """(n, d)."""
        return self._grey.shape

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self._grey.device

    def is_floating_point(self) -> bool:
        """True: the values are numbers in [0, 1]."""
        return True

    def __getitem__(self, which) -> "GreyRows":
        return self._part(self._grey[which])

    def split(self, rows: int) -> Iterator["GreyRows"]:
        """Parts of so many rows each, the last one may have fewer."""
        return (self._part(part) for part in self._grey.split(rows))

    def to(self, target):
        """The values in a dtype, a tensor; or these rows on a device."""
        return _values(self._grey).to(target) if isinstance(target, torch.dtype) else self._part(self._grey.to(target))

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """The values of some rows, float32."""
        return _values(self._grey.index_select(dim, index))

    def aminmax(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The smallest and the largest value."""
        low, high = self._grey.aminmax()
        return _values(low), _values(high)

    def mean(self, dim: int, dtype: torch.dtype) -> torch.Tensor:
        """The mean over one dimension, in a dtype."""
        return _values(self._grey).mean(dim=dim, dtype=dtype)

    def _part(self, grey: torch.Tensor) -> "GreyRows":
        part = object.__new__(GreyRows)
        part._grey = grey
        return part


def as_rows(values: ArrayLike | torch.Tensor | GreyRows, name: str) -> torch.Tensor:
    """Rows (n, d) to compute distances of: `GreyRows` as they are, all others by `checks.rows`."""
    return cast(torch.Tensor, values) if isinstance(values, GreyRows) else samples.rows(values, name)


def _values(grey: torch.Tensor) -> torch.Tensor:
    # By a tensor: a division by a number may be done as a product on a GPU, which rounds otherwise.
    return grey.float() / torch.full((), 255.0, device=grey.device)
