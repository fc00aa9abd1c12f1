"""How a copy may be disguised: what the audit must see, what is harder, and what its embedding was never taught.

Whoever exports, converts or crops images makes the first ones unwittingly, so a verdict binds itself to them. Images
are uint8 (n, H, W); shifts, margins and patches are shares of their side, so that they mean the same at every size.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from scipy.fft import dctn, idctn

from lib.audit.symmetries import NAMES, placed
from lib.metrics.privacy.controls.near_copies import KINDS

Disguise = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # float32 (n, H, W), of 0 to 255, as its outcome

# Of luminance at quality 50: ITU-T T.81, table K.1.
_QUANTISATION = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip


def disguised(images: np.ndarray, name: str, *, rng: np.random.Generator) -> np.ndarray:
    """Copies of uint8 `images` (n, H, H) in a disguise of DISGUISES: uint8 of the same shape.

    Raises ValueError for another name, dtype or shape.
    """
    if name not in DISGUISES:
        raise ValueError(f"unknown disguise {name!r}: choose one of {', '.join(DISGUISES)}")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} of shape {images.shape}: give uint8 (n, H, H)")
    changed = DISGUISES[name](images.astype(np.float32), rng)
    return np.rint(np.clip(changed, 0, 255)).astype(np.uint8)


def _re_encoded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The loss of JPEG at quality 50."""
    high, wide = x.shape[1:]
    padded = np.pad(x, ((0, 0), (0, -high % 8), (0, -wide % 8)), mode="edge") - 128
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.reshape(len(x), rows, 8, columns, 8).transpose(0, 1, 3, 2, 4)
    kept = np.rint(dctn(blocks, axes=(3, 4), norm="ortho") / _QUANTISATION) * _QUANTISATION
    back = idctn(kept, axes=(3, 4), norm="ortho").transpose(0, 1, 3, 2, 4)
    return back.reshape(padded.shape)[:, :high, :wide] + 128


def _resampled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _moved(_moved(x, 2 * np.eye(2), size=x.shape[1] // 2), np.eye(2) / 2, size=x.shape[1])


def _windowed(low: int, top: int) -> Disguise:
    def window(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ends = np.percentile(x, [low, top], axis=(1, 2), keepdims=True)
        return (x - ends[0]) * (255 / np.maximum(ends[1] - ends[0], 1))

    return window


def _gamma(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 * (x / 255) ** rng.choice([0.5, 2.0], (len(x), 1, 1))


def _equalised(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return (flat.argsort(axis=1).argsort(axis=1) * (255 / (flat.shape[1] - 1))).reshape(x.shape)


def _in_a_symmetry(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _one_of(x, [lambda y, k=k: placed(torch.from_numpy(y), k).numpy() for k in range(1, len(NAMES))], rng)


def _cropped(share: float, *, anywhere: bool = False) -> Disguise:
    corners = [(a, b) for a in (-1, 1) for b in (-1, 1)] if anywhere else [(0, 0)]

    def crop(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        room = (1 - share) / 2 * x.shape[1]
        return _one_of(x, [lambda y, at=at: _moved(y, share * np.eye(2), room * np.array(at)) for at in corners], rng)

    return crop


def _shifted(share: float) -> Disguise:
    def shift(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        ways = [share * x.shape[1] * np.array([a, b]) for a in (-1, 1) for b in (-1, 1)]
        return _one_of(x, [lambda y, way=way: _moved(y, np.eye(2), way) for way in ways], rng)

    return shift


def _turned(degrees: float, share: float = 1.0) -> Disguise:
    def turn(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angles = np.radians([-degrees, degrees])
        ways = [share * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
        return _one_of(x, [lambda y, way=way: _moved(y, way) for way in ways], rng)

    return turn


def _framed(down: float, right: float) -> Disguise:
    """Shrunk to these shares of its height and width, on black."""
    return lambda x, rng: _moved(x, np.diag([1 / down, 1 / right]), edge="constant")


def _hidden(share: float) -> Disguise:
    def hide(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = round(share**0.5 * x.shape[1])
        at = np.arange(x.shape[1])
        start = rng.integers(0, x.shape[1] - side + 1, (2, len(x), 1))
        down, right = (at >= start) & (at < start + side)
        return np.where(down[:, :, None] & right[:, None], 0, x)

    return hide


def _combined(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - _turned(10, 0.8)(x, rng)


def _elastic(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = x.shape[1]
    way = ndimage.gaussian_filter(rng.standard_normal((2, *x.shape)), (0, 0, side / 8, side / 8))
    way *= 0.02 * side / way.std(axis=(2, 3), keepdims=True)
    number, down, right = np.indices(x.shape, dtype=np.float32)
    return ndimage.map_coordinates(x, [number, down + way[0], right + way[1]], order=1, mode="nearest")


def _half_mirrored(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    half = x.shape[2] // 2
    return np.concatenate([x[:, :, :half], x[:, :, : x.shape[2] - half][:, :, ::-1]], axis=2)


def _banded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = np.arange(x.shape[1])
    middle = rng.uniform(0.2, 0.8, (len(x), 1, 1)) * x.shape[1]
    return x + 120 * (np.abs(at[:, None] - middle) < 0.06 * x.shape[1])


def _other_texture(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = ndimage.gaussian_filter(rng.standard_normal(x.shape), (0, 0.7, 0.7))
    return ndimage.gaussian_filter(x, (0, 0.6, 0.6)) + 10 * grain / grain.std()


def _moved(
    x: np.ndarray, matrix: np.ndarray, offset: np.ndarray | float = 0.0, *, edge: str = "nearest", size: int = 0
) -> np.ndarray:
    """Each image where point p of the outcome is matrix · p + offset of the image, both from their centres."""
    size = size or x.shape[1]
    whole = np.eye(3)
    whole[1:, 1:] = matrix
    from_corner = (x.shape[1] - 1) / 2 - matrix @ np.full(2, (size - 1) / 2) + offset
    shape = (len(x), size, size)
    return ndimage.affine_transform(x, whole, (0, *from_corner), shape, order=1, mode=edge)


def _one_of(x: np.ndarray, ways: list[Callable], rng: np.random.Generator) -> np.ndarray:
    """Each image in one of the ways, at random."""
    changed, chosen = np.empty_like(x), rng.integers(len(ways), size=len(x))
    for number, way in enumerate(ways):
        changed[chosen == number] = way(np.ascontiguousarray(x[chosen == number]))
    return changed


DECLARED: dict[str, Disguise] = {  # a verdict of no copies says that these would be seen
    "re-encoded": _re_encoded,
    "resampled": _resampled,
    "windowed 20–80 %": _windowed(20, 80),
    "noisy": KINDS["noisy"],
    "cropped to 90 %": _cropped(0.9),
    "shifted 5 %": _shifted(0.05),
    "turned 5°": _turned(5),
    "mirrored, turned or transposed": _in_a_symmetry,
    "negative": lambda x, rng: 255 - x,
}
HARDER: dict[str, Disguise] = {
    "windowed 40–60 %": _windowed(40, 60),
    "gamma": _gamma,
    "equalised": _equalised,
    "blurred": KINDS["blurred"],
    "cropped to 90 %, off centre": _cropped(0.9, anywhere=True),
    "cropped to 80 %": _cropped(0.8),
    "cropped to 70 %": _cropped(0.7),
    "margin 5 %": _framed(0.9, 0.9),
    "letterbox 5:6": _framed(5 / 6, 1),
    "shifted 10 %": _shifted(0.1),
    "turned 10°": _turned(10),
    "turned 15°": _turned(15),
    "hidden 10 %": _hidden(0.1),
    "hidden 25 %": _hidden(0.25),
    "cropped, negative and turned": _combined,
}
UNTAUGHT: dict[str, Disguise] = {  # none of the views that the embedding is learnt on is like them
    "elastic": _elastic,
    "one half mirrored": _half_mirrored,
    "bright band": _banded,
    "another texture": _other_texture,
}
DISGUISES: dict[str, Disguise] = DECLARED | HARDER | UNTAUGHT
