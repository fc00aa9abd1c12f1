"""The circle of an iris in a grey image, and what follows from it: a centred image and a mask of the disc.

The steps and numbers are those published with the data preparation of case-based explanations of iris images. The
Hough transform is this project's own, so circles agree within a pixel or two and not bit for bit.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import correlate1d

SIZE = 64
BOTTOM_ROWS = 11  # the camera adds a strip below the image
FARTHEST = 100  # pixels; a circle farther from the centre is not taken for the iris
LARGEST = 17  # pixels, the largest radius of a mask of SIZE

_LEVEL = 130  # the grey level at which the image is clipped, and then made black and white
_EDGE, _VOTES, _CELL = 200, 25, 1.5  # least gradient of an edge, least support of a circle, pixels in a cell of votes
# A Gaussian of 9 points, whose SD follows from the rule 0.3 ((9 - 1) / 2 - 1) + 0.8.
_GAUSSIAN = np.exp(-0.5 * (np.arange(-4, 5) / 1.7) ** 2)
_GAUSSIAN /= _GAUSSIAN.sum()


def find_circle(image: np.ndarray) -> tuple[float, float, float] | None:
    """Centre (x, y) and radius, in pixels, of the strongest circle of radius H/6 to H/3, or None if there is none.

    image: (H, W) uint8. It is smoothed, clipped at 130, stretched, made black and white, and smoothed again. Each edge
    pixel votes for the points along its gradient. The cell with most votes is the centre, and the radius is the
    distance at which most edge pixels per unit of circumference lie. Both need a support of more than 25. Raises
    ValueError for another shape or type.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 12:
        problem = f"image is {image.dtype} of shape {image.shape}"
        raise ValueError(f"{problem}; give grey uint8 (H, W) of at least 12 pixels a side")
    high, wide = image.shape
    x, y, gx, gy = _edges(_black_and_white(image))
    radii = np.arange(high // 6, high // 3 + 1)
    reach = np.concatenate([radii, -radii])[:, None] / np.hypot(gx, gy)
    column, row = ((at + 0.5 + reach * g) / _CELL for at, g in ((x, gx), (y, gy)))
    rows, columns = int(np.ceil(high / _CELL)), int(np.ceil(wide / _CELL))
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    cell = row[inside].astype(np.intp) * columns + column[inside].astype(np.intp)
    votes = np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
    if votes.max() <= _VOTES:
        return None
    # The centre of gravity of the best cell and its neighbours resolves less than a cell.
    top, left = np.unravel_index(votes.argmax(), votes.shape)
    near = np.pad(votes, 1)[top : top + 3, left : left + 3] / np.pad(votes, 1)[top : top + 3, left : left + 3].sum()
    centre_x = (left + 0.5 + near.sum(0) @ [-1, 0, 1]) * _CELL - 0.5
    centre_y = (top + 0.5 + near.sum(1) @ [-1, 0, 1]) * _CELL - 0.5
    away = np.hypot(x - centre_x, y - centre_y)
    away = away[(away >= radii[0] - 0.5) & (away < radii[-1] + 0.5)]
    support = np.convolve(np.bincount(np.rint(away).astype(int), minlength=radii[-1] + 2), [1, 1, 1], "same")
    best = radii[(support[radii] / radii).argmax()]
    if support[best] <= _VOTES:
        return None
    return float(centre_x), float(centre_y), float(away[np.abs(away - best) <= 1.5].mean())


def centred(image: np.ndarray, *, right: bool) -> np.ndarray:
    """An eye with its iris in the middle: (64, 64) uint8.

    image: (H, W) uint8 as the camera left it. The bottom 11 rows are cut off and a `right` eye is mirrored. The image
    is moved so that the centre of the circle is its own centre, and its border is repeated; it stays in place if no
    circle is found, or one more than 100 pixels off in x or y. Then the whole frame is squeezed to 64×64 by area
    averages, so its aspect ratio is lost.
    """
    image = image[:-BOTTOM_ROWS, :: -1 if right else 1]
    circle, (high, wide) = find_circle(image), image.shape
    if circle is not None:
        move_x, move_y = (round(at - (side - 1) / 2) for at, side in zip(circle, (wide, high), strict=False))
        if max(abs(move_x), abs(move_y)) <= FARTHEST:
            rows, columns = np.arange(high) + move_y, np.arange(wide) + move_x
            image = image[np.clip(rows, 0, high - 1)[:, None], np.clip(columns, 0, wide - 1)]
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((SIZE, SIZE), Image.Resampling.BOX))


def disc_mask(image: np.ndarray) -> np.ndarray:
    """The iris disc of a centred eye: (64, 64) uint8, 1 inside it, or 0 everywhere if no circle is found.

    The radius is at most 17 pixels (901 pixels inside). A centre that is off is corrected: x outside 28 … 37 becomes 32
    if it is 45 or more and otherwise moves halfway to 32; y outside 28 … 38 becomes 32 if it exceeds 40 and otherwise
    moves halfway to 32. Raises ValueError for an image that is not (64, 64) uint8.
    """
    if image.shape != (SIZE, SIZE):
        raise ValueError(f"image has shape {image.shape}; give a centred grey eye of {SIZE}×{SIZE}")
    circle = find_circle(image)
    if circle is None:
        return np.zeros((SIZE, SIZE), np.uint8)
    x, y, radius = (round(value) for value in circle)
    if not 28 <= x <= 37:
        x = 32 if x >= 45 else (x + 32) // 2
    if not 28 <= y <= 38:
        y = 32 if y > 40 else (y + 32) // 2
    at = np.arange(SIZE)
    return ((at - x) ** 2 + (at[:, None] - y) ** 2 <= min(radius, LARGEST) ** 2).astype(np.uint8)


def _smoothed(image: np.ndarray) -> np.ndarray:
    return correlate1d(correlate1d(image, _GAUSSIAN, 0, mode="mirror"), _GAUSSIAN, 1, mode="mirror")


def _black_and_white(image: np.ndarray) -> np.ndarray:
    """0 where the image is dark and 255 where it is bright, with smooth transitions: float64 (H, W)."""
    cut = np.minimum(np.rint(_smoothed(image.astype(float))), _LEVEL)
    stretched = (cut - cut.min()) * (255 / max(cut.max() - cut.min(), 1))
    return np.rint(_smoothed(np.where(stretched > _LEVEL, 255.0, 0.0)))


def _edges(image: np.ndarray) -> tuple[np.ndarray, ...]:
    """Place (x, y) and gradient (x, y) of each edge pixel, whose Sobel gradient is a maximum along its direction."""
    smear, slope = np.array([1.0, 2, 1]), np.array([-1.0, 0, 1])
    gx = correlate1d(correlate1d(image, smear, 0, mode="nearest"), slope, 1, mode="nearest")
    gy = correlate1d(correlate1d(image, smear, 1, mode="nearest"), slope, 0, mode="nearest")
    size = np.abs(gx) + np.abs(gy)
    y, x = np.nonzero(size >= _EDGE)
    gx, gy = gx[y, x], gy[y, x]
    # One step along the gradient leads to the nearest of eight neighbours.
    step_x, step_y = (np.rint(g / np.maximum(np.abs(gx), np.abs(gy))).astype(int) for g in (gx, gy))
    padded, here = np.pad(size, 1), size[y, x]
    ridge = (here >= padded[y + 1 - step_y, x + 1 - step_x]) & (here > padded[y + 1 + step_y, x + 1 + step_x])
    return x[ridge], y[ridge], gx[ridge], gy[ridge]
