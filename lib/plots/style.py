"""The style of every figure: widths, colours, markers and text sizes, and an empty figure of it."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTHS = {"column": 85, "page": 178}  # mm
REAL, SYNTHETIC = "#0072B2", "#D55E00"
COLOURS = (REAL, SYNTHETIC, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")  # Okabe and Ito 2008
GREY = "0.6"  # of what is no evidence
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: dict[str, Any] = {
    "font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "legend.fontsize": 6.5,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.axisbelow": True,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.2, "lines.markersize": 3.5,
    "grid.linewidth": 0.4, "grid.color": "0.88", "legend.frameon": False, "image.cmap": "gray",
    "image.interpolation": "nearest", "figure.dpi": 150, "savefig.dpi": 300, "pdf.fonttype": 42,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
}  # fmt: skip
plt.style.use(_STYLE)


def canvas(*, width: str = "column", height: float, mosaic: Any = "a", **options) -> tuple[Figure, dict]:
    """A figure `width` wide ("column" 85 mm or "page" 178 mm) and `height` mm high, with a strip for the stamp.

    `mosaic` and `options` are arguments of `subplot_mosaic`. Returns the figure and its axes by name. Raises ValueError
    for another width.
    """
    if width not in WIDTHS:
        raise ValueError(f"unknown width {width!r}: choose one of {', '.join(WIDTHS)}")
    strip = 3 / height
    layout = ConstrainedLayoutEngine(rect=(0, strip, 1, 1 - strip), w_pad=0.02, h_pad=0.02)
    figure = plt.figure(figsize=(WIDTHS[width] / 25.4, height / 25.4), layout=layout)
    return figure, figure.subplot_mosaic(mosaic, **options)
