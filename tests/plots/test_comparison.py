"""Plots of many sets by many criteria."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import plots
from lib.plots.comparison import SHADES
from lib.statistics.bootstrap import Interval


@pytest.fixture
def ax():
    figure, axes = plots.canvas(width="page", height=90)
    yield axes["a"]
    plt.close(figure)


@pytest.mark.parametrize("count", range(1, 20))
def test_a_grid_holds_every_name_in_reading_order(count):
    names = [f"n{i}" for i in range(count)]
    rows = plots.grid(names, columns=3)
    assert {len(row) for row in rows} == {min(count, 3)}
    assert [name for row in rows for name in row if name != "."] == names
    assert sum(row.count(".") for row in rows) < 3


def test_forests_show_each_criterion_of_each_set():
    found = {
        name: {of: Interval(value, value - 1, value + 1, 0.95, 9, np.zeros(2)) for of in ("x", "y")}
        for name, value in (("a", 2.0), ("b", 3.0))
    }
    figure, axes = plots.forests(found, height=40, columns=1, references={"x": 0.5}, bands={"y": (1, 2)}, log=["y"])
    assert [ax.get_title(loc="left") for ax in axes.values()] == ["x", "y"]
    assert [label.get_text() for label in axes["x"].get_yticklabels()] == ["a", "b"]
    assert axes["x"].containers[0][0].get_xdata().tolist() == [2, 3]
    assert (axes["x"].get_xscale(), axes["y"].get_xscale()) == ("linear", "log")
    plt.close(figure)


def test_a_cell_is_orange_only_where_it_is_surely_worse(ax):
    ranks, worse = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[False, True], [False, False]])
    names = {"rows": ["a", "b"], "columns": ["c", "d"], "row_groups": ["g", "g"], "column_groups": ["x", "y"]}
    plots.heat_map(ax, [[0.0, -1.234], [10.4, 123.4]], ranks=ranks, worse=worse, **names)
    shades = [patch.get_facecolor() for patch in ax.patches]
    assert shades == [SHADES(0.0), SHADES(1.0), SHADES(0.45), SHADES(0.45)]
    texts = {text.get_text(): text.get_weight() for text in ax.texts}
    assert {name: texts[name] for name in ("0.00", "−1.23", "10.4", "123")} == {
        "0.00": "normal",
        "−1.23": "bold",
        "10.4": "normal",
        "123": "normal",
    }
    left = [patch.get_x() for patch in ax.patches]
    assert left[1] - left[0] == pytest.approx(1.3)  # a gap between groups


def test_numbers_stay_in_their_cells_where_columns_are_narrow():
    """As many columns as the comparison has, on a page, beside names as long as its longest."""
    figure, axes = plots.canvas(width="page", height=40)
    values, names = np.array([[-8.19, 1008.2, 0.56] * 6]), ["memorising generator (positive control)"]
    columns = [*map(str, range(17)), "AUROC on real radiographs"]
    groups = {"row_groups": ["control"], "column_groups": np.repeat(["a", "b", "c", "d"], [5, 3, 9, 1]).tolist()}
    options = {"ranks": np.ones((1, 18)), "worse": np.ones((1, 18), bool), "rows": names, "columns": columns}
    plots.heat_map(axes["a"], values, **options, **groups)
    figure.draw_without_rendering()
    wide = {patch.get_window_extent().width for patch in axes["a"].patches}
    assert max(text.get_window_extent().width for text in axes["a"].texts[:18]) < min(wide)
    assert [label.get_text() for label in axes["a"].get_yticklabels()] == ["memorising generator\n(positive control)"]
    plt.close(figure)


def test_a_front_joins_the_sets_that_none_beats(ax):
    x, y = (np.array([values, values, values]) for values in ([0.6, 0.7, 0.9], [0.5, 0.8, 0.7]))
    options = {"names": ["a", "b", "c"], "groups": ["g", "g", "h"], "markers": {"g": "o", "h": "*"}}
    plots.front(ax, x, y, **options, colour=np.array([1.0, 2, 5]), colour_label="distance", best=np.array([0, 1]))
    (ring,) = [line for line in ax.lines if line.get_label() == "not beaten"]
    assert ring.get_xdata().tolist() == [0.6, 0.7]
    low, high = ax.get_xlim()
    assert low > high  # to the right more private
    assert {text.get_text() for text in ax.texts} == {"a", "b", "c"}


def test_a_power_map_prints_every_share(ax):
    plots.power_map(ax, {"m": [0.0, 1.0], "n": [0.5, 0.25]}, rows=["exact", "noisy"])
    assert [text.get_text() for text in ax.texts] == ["0.00", "0.50", "1.00", "0.25"]
