"""The 102 features of two-dimensional PyRadiomics, from pixels and grey-level matrices.

Formulas of the PyRadiomics documentation (van Griethuysen et al. 2017, doi 10.1158/0008-5472.CAN-17-0339), whose
names they keep. ε is 2.2e-16 wherever a logarithm is taken. Everything is float64 and one row an image.
"""

import math

import torch

from lib.metrics.fidelity.radiomics_matrices import Cells

_EPSILON = 2.0**-52


def shape(height: int, width: int) -> dict[str, float]:
    """shape2D of a mask that covers the whole image: it depends on the image size only (pixel spacing 1).

    The outline is that of marching squares: the rectangle with its corners cut.
    """
    surface = height * width - 0.5
    perimeter = 2 * (height - 1) + 2 * (width - 1) + 4 * math.sqrt(0.5)
    short, long = (4 * math.sqrt((side * side - 1) / 12) for side in sorted((height, width)))
    return {
        "Elongation": short / long,
        "MajorAxisLength": long,
        "MaximumDiameter": math.hypot(max(height, width), min(height, width) - 1),
        "MeshSurface": surface,
        "MinorAxisLength": short,
        "Perimeter": perimeter,
        "PerimeterSurfaceRatio": perimeter / surface,
        "PixelSurface": float(height * width),
        "Sphericity": 2 * math.sqrt(math.pi * surface) / perimeter,
    }


def first_order(values: torch.Tensor, counts: torch.Tensor, histogram: torch.Tensor) -> dict[str, torch.Tensor]:
    """First-order features of grey values ascending in each image (B, K) float64 and of how many pixels have each.

    `counts` (B, K) and `histogram`, the pixels of each level (B, n), are int64. Skewness and kurtosis (not the
    excess) of a constant image are 0.
    """
    reached, counts = counts.cumsum(dim=1), counts.double()
    pixels = int(reached[0, -1])
    p10, p25, median, p75, p90 = (_percentile(values, reached, pixels, share) for share in (10, 25, 50, 75, 90))
    low, high = _ranked(values, reached, 0), _ranked(values, reached, pixels - 1)
    mean = (values * counts).sum(dim=1) / pixels
    energy = (values.square() * counts).sum(dim=1)
    centred = values - mean[:, None]
    moment = centred.square()
    m2 = (moment * counts).sum(dim=1) / pixels
    m3 = (moment.mul_(centred) * counts).sum(dim=1) / pixels
    m4 = (moment.mul_(centred) * counts).sum(dim=1) / pixels
    flat = low == high
    spread = torch.where(flat, 1.0, m2)
    inner = counts * ((values >= p10[:, None]) & (values <= p90[:, None]))
    inner /= inner.sum(dim=1, keepdim=True)
    inner_mean = (values * inner).sum(dim=1, keepdim=True)
    p = _shares(histogram)
    return {
        "10Percentile": p10,
        "90Percentile": p90,
        "Energy": energy,
        "Entropy": _entropy(p),
        "InterquartileRange": p75 - p25,
        "Kurtosis": torch.where(flat, 0.0, m4 / spread.square()),
        "Maximum": high,
        "MeanAbsoluteDeviation": (centred.abs_() * counts).sum(dim=1) / pixels,
        "Mean": mean,
        "Median": median,
        "Minimum": low,
        "Range": high - low,
        "RobustMeanAbsoluteDeviation": ((values - inner_mean).abs_() * inner).sum(dim=1),
        "RootMeanSquared": (energy / pixels).sqrt(),
        "Skewness": torch.where(flat, 0.0, m3 / spread**1.5),
        "TotalEnergy": energy,
        "Uniformity": p.square().sum(dim=1),
        "Variance": torch.where(flat, 0.0, m2),
    }


def cooccurrence(counts: torch.Tensor) -> dict[str, torch.Tensor]:
    """GLCM features of symmetric counts (B, A, n, n), averaged over the A steps.

    Idn and Idmn divide by the highest level of the image. Where a step meets one level only, Correlation is 1 and
    Imc1 and Imc2 are 0; MCC is 1 if the image has one level only.
    """
    n = counts.shape[-1]
    p = counts.double() / counts.sum(dim=(2, 3), keepdim=True)
    marginal = p.sum(dim=3)
    level = torch.arange(1, n + 1, dtype=torch.float64, device=p.device)
    distance = torch.arange(n, dtype=torch.float64, device=p.device)
    sums = torch.arange(2, 2 * n + 1, dtype=torch.float64, device=p.device)
    step = torch.arange(n, device=p.device)
    by_sum = _gathered(p, step[:, None] + step, 2 * n - 1)
    by_distance = _gathered(p, (step[:, None] - step).abs(), n)
    present = counts.sum(dim=(1, 2)) > 0
    highest = torch.where(present, level, 0).amax(dim=1)[:, None, None]

    mean = marginal @ level
    from_mean = level - mean[..., None]
    variance = (marginal * from_mean.square()).sum(dim=-1)
    covariance = torch.einsum("bai,baij,baj->ba", from_mean, p, from_mean)
    cluster = sums - 2 * mean[..., None]
    difference = by_distance @ distance
    hx, hxy = _entropy(marginal), _entropy(p.flatten(2))
    product = marginal[..., :, None] * marginal[..., None, :]
    logarithm = (product + _EPSILON).log2_()
    hxy1, hxy2 = -(p * logarithm).sum(dim=(2, 3)), -(product * logarithm).sum(dim=(2, 3))
    features = {
        "Autocorrelation": torch.einsum("i,baij,j->ba", level, p, level),
        "ClusterProminence": (by_sum * cluster**4).sum(dim=-1),
        "ClusterShade": (by_sum * cluster**3).sum(dim=-1),
        "ClusterTendency": (by_sum * cluster**2).sum(dim=-1),
        "Contrast": by_distance @ distance.square(),
        "Correlation": torch.where(variance == 0, 1.0, covariance / torch.where(variance == 0, 1.0, variance)),
        "DifferenceAverage": difference,
        "DifferenceEntropy": _entropy(by_distance),
        "DifferenceVariance": (by_distance * (distance - difference[..., None]).square()).sum(dim=-1),
        "Id": by_distance @ (1 / (1 + distance)),
        "Idm": by_distance @ (1 / (1 + distance.square())),
        "Idmn": (by_distance / (1 + (distance / highest).square())).sum(dim=-1),
        "Idn": (by_distance / (1 + distance / highest)).sum(dim=-1),
        "Imc1": torch.where(variance == 0, 0.0, (hxy - hxy1) / torch.where(variance == 0, 1.0, hx)),
        "Imc2": (1 - (-2 * (hxy2 - hxy)).exp()).clamp_min(0).sqrt() * (variance != 0),
        "InverseVariance": by_distance[..., 1:] @ (1 / distance[1:].square()),
        "JointAverage": mean,
        "JointEnergy": p.square().sum(dim=(2, 3)),
        "JointEntropy": hxy,
        "MCC": _maximal_correlation(p, marginal, present),
        "MaximumProbability": p.amax(dim=(2, 3)),
        "SumAverage": by_sum @ sums,
        "SumEntropy": _entropy(by_sum),
        "SumSquares": variance,
    }
    return {name: value.mean(dim=1) for name, value in features.items()}


def sizes(
    cells: Cells, rows: int, n: int, pixels: int, words: tuple[str, str, str, str, str]
) -> dict[str, torch.Tensor]:
    """Features of `rows` level-by-size matrices of n levels, each a tensor (rows,): GLRLM, GLSZM or GLDM.

    `words` name them: small size, large size, size in "NonUniformity", the thing itself, the thing after
    "LowGrayLevel". `pixels` is the number of pixels of an image.
    """
    small, large, uniform, thing, after = words
    row, count = cells.row, cells.times.double()
    i, j = cells.level.double() + 1, cells.size.double()
    i2, j2 = i.square(), j.square()
    total = _summed(row, count, rows)
    p = count / total[row]
    terms = (i, j, i2, 1 / i2, j2, 1 / j2, i2 * j2, i2 / j2, j2 / i2, 1 / (i2 * j2), -(p + _EPSILON).log2())
    sums = _summed(row, torch.stack(terms, dim=1) * p[:, None], rows)
    mean_i, mean_j, high, low, long, short, long_high, short_high, long_low, short_low, entropy = sums.unbind(1)
    variance_i = _summed(row, (i - mean_i[row]).square() * p, rows)
    variance_j = _summed(row, (j - mean_j[row]).square() * p, rows)
    level_share = _summed(row * n + cells.level, p, rows * n).view(rows, n)
    level_uniformity = level_share.square().sum(dim=1)
    # Each cell carries the share of its size: Σ p(cell) p(size) = Σ p(size)², with no dense axis of sizes.
    _, kind = torch.unique(row * (pixels + 1) + cells.size, return_inverse=True)
    size_uniformity = _summed(row, p * _summed(kind, p, len(kind))[kind], rows)
    return {
        "GrayLevelNonUniformity": level_uniformity * total,
        "GrayLevelNonUniformityNormalized": level_uniformity,
        "GrayLevelVariance": variance_i,
        f"HighGrayLevel{after}Emphasis": high,
        f"LowGrayLevel{after}Emphasis": low,
        f"{large}Emphasis": long,
        f"{large}HighGrayLevelEmphasis": long_high,
        f"{large}LowGrayLevelEmphasis": long_low,
        f"{small}Emphasis": short,
        f"{small}HighGrayLevelEmphasis": short_high,
        f"{small}LowGrayLevelEmphasis": short_low,
        f"{thing}Entropy": entropy,
        f"{thing}Percentage": total / pixels,
        f"{thing}Variance": variance_j,
        f"{uniform}NonUniformity": size_uniformity * total,
        f"{uniform}NonUniformityNormalized": size_uniformity,
    }


def neighbour_differences(histogram: torch.Tensor, difference: torch.Tensor) -> dict[str, torch.Tensor]:
    """NGTDM features of pixels per level (B, n) and summed differences per level (B, n).

    An image without any difference has Coarseness 1e6 and Strength, Busyness and Contrast 0.
    """
    p, n = _shares(histogram), histogram.shape[1]
    level = torch.arange(1, n + 1, dtype=torch.float64, device=p.device)
    both = (p[:, :, None] > 0) & (p[:, None, :] > 0)
    apart = (level[:, None] - level).abs()
    weighted, total = p * difference, difference.sum(dim=1)
    coarse = weighted.sum(dim=1)
    kinds = (p > 0).sum(dim=1)
    moment = p * level
    busy = ((moment[:, :, None] - moment[:, None, :]).abs() * both).sum(dim=(1, 2))
    joint = torch.where(both, p[:, :, None] + p[:, None, :], 1.0)
    complexity = apart * (weighted[:, :, None] + weighted[:, None, :]) * both / joint
    pixels = histogram.sum(dim=1)
    contrast = torch.einsum("bi,ij,bj->b", p, apart.square(), p) / (kinds * (kinds - 1)).clamp_min(1)
    return {
        "Busyness": _ratio(coarse, busy, 0.0),
        "Coarseness": _ratio(torch.ones_like(coarse), coarse, 1e6),
        "Complexity": complexity.sum(dim=(1, 2)) / pixels,
        "Contrast": contrast * total / pixels,
        "Strength": _ratio((joint * both * apart.square()).sum(dim=(1, 2)), total, 0.0),
    }


def _ranked(values: torch.Tensor, reached: torch.Tensor, rank: int) -> torch.Tensor:
    """Value of the pixel of this rank, counted from 0, (B,); `reached` is the number of pixels up to each value."""
    asked = torch.full_like(reached[:, :1], rank)
    return values.gather(1, torch.searchsorted(reached, asked, right=True))[:, 0]


def _percentile(values: torch.Tensor, reached: torch.Tensor, pixels: int, percent: int) -> torch.Tensor:
    """Linear interpolation between ranks, the default of numpy.percentile."""
    place = percent / 100 * (pixels - 1)
    below, above = (_ranked(values, reached, rank) for rank in (int(place), min(int(place) + 1, pixels - 1)))
    return torch.lerp(below, above, place - int(place))


def _shares(histogram: torch.Tensor) -> torch.Tensor:
    return histogram / histogram.sum(dim=1, keepdim=True).double()


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * (p + _EPSILON).log2()).sum(dim=-1)


def _gathered(p: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Sums of the cells of p (B, A, n, n) that share an index, (B, A, n)."""
    return p.new_zeros(*p.shape[:2], n).index_add_(2, index.flatten(), p.flatten(2))


def _summed(row: torch.Tensor, values: torch.Tensor, rows: int) -> torch.Tensor:
    """Sums (rows, ...) of the entries (e, ...) of each row."""
    return values.new_zeros(rows, *values.shape[1:]).index_add_(0, row, values)


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor, otherwise: float) -> torch.Tensor:
    empty = denominator == 0
    return torch.where(empty, otherwise, numerator / torch.where(empty, 1.0, denominator))


def _maximal_correlation(p: torch.Tensor, marginal: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Root of the second largest eigenvalue of Q(i, j) = Σ p(i, k) p(j, k) / (p(i) p(k)), (B, A).

    Q has the squared eigenvalues of the symmetric p(i, j) / √(p(i) p(j)), which is cheaper and safe to decompose.
    """
    scale = torch.where(marginal > 0, marginal, 1.0).rsqrt()
    values = torch.linalg.eigvalsh(p * scale[..., :, None] * scale[..., None, :]).abs()
    if values.shape[-1] == 1:
        return torch.ones_like(values[..., 0])
    second = values.topk(2, dim=-1).values[..., 1]
    return torch.where(present.sum(dim=1)[:, None] == 1, 1.0, second)
