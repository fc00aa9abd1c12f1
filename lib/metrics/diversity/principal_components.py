"""Principal components of images that do not fit into memory together: fitted and applied in pieces.

A vertebral unit at full size has 225,792 values, so that 10,000 of them take 9 GB as floats. Incremental principal
components (Ross et al. 2008, as in scikit-learn) hold one piece, the mean and the components.
"""

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F

PIECE = 400  # images held as floats at a time


class PrincipalComponents:
    """The first `count` principal components of images, of one channel or several, at the size (H, W).

    Images (n, c, h, w) of any real dtype, or rows of a file that are read when they are asked for, are magnified or
    reduced to `size`, bicubically, where they have another. With images of a rank up to `count` this is the exact
    transformation; of a higher rank it errs by what the remainders of the pieces hold. Raises ValueError for fewer
    images than components.
    """

    def __init__(self, count: int, *, size: tuple[int, int], piece: int = PIECE):
        from sklearn.decomposition import IncrementalPCA  # a second to import

        self.size, self.piece, self.count = tuple(size), max(piece, count), count
        self._found = IncrementalPCA(count)

    def fit(self, images: np.ndarray) -> Self:
        """Fit to images (n, c, h, w), in pieces of which none is smaller than the number of components."""
        if len(images) < self.count:
            raise ValueError(f"{len(images)} images have no {self.count} principal components: give more images")
        starts = list(range(0, len(images) - self.count + 1, self.piece))
        for low, high in zip(starts, [*starts[1:], len(images)], strict=True):
            self._found.partial_fit(self._flat(images[low:high]))
        return self

    def transform(self, images: np.ndarray) -> np.ndarray:
        """The components (n, count) of images (n, c, h, w), float64."""
        pieces = range(0, len(images), self.piece)
        return np.concatenate([self._found.transform(self._flat(images[low : low + self.piece])) for low in pieces])

    def _flat(self, images: np.ndarray) -> np.ndarray:
        values = torch.as_tensor(np.asarray(images), dtype=torch.float32)
        if tuple(values.shape[-2:]) != self.size:
            values = F.interpolate(values, size=self.size, mode="bicubic", align_corners=False)
        return values.flatten(1).numpy()
