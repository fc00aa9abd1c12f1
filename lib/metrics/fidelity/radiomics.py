"""Radiomics features of whole two-dimensional images, and their scaling for the Fréchet radiomics distance."""

import hashlib
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.core.files import atomic
from lib.metrics.fidelity import radiomics_features as features
from lib.metrics.fidelity import radiomics_matrices as matrices

_NAMES = {
    "shape2D": """Elongation MajorAxisLength MaximumDiameter MeshSurface MinorAxisLength Perimeter
        PerimeterSurfaceRatio PixelSurface Sphericity""",
    "firstorder": """10Percentile 90Percentile Energy Entropy InterquartileRange Kurtosis Maximum
        MeanAbsoluteDeviation Mean Median Minimum Range RobustMeanAbsoluteDeviation RootMeanSquared Skewness
        TotalEnergy Uniformity Variance""",
    "glcm": """Autocorrelation ClusterProminence ClusterShade ClusterTendency Contrast Correlation
        DifferenceAverage DifferenceEntropy DifferenceVariance Id Idm Idmn Idn Imc1 Imc2 InverseVariance
        JointAverage JointEnergy JointEntropy MCC MaximumProbability SumAverage SumEntropy SumSquares""",
    "glrlm": """GrayLevelNonUniformity GrayLevelNonUniformityNormalized GrayLevelVariance HighGrayLevelRunEmphasis
        LongRunEmphasis LongRunHighGrayLevelEmphasis LongRunLowGrayLevelEmphasis LowGrayLevelRunEmphasis RunEntropy
        RunLengthNonUniformity RunLengthNonUniformityNormalized RunPercentage RunVariance ShortRunEmphasis
        ShortRunHighGrayLevelEmphasis ShortRunLowGrayLevelEmphasis""",
    "gldm": """DependenceEntropy DependenceNonUniformity DependenceNonUniformityNormalized DependenceVariance
        GrayLevelNonUniformity GrayLevelVariance HighGrayLevelEmphasis LargeDependenceEmphasis
        LargeDependenceHighGrayLevelEmphasis LargeDependenceLowGrayLevelEmphasis LowGrayLevelEmphasis
        SmallDependenceEmphasis SmallDependenceHighGrayLevelEmphasis SmallDependenceLowGrayLevelEmphasis""",
    "glszm": """GrayLevelNonUniformity GrayLevelNonUniformityNormalized GrayLevelVariance
        HighGrayLevelZoneEmphasis LargeAreaEmphasis LargeAreaHighGrayLevelEmphasis LargeAreaLowGrayLevelEmphasis
        LowGrayLevelZoneEmphasis SizeZoneNonUniformity SizeZoneNonUniformityNormalized SmallAreaEmphasis
        SmallAreaHighGrayLevelEmphasis SmallAreaLowGrayLevelEmphasis ZoneEntropy ZonePercentage ZoneVariance""",
    "ngtdm": "Busyness Coarseness Complexity Contrast Strength",
}

RADIOMICS_FEATURES: tuple[str, ...] = tuple(
    f"{family}_{name}" for family, names in _NAMES.items() for name in names.split()
)
"""The 102 columns of `radiomics`, in the order of PyRadiomics."""

FIRST_ORDER = slice(9, 27)
"""Columns of the 18 first-order features: `values[:, FIRST_ORDER]`."""

_RUN = ("ShortRun", "LongRun", "RunLength", "Run", "Run")
_DEPENDENCE = ("SmallDependence", "LargeDependence", "Dependence", "Dependence", "")
_ZONE = ("SmallArea", "LargeArea", "SizeZone", "Zone", "Zone")

_MOST_LEVELS = 1024  # a co-occurrence matrix of 8 MB
_PIXELS = 2**18  # of a batch by default: its float64 copy fits a CPU's cache
_MATRIX_CELLS = 2**20  # co-occurrence cells computed at once, 8 MB an array
_SCALE = 7.45670747756958


def radiomics(
    images: Any,
    *,
    bin_width: float = 25.0,
    batch: int | None = None,
    device: torch.device | str | None = None,
    cache: str | Path | None = None,
    wrap_uint8: bool = False,
) -> np.ndarray | torch.Tensor:
    """The 102 two-dimensional PyRadiomics features of each image, `RADIOMICS_FEATURES`: (N, 102) float64.

    `images` is (N, H, W), uint8 or any real dtype, an array, a tensor, or anything with a shape that slices into
    arrays (rows of a file are read a batch at a time). An array is computed on the GPU where there is one and
    returns an array, a tensor stays on its device and returns a tensor there; `device` overrides where. Settings
    are those of FRD v0: mask over the whole image, fixed `bin_width` in grey values with bins counted from 0,
    original image only, pixel spacing 1. Grey values are taken as they are: bring them to 0..255 first, since a
    bin of 25 holds all of an image in [0, 1].

    `batch` images are computed at a time (default: 2¹⁸ pixels' worth), on a CPU by as many threads as
    torch.get_num_threads(). `cache` is a folder for results, found by SHA-256 of pixels and settings; a damaged
    file in it is computed anew.

    `wrap_uint8` repeats what PyRadiomics 3 does with uint8 pixels and an integer bin width under NumPy 2: the
    highest bin edge, maximum + 2 bin_width, overflows above 255, so that an image of wide range keeps one or two
    levels. Only to compare with numbers made that way; under NumPy 1, and given floats, PyRadiomics does not.

    No value is NaN. What has no definition gets PyRadiomics's value: in a constant image skewness, kurtosis, Imc1,
    Imc2, busyness, complexity, contrast and strength are 0, correlation and MCC 1, coarseness 1e6. Raises
    ValueError on another shape, no image, fewer than 3 pixels, NaN or infinity, more than 1,024 levels.
    """
    images = images if hasattr(images, "shape") else np.asarray(images)
    shape, dtype = _checked(images, bin_width, batch, wrap_uint8)
    is_tensor = isinstance(images, torch.Tensor)
    if device is None:
        device = images.device if is_tensor else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    batch = batch or max(1, _PIXELS // (shape[1] * shape[2]))
    blocks = [(start, min(start + batch, shape[0])) for start in range(0, shape[0], batch)]

    values, path = None, None
    if cache is not None:
        setting = f"radiomics 1, {shape}, {dtype}, {float(bin_width)!r}, {wrap_uint8}"
        path = Path(cache) / f"radiomics-{_digest(images, blocks, setting)}.npz"
        values = _stored(path, shape[0])
    if values is None:

        def computed(block: tuple[int, int]) -> np.ndarray:
            return _of_block(_block(images, *block), block[0], bin_width, device, wrap_uint8).cpu().numpy()

        threads = min(torch.get_num_threads(), len(blocks)) if device.type == "cpu" else 1
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                values = np.concatenate(list(pool.map(computed, blocks)))
        else:
            values = np.concatenate([computed(block) for block in blocks])
        if path is not None:
            with atomic(path) as partial:
                np.savez(partial, values=values)
    return torch.from_numpy(values).to(images.device) if is_tensor else values


def scaled_together(
    *, real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sets of features (n, d) of `radiomics`, or of some of its columns, as FRD v0 scales them.

    The Fréchet radiomics distance (FRD) v0 is the squared `frechet_distance` of what this returns, without root or
    logarithm (frd-score 0.0.1 and 0.0.2, 2024). Its v1 is another number: more filters, no shape, bin width 5, z-scores
    by one set, logarithm. The estimate falls strongly as n grows: always state both n.

    Float64 on the device of `real`. Each feature runs over [0, 7.45670747756958] by its minimum and maximum over both
    sets joined; a constant feature, or a NaN, becomes the middle. Raises ValueError on infinite values or different
    widths.
    """
    real, synthetic = (
        x.detach().double() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x, np.float64, order="C"))
        for x in (real, synthetic)
    )
    synthetic = synthetic.to(real.device)
    for name, values in (("real", real), ("synthetic", synthetic)):
        if values.ndim != 2 or values.shape[1:] != real.shape[1:] or 0 in values.shape:
            raise ValueError(f"{name} has shape {tuple(values.shape)}: give the same features of both sets, (n, d)")
        if values.isinf().any():
            raise ValueError(f"{name} holds infinite values: leave those images out")
    joined = torch.cat([real, synthetic])
    missing = joined.isnan()
    low = joined.masked_fill(missing, torch.inf).amin(dim=0)
    spread = joined.masked_fill(missing, -torch.inf).amax(dim=0) - low
    scaled = torch.where(missing | ~(spread > 0), 0.5, (joined - low) / spread) * _SCALE
    return scaled[: len(real)], scaled[len(real) :]


def _of_block(
    images: torch.Tensor, first: int, bin_width: float, device: torch.device, wrap_uint8: bool
) -> torch.Tensor:
    """Features (B, 102) of a batch (B, H, W) whose first image has number `first`."""
    images = images.to(device)
    if images.dtype != torch.uint8:
        images = images.double()
    levels = _discretised(images, first, bin_width, wrap_uint8)
    return _of_levels(levels, *_tallied(images))


def _tallied(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ascending grey values (B, K) float64 and how many pixels have each: the 256 of uint8, else every pixel."""
    if images.dtype == torch.uint8:
        values = torch.arange(256, dtype=torch.float64, device=images.device).expand(len(images), -1).contiguous()
        return values, matrices.histogram(images, 256)
    values = images.flatten(1)
    # NumPy's vectorised sort is 8 times as fast as that of torch on a CPU.
    values = values.sort(1).values if values.is_cuda else torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values, torch.ones_like(values, dtype=torch.int64)


def _of_levels(levels: torch.Tensor, values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    n = int(levels.amax()) + 1
    (images, height, width), half = levels.shape, len(levels) // 2
    if images * n * n > _MATRIX_CELLS // 4 and images > 1:
        parts = (slice(half), slice(half, None))
        return torch.cat([_of_levels(levels[part], values[part], counts[part]) for part in parts])
    pixels, steps = height * width, len(matrices.shifts(height, width))
    histogram = matrices.histogram(levels, n)
    runs = features.sizes(matrices.runs(levels, n), images * steps, n, pixels, _RUN)
    found = {
        "shape2D": {name: values.new_full((images,), x) for name, x in features.shape(height, width).items()},
        "firstorder": features.first_order(values, counts, histogram),
        "glcm": features.cooccurrence(matrices.cooccurrence(levels, n)),
        "glrlm": {name: value.view(images, steps).mean(dim=1) for name, value in runs.items()},
        "gldm": features.sizes(matrices.dependences(levels, n), images, n, pixels, _DEPENDENCE),
        "glszm": features.sizes(matrices.zones(levels, n), images, n, pixels, _ZONE),
        "ngtdm": features.neighbour_differences(histogram, matrices.neighbour_differences(levels, n)),
    }
    return torch.stack([found[family][name] for family, names in _NAMES.items() for name in names.split()], dim=1)


def _discretised(images: torch.Tensor, first: int, bin_width: float, wrap_uint8: bool) -> torch.Tensor:
    """Levels (B, H, W) counted from 0: bin k of an image is [low + k bin_width, low + (k + 1) bin_width).

    `low` is the largest multiple of the bin width that is not above the minimum.
    """
    low, high = images.amin(dim=(1, 2), keepdim=True), images.amax(dim=(1, 2), keepdim=True)
    if images.dtype == torch.uint8 and bin_width == int(bin_width):
        width = int(bin_width)
        bins = torch.arange(256, device=images.device).div_(width, rounding_mode="floor").to(torch.uint8)
        levels = (images if width == 1 else bins[images.int()]) - bins[low.int()]
        return _wrapped(levels, images, low, high, width) if wrap_uint8 else levels
    bad = ~(low.isfinite() & high.isfinite()).flatten()
    if bad.any():
        where = first + int(bad.nonzero()[0, 0])
        raise ValueError(f"images hold NaN or infinite pixels (first: image {where}): leave out or mend them")
    images, low = images.double(), low.double()
    low = low - low.remainder(bin_width)
    most = float(((high - low) / bin_width).amax())
    if most >= _MOST_LEVELS:
        raise ValueError(f"bin_width {bin_width} makes {most + 1:.0f} levels, over {_MOST_LEVELS}: give a wider one")
    levels = ((images - low) / bin_width).floor_()
    # A quotient may round up to a whole number: the edges decide.
    levels -= (images < low + levels * bin_width).double()
    levels += (images >= low + (levels + 1) * bin_width).double()
    return levels.to(torch.uint8 if most < 255 else torch.int32)


def _wrapped(levels, images, low, high, width: int) -> torch.Tensor:
    """Levels as numpy.digitize gives them on edges whose end, high + 2 width, has lost a multiple of 256."""
    low = low.int().div(width, rounding_mode="floor") * width
    edges = (high.int() + 2 * width - low).remainder(256).add_(width - 1).div_(width, rounding_mode="floor")
    if bool((edges == 0).any()) or bool((low + width > 255).any()):
        raise ValueError("wrap_uint8 leaves an image without bin edges, where PyRadiomics fails: pass wrap_uint8=False")
    single = (images > low).to(levels.dtype)  # one edge becomes two, low ± ½
    return torch.where(edges == 1, single, torch.minimum(levels, (edges - 1).to(levels.dtype)))


def _checked(images, bin_width: float, batch: int | None, wrap_uint8: bool) -> tuple[tuple[int, ...], str]:
    shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"images have shape {shape}: give grey images (N, H, W), at least one")
    if shape[1] * shape[2] < 3:
        raise ValueError(f"images have {shape[1]} x {shape[2]} pixels: texture needs at least 3")
    if not dtype.startswith(("uint", "int", "float", "bfloat")):
        raise ValueError(f"images have dtype {dtype}: give integers or floats")
    if not 0 < bin_width < np.inf:
        raise ValueError(f"bin_width is {bin_width}: give a positive number of grey values")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}: give a positive number of images, or None")
    if wrap_uint8 and (dtype != "uint8" or bin_width != int(bin_width)):
        raise ValueError(f"wrap_uint8 needs uint8 images and an integer bin_width, not {dtype} and {bin_width}")
    return shape, dtype


def _block(images, start: int, stop: int) -> torch.Tensor:
    block = images[start:stop]
    # A copy, as torch takes neither negative strides nor, without a warning, read-only memory.
    return block.detach() if isinstance(block, torch.Tensor) else torch.from_numpy(np.array(block, order="C"))


def _digest(images, blocks: list[tuple[int, int]], setting: str) -> str:
    digest = hashlib.sha256(setting.encode())
    for block in blocks:
        digest.update(_block(images, *block).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stored(path: Path, n: int) -> np.ndarray | None:
    """Features from the cache; None if they are not there, cut off or damaged (the archive has a checksum)."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            values = file["values"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    return values if values.shape == (n, len(RADIOMICS_FEATURES)) and values.dtype == np.float64 else None
