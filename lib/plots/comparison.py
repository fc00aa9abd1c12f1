"""Plots of many sets by many criteria: forests, a heat map, and a plane of two criteria."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from lib.plots.charts import intervals
from lib.plots.style import COLOURS, GREY, REAL, SYNTHETIC, canvas
from lib.statistics.bootstrap import Interval

SHADES = LinearSegmentedColormap.from_list("rank", [REAL, "#F4F4F4", SYNTHETIC])
_UNSURE = 0.45  # the darkest shade of a value that may be as good as the ideal: just short of the middle
_TITLE = 80  # characters of titles that stand side by side on a page
_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)


def grid(names: Sequence[str], *, columns: int) -> list[list[str]]:
    """A mosaic for `canvas` of any number of axes in rows of `columns` at most; places left over stay empty."""
    wide = min(columns, len(names))
    padded = [*names, *["."] * (-len(names) % wide)]
    return [padded[start : start + wide] for start in range(0, len(padded), wide)]


def forest(
    ax: Axes,
    rows: Sequence[tuple[str, float, float, float]],
    *,
    reference: float | None = None,
    band: tuple[float, float] | None = None,
    log: bool = False,
) -> Axes:
    """`intervals` of (label, value, low, high), with a green `band` (low, high).

    log: a logarithmic axis for values above 0; intervals that reach 0 end at the margin.
    """
    intervals(ax, rows, reference=reference)
    least = -np.inf
    if log:
        least = 0.2 * min(value for _, value, _, _ in rows)
        ax.set(xscale="log", xlim=(least, None))
    if band is not None:
        ax.axvspan(max(band[0], least), band[1], color=COLOURS[2], alpha=0.2, linewidth=0)
    return ax


def forests(
    found: Mapping[str, Mapping[str, Interval]],
    *,
    height: float,
    columns: int = 6,
    references: Mapping[str, float | None] = MappingProxyType({}),
    bands: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    log: Collection[str] = (),
) -> tuple[Figure, dict[str, Axes]]:
    """A `forest` of every set for each criterion, in rows of `columns`, `height` mm each; the figure, its axes by name.

    found: set -> criterion -> interval, the same criteria of each set. references, bands and log: by criterion.
    """
    names = list(next(iter(found.values())))
    mosaic = grid(names, columns=columns)
    figure, axes = canvas(width="page", height=height * len(mosaic), mosaic=mosaic, sharey=True)
    for name in names:
        rows = [(label, *of[name].around) for label, of in found.items()]
        forest(axes[name], rows, reference=references.get(name), band=bands.get(name), log=name in log)
        axes[name].set_title(textwrap.fill(name, _TITLE // len(mosaic[0])))
    return figure, axes


def heat_map(
    ax: Axes,
    values: ArrayLike,
    *,
    ranks: ArrayLike,
    worse: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    row_groups: Sequence[str],
    column_groups: Sequence[str],
    grey: ArrayLike = False,
) -> ScalarMappable:
    """Values (m, k) as text on shades of their ranks; returns what a colour bar of the shades needs.

    ranks (m, k): 0 for the best of a column to 1 for the worst. worse (m, k) bool: bold, and only then in the second
    half of the shades. grey (m, k) bool: what is no evidence, without a shade. rows (m,) and columns (k,) are names,
    with the group of each: neighbours of one group stand together. What stands in brackets in a row's name has a line
    of its own.
    """
    values, worse = np.asarray(values, float), np.asarray(worse, bool)
    faded = np.broadcast_to(grey, values.shape)
    shares = np.minimum(np.asarray(ranks, float), np.where(worse, 1.0, _UNSURE))
    x, y = _places(column_groups), _places(row_groups)
    for (i, j), value in np.ndenumerate(values):
        share, across, down = float(shares[i, j]), float(x[j]), float(y[i])
        shade = "0.93" if faded[i, j] else SHADES(share)
        ax.add_patch(Rectangle((across - 0.5, down - 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=0.6))
        colour, weight = "white" if abs(share - 0.5) > 0.4 else "0.1", "bold" if worse[i, j] else "normal"
        if faded[i, j]:
            colour, weight = GREY, "normal"
        text = _rounded(value)
        size = 6.3 if len(text) < 5 else 5.5  # "−8.19" in bold is wider than a cell
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": colour, "weight": weight}
        ax.text(across, down, text, **style)
    for group in dict.fromkeys(column_groups):
        middle = x[[g == group for g in column_groups]].mean()
        ax.text(middle, y[-1] + 0.85, group, ha="center", va="center", weight="bold")
    for group in dict.fromkeys(row_groups):
        middle = y[[g == group for g in row_groups]].mean()
        ax.text(x[-1] + 0.7, middle, group, rotation=270, ha="center", va="center", color="0.35")
    ax.set(xlim=(x[0] - 0.55, x[-1] + 1), ylim=(y[-1] + 1.2, y[0] - 0.55))
    ax.set_yticks(y, [name.replace(" (", "\n(") for name in rows], linespacing=0.95)  # columns are wider so
    ax.set_xticks(x, columns, rotation=55, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.tick_params(length=0, pad=1)
    ax.spines[:].set_visible(False)
    return ScalarMappable(cmap=SHADES)


def _places(groups: Sequence[str]) -> np.ndarray:
    """One place apart, and a little more where a group ends."""
    ends = [a != b for a, b in zip(groups, groups[1:], strict=False)]
    return np.arange(len(groups)) + 0.3 * np.cumsum([0, *ends])


def _rounded(value: float) -> str:
    places = 0 if abs(value) >= 99.5 else 1 if abs(value) >= 9.95 else 2
    return f"{value:.{places}f}".replace("-", "−").replace("−0.00", "0.00")


def power_map(ax: Axes, power: Mapping[str, Sequence[float]], *, rows: Sequence[str]) -> Axes:
    """Shares in [0, 1] as text on shades of blue: measure -> one value for each of `rows`."""
    values = np.stack([np.asarray(of, float) for of in power.values()], axis=1)
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > 0.6 else "0.15"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=5.5, color=ink)
    ax.set_xticks(range(len(power)), [*power], rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    return ax


def front(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    *,
    names: Sequence[str],
    groups: Sequence[str],
    markers: Mapping[str, str],
    colour: np.ndarray,
    colour_label: str,
    best: np.ndarray,
) -> Axes:
    """Sets in the plane of two criteria: x (3, m), low values to the right, and y (3, m), each value, low and high.

    names and groups (m,); markers: group -> marker. colour (m,): positive numbers, on a logarithmic scale. best: rows
    of the sets that no other beats, joined by a dotted line.
    """
    (x, *x_ends), (y, *y_ends) = x, y
    x_bars, y_bars = (np.abs(np.stack(ends) - value) for value, ends in ((x, x_ends), (y, y_ends)))
    ax.errorbar(x, y, xerr=x_bars, yerr=y_bars, fmt="none", ecolor="0.65", elinewidth=0.6, zorder=1)
    scale = LogNorm(colour.min(), colour.max())
    edge: dict[str, Any] = {"edgecolor": "0.2", "linewidth": 0.5}
    for group in dict.fromkeys(groups):
        rows, marker = np.array([of == group for of in groups]), markers[group]
        size = 60 if marker == "*" else 30
        shade: dict[str, Any] = {"c": colour[rows], "norm": scale, "cmap": "viridis_r", **edge}
        points = ax.scatter(x[rows], y[rows], s=size, marker=marker, label=group, zorder=3, **shade)
    margin = min(x.min(), 0.5) - 0.05
    _name_points(ax, x, y, names, margin)
    ax.set_xlim(margin + 0.01, 1.03)
    ring: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 0.7}
    ax.plot(x[best], y[best], ":", color="0.3", linewidth=0.8, zorder=2, label="not beaten", **ring)
    ax.invert_xaxis()
    ax.axvline(0.5, color="0.6", linewidth=0.7, linestyle="--")
    ax.grid()
    ax.legend(loc="lower left", fontsize=6)
    ticks = [tick for tick in _TICKS if colour.min() <= tick <= colour.max()]
    bar = ax.figure.colorbar(points, ax=ax, label=colour_label, shrink=0.7, pad=0.02)
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    bar.minorticks_off()
    return ax


def _name_points(ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str], margin: float) -> None:
    """Names in the margin, as near to the height of their points as there is room, or beside points far to the left."""
    bottom, top = ax.get_ylim()
    high = top - bottom
    free = {True: np.inf, False: top}  # how far up there is room: beside the points, and in the margin
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkB": 3, "relpos": (0, 0.5)}
    style: dict[str, Any] = {"va": "center", "fontsize": 6.5, "annotation_clip": False}
    for i in np.argsort(-y):
        is_left = bool(x[i] > 0.85)
        height = free[is_left] = min(y[i] + (0.012 if is_left else 0.1) * high, free[is_left] - 0.05 * high)
        spot = (float(x[i]) - 0.015 if is_left else margin, height)
        ax.annotate(names[i], (x[i], y[i]), spot, arrowprops=None if is_left else line, **style)
