"""Plots for manuscripts: arrays and an axes in, the axes out. One style, two widths, colour-blind safe."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike
from pandas import DataFrame
from scipy.stats import gaussian_kde
from sklearn.metrics import roc_curve

from lib.plots.style import COLOURS, GREY, MARKERS
from lib.statistics.seeds import seed_interval

_LIGHTNESS = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue (Rec. 709)
_NO_LENGTH = 1e-9  # of a bar whose ends were rounded apart


def image_grid(ax: Axes, images: ArrayLike, *, columns: int, value_range=(0, 255), gap: float = 0.06) -> Axes:
    """Images (n, H, W) or colour ones (n, 3, H, W) in rows of `columns`, on one scale, a blank `gap` between them.

    gap: in parts of a side.
    """
    given = np.asarray(images, np.float32)
    if given.ndim != 3 and (given.ndim != 4 or given.shape[1] != 3):
        raise ValueError(f"images have shape {given.shape}: give (n, H, W), or (n, 3, H, W) in colour")
    high, wide = given.shape[-2:]
    apart = max(1, round(gap * wide))
    size = -(-len(given) // columns) * (high + apart) - apart, columns * (wide + apart) - apart
    low, top_value = value_range
    if given.ndim == 4:
        given, sheet = (given.transpose(0, 2, 3, 1) - low) / (top_value - low), np.ones((*size, 3), np.float32)
    else:
        sheet = np.full(size, np.nan, np.float32)
    for place, image in enumerate(given):
        top, left = place // columns * (high + apart), place % columns * (wide + apart)
        sheet[top : top + high, left : left + wide] = image
    ax.imshow(sheet, vmin=low, vmax=top_value)
    ax.set_axis_off()
    return ax


def budget_curve(
    ax: Axes,
    scores: Mapping[str, Mapping[float, ArrayLike]],
    *,
    references=(),
    intervals: Mapping[str, Mapping[float | None, tuple[float, float]]] = {},
    grey: Sequence[str] = (),
) -> Axes:
    """Utility, a share between 0 and 1, against the privacy budget on a logarithmic axis.

    scores: condition -> budget ε -> (seeds,) values; the mean is a line, each seed a faint dot. references: (label,
    seed values) pairs of conditions without a budget, drawn as horizontal lines with a bar at the right. intervals:
    condition or label -> budget, of a reference None -> the ends of a bar, where they hold more than the seeds, such
    as test patients; else the bar is the 95 % t-interval over three seeds or more. grey: the conditions that are no
    evidence: nulls, a generator that is not faithful.
    """
    for place, (condition, by_epsilon) in enumerate(scores.items()):
        epsilons, values = np.array([*by_epsilon], float), np.array([*by_epsilon.values()], float)
        shift = epsilons * 1.06 ** (place - (len(scores) - 1) / 2)
        mean, reach = _mean_and_reach(values, [intervals.get(condition, {}).get(e) for e in by_epsilon])
        colour = GREY if condition in grey else COLOURS[place]
        bars = reach if reach.any() else None
        ax.errorbar(
            shift, mean, bars, label=condition, marker=MARKERS[place], color=colour, capsize=1.5, elinewidth=0.8
        )
        dots = np.broadcast_to(shift[:, None], values.shape)
        ax.plot(dots, values, ".", color=colour, alpha=0.35, markersize=2, zorder=1)
    ticks = sorted({epsilon for by_epsilon in scores.values() for epsilon in by_epsilon})
    for place, (label, values) in enumerate(references):
        [mean], reach = _mean_and_reach(np.atleast_2d(values), [intervals.get(label, {}).get(None)])
        style = ("--", ":", "-.")[place % 3]
        ax.axhline(mean, color="0.35", linestyle=style, linewidth=0.9, label=label)
        if reach.any():
            bar = ax.errorbar(ticks[-1] * 1.12 ** (place + 2), mean, reach, color="0.35", capsize=1.5, elinewidth=0.8)
            bar[2][0].set_linestyle(style)
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{e:g}" for e in ticks])
    ax.minorticks_off()
    low, high = ax.get_ylim()
    if low < 0 or high > 1:  # otherwise the axes stay free to grow with those they share a scale with
        ax.set_ylim(max(low, 0), min(high, 1))
    ax.set_xlabel("privacy budget ε of the classifier")
    ax.grid(axis="y")
    return ax


def _mean_and_reach(values: np.ndarray, given: Sequence[tuple[float, float] | None]) -> tuple[np.ndarray, np.ndarray]:
    """Means of the rows (r, seeds), and how far intervals (2, r) reach below and above: `given`, or over seeds."""
    means = values.mean(axis=1)
    ends = [
        # of two values the interval is wider than any axis
        of or (seed_interval(row).bounds[1:] if len(row) > 2 else (mean, mean))
        for row, mean, of in zip(values, means, given, strict=True)
    ]
    reach = np.abs(np.array(ends).T - means)
    return means, np.where(reach < _NO_LENGTH, 0, reach)


def distributions(
    ax: Axes, groups: Mapping[str, ArrayLike], *, bins: int = 40, colours=COLOURS, grey: Sequence[str] = ()
) -> Axes:
    """Step histograms (densities) of several groups of values on common bins, each with its median.

    grey: the groups that are no evidence, such as images of a generator that is not faithful; several differ by dashes.
    """
    edges = np.histogram_bin_edges(np.concatenate([np.ravel(v) for v in groups.values()]), bins)
    dashes = dict(zip(grey, ("-", "--", ":"), strict=False))
    for (label, values), colour in zip(groups.items(), colours, strict=False):
        colour, line = (GREY, dashes[label]) if label in grey else (colour, "-")
        ax.hist(
            np.ravel(values), edges.tolist(), density=True, histtype="step", color=colour, linewidth=1.1,
            linestyle=line, label=label,
        )  # fmt: skip
        ax.axvline(np.median(np.ravel(values)), color=colour, linewidth=0.7, linestyle=":")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    return ax


def densities(ax: Axes, groups: Mapping[str, ArrayLike], *, bandwidth: float = 0.25, bins: int = 29) -> Axes:
    """Histograms (densities) of several groups of values on common bins, each under its Gaussian kernel estimate.

    `bandwidth` is the kernel's width in standard deviations of the group. A group of one value has no curve.
    """
    pooled = np.concatenate([np.ravel(values) for values in groups.values()])
    edges = np.histogram_bin_edges(pooled, bins)
    x = np.linspace(edges[0], edges[-1], 400)
    for (label, values), colour in zip(groups.items(), COLOURS, strict=False):
        ax.hist(np.ravel(values), edges.tolist(), density=True, color=colour, alpha=0.25)
        curve = gaussian_kde(values, bandwidth)(x) if np.ptp(values) > 0 else np.full(len(x), np.nan)
        ax.plot(x, curve, color=colour, label=label)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    return ax


def greyed(ax: Axes) -> Axes:
    """Take the colours from all that `ax` shows, and leave their lightness: what is not faithful is no evidence."""

    def grey(colours) -> list[tuple[float, float, float, float]]:
        rgba = to_rgba_array(colours)
        return [(light, light, light, alpha) for light, alpha in zip(rgba[:, :3] @ _LIGHTNESS, rgba[:, 3], strict=True)]

    for line in ax.lines:
        for part in ("color", "markerfacecolor", "markeredgecolor"):
            if not isinstance(colour := getattr(line, f"get_{part}")(), str) or colour != "none":
                getattr(line, f"set_{part}")(grey(colour)[0])
    for patch in ax.patches:
        patch.set_facecolor(grey(patch.get_facecolor())[0])
        patch.set_edgecolor(grey(patch.get_edgecolor())[0])
    for shown in ax.collections:
        shown.set_facecolor(grey(shown.get_facecolor()))
        shown.set_edgecolor(grey(shown.get_edgecolor()))
    return ax


def ranks(ax: Axes, groups: Mapping[str, ArrayLike], *, colours=COLOURS) -> Axes:
    """All values of several groups from the largest to the smallest, each a dot in the colour of its group.

    Dots are drawn in random order, so that no group hides another where they lie close.
    """
    values = np.concatenate([np.ravel(group) for group in groups.values()])
    owner = np.repeat(np.arange(len(groups)), [np.size(group) for group in groups.values()])
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(values))  # or groups would lie one behind another in a tie
    order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    drawn = rng.permutation(len(values))
    of_dot = np.asarray(colours[: len(groups)])[owner[order][drawn]]
    ax.scatter(drawn + 1, values[order][drawn], 2, color=of_dot, linewidth=0)
    for label, colour in zip(groups, colours, strict=False):
        ax.scatter([], [], 2, color=colour, linewidth=0, label=label)
    ax.grid(axis="y")
    return ax


def contours(ax: Axes, points: ArrayLike, *, colour, label: str, bandwidth=None, levels: int = 6) -> Axes:
    """Contours of the Gaussian kernel density of `points` (n, 2), labelled for a legend.

    `bandwidth` is in standard deviations of the points; None: Scott's rule, too wide for several clusters.
    """
    points = np.asarray(points, float)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low)
    x, y = (np.linspace(a, b, 120) for a, b in zip(low - margin, high + margin, strict=True))
    where = np.stack([axis.ravel() for axis in np.meshgrid(x, y)])
    density = gaussian_kde(points.T, bandwidth)(where).reshape(len(y), len(x))
    heights = np.linspace(0, density.max(), levels + 2)[1:-1]  # not 0, where the density underflows
    ax.contour(x, y, density, heights, colors=[colour], linewidths=0.7)
    ax.plot([], [], color=colour, label=label)
    return ax


def matrix(ax: Axes, values: ArrayLike, labels: Sequence[str], *, limit: float = 1.0, grey: ArrayLike = False) -> Axes:
    """A matrix (k, k) of correlations from −limit (blue) to limit (red), printed in the cells of up to eight labels.

    grey (k, k) bool: cells that are no evidence, without a colour.
    """
    values = np.asarray(values, float)
    faded = np.broadcast_to(grey, values.shape)
    ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.imshow(np.ma.masked_where(~faded, np.full(values.shape, 0.93)), cmap="gray", vmin=0, vmax=1)
    if len(labels) <= 8:
        for row, column in np.ndindex(*values.shape):
            colour = "white" if abs(values[row, column]) > 0.7 * limit else "0.15"
            colour = GREY if faded[row, column] else colour
            ax.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=5.5)
    ax.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(length=0)
    return ax


def confusion(ax: Axes, matrix: ArrayLike, labels: Sequence[str]) -> Axes:
    """A confusion matrix (k, k), true class by row: each cell's share of its row as shade, its value as text."""
    matrix = np.asarray(matrix, float)
    share = matrix / matrix.sum(axis=1, keepdims=True)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        dark = share[row, column] > 0.5
        text = f"{matrix[row, column]:,.4g}\n{share[row, column]:.0%}"
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "0.15", fontsize=6.5)
    ax.set_xticks(range(len(labels)), labels)
    ax.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    ax.tick_params(length=0)
    ax.set(xlabel="predicted", ylabel="true")
    return ax


def roc(ax: Axes, curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, colours=COLOURS) -> Axes:
    """ROC curves: name -> (labels (n,), True for positive; scores (n,), larger for positive)."""
    for (name, (labels, scores)), colour in zip(curves.items(), colours, strict=False):
        false, true, _ = roc_curve(labels, scores)
        ax.plot(false, true, color=colour, label=name)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.7, linestyle="--")
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    return ax


def power_spectra(ax: Axes, groups: Mapping[str, ArrayLike], *, grey: Sequence[str] = ()) -> Axes:
    """Radially averaged power of each group of images (n, H, W), median over images, against cycles per pixel.

    grey: as in `distributions`.
    """
    for (label, images), colour in zip(groups.items(), COLOURS, strict=False):
        colour = GREY if label in grey else colour
        images = np.asarray(images)
        frequency = np.hypot(np.fft.fftfreq(images.shape[1])[:, None], np.fft.fftfreq(images.shape[2]))
        ring = np.round(frequency * images.shape[1]).astype(int).ravel()
        counts = np.bincount(ring)
        radial = np.concatenate([_radial_power(images[i : i + 256], ring) for i in range(0, len(images), 256)]) / counts
        reach = slice(1, images.shape[1] // 2 + 1)
        ax.loglog(
            np.arange(len(counts))[reach] / images.shape[1], np.median(radial, axis=0)[reach], color=colour, label=label
        )
    ax.set(xlabel="cycles per pixel", ylabel="power")
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if tick >= ax.get_xlim()[0]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid()
    return ax


def _radial_power(images: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Power of each image summed over each ring of frequencies: (n, rings)."""
    images = images - images.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    power = np.abs(np.fft.fft2(images)) ** 2
    return np.stack([np.bincount(ring, each.ravel()) for each in power])


def intervals(
    ax: Axes,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    reference: float | None = None,
    grey: Sequence[str] = (),
) -> Axes:
    """A forest plot: (label, value, low, high) a row, from the top, with a line at `reference`.

    grey: the labels of rows that are no evidence, as in `distributions`.
    """
    labels, *bounds = zip(*rows, strict=True)
    y = np.arange(len(rows))[::-1]
    value, low, high = (np.asarray(of, float) for of in bounds)
    reach = np.stack([value - low, high - value])
    is_grey = np.isin(labels, [*grey])
    for rows_of, colour in ((~is_grey, COLOURS[0]), (is_grey, GREY)):
        ax.errorbar(
            value[rows_of], y[rows_of], xerr=reach[:, rows_of], fmt="o", color=colour, capsize=2, elinewidth=0.9
        )
    if reference is not None:
        ax.axvline(reference, color="0.4", linewidth=0.8, linestyle="--")
    ax.set_yticks(y, labels)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="x")
    return ax


_VERDICT_LOOKS = {  # face, ink, hatch: symbol, number and place say the same as the colour
    "replicated": ("#0b5c9a", "white", ""),
    "contradicted": ("#a8320f", "white", ""),
    "inconclusive": ("white", "black", ""),
    "not discriminating": ("#f4c95d", "black", ""),
    "not testable here": ("0.93", "black", "...."),
    "pending": ("0.9", "black", ""),
    "not run": ("white", "black", "////"),
}


def verdict_bars(ax: Axes, counts: DataFrame, *, symbols: Mapping[str, str]) -> Axes:
    """Counts of verdicts as stacked bars, one a row of `counts`; its columns are verdicts.

    Every part holds the verdict's symbol and its count. Raises ValueError for a verdict that has no look.
    """
    if unknown := [verdict for verdict in counts if verdict not in _VERDICT_LOOKS]:
        raise ValueError(f"unknown verdict {unknown[0]!r}: known are {', '.join(_VERDICT_LOOKS)}")
    rows, left = np.arange(len(counts)), np.zeros(len(counts))
    widest = max(1, counts.sum(axis=1).max()) if len(counts) else 1
    for verdict in counts:
        face, ink, hatch = _VERDICT_LOOKS[verdict]
        label = f"{symbols[verdict]} {verdict}"
        width = counts[verdict].to_numpy(float)
        bars = ax.barh(rows, width, 0.62, left, color=face, edgecolor="0.25", linewidth=0.6, hatch=hatch, label=label)
        for bar, count in zip(bars, counts[verdict], strict=True):
            if count:
                small = count / widest < 0.03  # no room for both
                text, middle = symbols[verdict] if small else f"{symbols[verdict]} {count}", bar.get_x() + count / 2
                under = {"facecolor": face, "edgecolor": "none", "pad": 0.8} if hatch else None
                y = bar.get_y() + 0.31
                ax.text(middle, y, text, color=ink, ha="center", va="center", fontsize=6.5, bbox=under)
        left += width
    ax.set_yticks(rows, counts.index)
    ax.set_ylim(max(len(counts), 1) - 0.5, -0.5)
    ax.set_xlim(0, widest * 1.01)
    ax.set_xlabel("claims")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1), handlelength=1.2, columnspacing=1)
    return ax
