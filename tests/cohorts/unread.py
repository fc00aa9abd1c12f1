"""Images that count how many of them are asked for at a time."""

import numpy as np


class Unread:
    """The rows of an array (n, …), read by slices or numbers; `most` is the largest number that was read at once."""

    def __init__(self, images: np.ndarray):
        self._images, self.shape, self.dtype, self.ndim, self.most = images, images.shape, images.dtype, images.ndim, 0

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, which) -> np.ndarray:
        found = self._images[which]
        self.most = max(self.most, len(np.atleast_1d(np.arange(len(self))[which])))
        return found
