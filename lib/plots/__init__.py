"""Plots for manuscripts: arrays and an axes in, the axes out."""

from lib.plots.charts import (  # noqa: F401
    budget_curve,
    confusion,
    contours,
    densities,
    distributions,
    greyed,
    image_grid,
    intervals,
    matrix,
    power_spectra,
    ranks,
    roc,
    verdict_bars,
)
from lib.plots.comparison import forest, forests, front, grid, heat_map, power_map  # noqa: F401
from lib.plots.schematic import schematic  # noqa: F401
from lib.plots.style import COLOURS, GREY, MARKERS, REAL, SYNTHETIC, WIDTHS, canvas  # noqa: F401
from lib.plots.training import learning_curve  # noqa: F401
