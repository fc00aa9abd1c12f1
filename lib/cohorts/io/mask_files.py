"""Masks in image files of their own: of an image a/b.png the file a/b.png of the folder of masks, of any suffix."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lib.cohorts.io.image_search import ImageFile, find_files
from lib.cohorts.io.resampling import fitted
from lib.cohorts.io.user_images import FORMATS


class MaskFiles:
    """The masks of image files, in the place of an array, (n, size, size) uint8, 0 or 1; read when they are asked for.

    folder: of the masks. files: the images. shapes: of each of these, (height, width), which its mask must have. A
    pixel is inside where it is not 0; a pixel of `size` where at least half of what it covers is. fit: as in `fitted`.

    Raises ValueError, naming the file, for an image without a mask and with two; and when it is read, for a mask of
    another size.
    """

    def __init__(
        self, folder: str | Path, files: Sequence[ImageFile], shapes: Sequence[tuple[int, int]], *, size: int, fit: str
    ):
        found: dict[str, list[ImageFile]] = {}
        for mask in find_files(Path(folder)).files:
            found.setdefault(_stem(mask), []).append(mask)
        for file in files:
            if (count := len(found.get(_stem(file), []))) != 1:
                held = f"{count} masks" if count else "no mask"
                raise ValueError(f"{folder}: {held} of {file.name}; give each image one, {_stem(file)}.png")
        self._masks, self._shapes, self._fit = [found[_stem(file)][0] for file in files], list(shapes), fit
        self.shape, self.ndim, self.dtype = (len(files), size, size), 3, np.dtype("uint8")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        asked = np.arange(len(self))[which]
        masks = [self._read(row) for row in np.atleast_1d(asked).tolist()]
        return np.stack(masks) if asked.ndim else masks[0]

    def _read(self, row: int) -> np.ndarray:
        mask = self._masks[row]
        (image,) = islice(FORMATS[mask.kind].read(mask.path), 1)
        if image.pixels.shape != self._shapes[row]:
            held, wanted = ("×".join(map(str, shape)) for shape in (image.pixels.shape, self._shapes[row]))
            raise ValueError(f"{mask.path}: {held} pixels, where its image has {wanted}; give the mask of that image")
        inside = (image.pixels > 0).astype(np.float32)
        high, wide = inside.shape
        if self._fit == "pad" and high != wide:  # what is padded is outside, also of a mask that is all inside
            longer = max(high, wide)
            square = np.zeros((longer, longer), np.float32)
            top, left = (longer - high) // 2, (longer - wide) // 2
            square[top : top + high, left : left + wide] = inside
            inside = square
        return (fitted(inside, self.shape[1], str(mask.path), fit=self._fit) >= 0.5).astype(np.uint8)


def _stem(file: ImageFile) -> str:
    """Its name without suffixes."""
    folder, _, name = file.name.rpartition("/")
    return f"{folder}/{name.split('.')[0]}".lstrip("/")
