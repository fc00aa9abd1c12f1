"""Plots: they draw the arrays they are given, on the axes they are given, at the widths of a page."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib import plots
from lib.statistics.seeds import seed_interval


@pytest.fixture
def ax():
    figure, axes = plots.canvas(height=50)
    yield axes["a"]
    plt.close(figure)


def test_a_canvas_has_the_widths_of_a_manuscript():
    for width, mm in (("column", 85), ("page", 178)):
        figure, _ = plots.canvas(width=width, height=40)
        np.testing.assert_allclose(figure.get_size_inches() * 25.4, (mm, 40))
        plt.close(figure)
    with pytest.raises(ValueError, match="unknown width 'poster': choose one of column, page"):
        plots.canvas(width="poster", height=40)


def test_a_grid_of_colour_images_keeps_their_colours(ax):
    images = np.zeros((2, 3, 4, 4))
    images[0, 0], images[1, 2] = 255, 127.5  # red; half a blue
    sheet = plots.image_grid(ax, images, columns=2).images[0].get_array()
    np.testing.assert_allclose(sheet[0, 0], [1, 0, 0])
    np.testing.assert_allclose(sheet[3, -1], [0, 0, 0.5])
    np.testing.assert_allclose(sheet[:, 4], 1)  # the gap
    with pytest.raises(ValueError, match=r"give \(n, H, W\), or \(n, 3, H, W\) in colour"):
        plots.image_grid(ax, np.zeros((2, 4, 8, 8)), columns=2)


def test_a_grid_holds_every_image_in_reading_order(ax):
    images = np.arange(5)[:, None, None] * np.ones((5, 8, 8)) * 10
    sheet = plots.image_grid(ax, images, columns=3).images[0].get_array()
    assert sheet.shape == (17, 26)
    assert [sheet[4, 4], sheet[4, 13], sheet[4, 22], sheet[13, 4], sheet[13, 13]] == [0, 10, 20, 30, 40]
    assert np.ma.getmaskarray(np.ma.masked_invalid(sheet))[13, 22]
    with pytest.raises(ValueError, match="give"):
        plots.image_grid(ax, images[0], columns=3)


def test_budget_curves_show_means_with_seed_intervals(ax):
    values = np.array([[0.6, 0.62, 0.64], [0.7, 0.71, 0.75]])
    plots.budget_curve(
        ax, {"real": dict(zip((1, 6), values, strict=True))}, references=[("no privacy", np.array([0.8, 0.82]))]
    )
    bar = ax.containers[0]
    np.testing.assert_allclose(bar.lines[0].get_ydata(), values.mean(axis=1))
    low, high = bar.lines[2][0].get_segments()[1][:, 1]
    interval = seed_interval(values[1])
    np.testing.assert_allclose((low, high), (interval.low, interval.high))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "6"]


def test_budget_curves_show_the_intervals_that_they_are_given(ax):
    """Of public cohorts an interval holds the test patients too: bars over seeds alone would be too short."""
    ends = {"real": {1: (0.5, 0.75)}, "no privacy": {None: (0.7, 0.95)}}
    scores, without = {"real": {1: [0.6, 0.62, 0.64], 6: [0.7, 0.71, 0.75]}}, [("no privacy", [0.8, 0.82, 0.81])]
    plots.budget_curve(ax, scores, references=without, intervals=ends)
    first, second = (segment[:, 1] for segment in ax.containers[0].lines[2][0].get_segments())
    np.testing.assert_allclose(first, (0.5, 0.75))
    np.testing.assert_allclose(second, seed_interval([0.7, 0.71, 0.75]).bounds[1:])
    [(right, low), (_, high)] = ax.containers[1].lines[2][0].get_segments()[0]
    np.testing.assert_allclose((low, high), (0.7, 0.95))
    assert right > 6  # beyond the last budget, so that it hides no condition's bar


def test_budget_curves_of_one_or_two_seeds_show_no_caps_without_a_bar(ax):
    ends = {"real": {1: (0.61, 0.61 + 1e-12)}, "of one generator": {None: (0.8 - 1e-12, 0.8)}}
    plots.budget_curve(
        ax, {"real": {1: [0.6, 0.62]}}, references=[("of one generator", [0.8, 0.8])], intervals=ends
    )  # fmt: skip
    [points] = ax.containers
    assert points.lines[1:] == ((), ())


def test_axes_that_share_a_scale_show_both_sides():
    figure, axes = plots.canvas(height=50, mosaic="ab", sharey=True)
    for name, level in (("a", 0.5), ("b", 0.8)):
        plots.budget_curve(axes[name], {"real": {1: [level, level + 0.01], 6: [level, level + 0.02]}})
    low, high = axes["a"].get_ylim()
    plt.close(figure)
    assert low < 0.5
    assert high > 0.81


def test_a_spectrum_peaks_at_the_frequency_drawn(ax):
    wave = np.sin(2 * np.pi * 8 * np.arange(64) / 64)
    plots.power_spectra(ax, {"waves": np.tile(wave, (3, 64, 1))})
    x, y = ax.lines[0].get_data()
    assert x[np.argmax(y)] == pytest.approx(8 / 64)


def test_histograms_are_densities_on_common_bins(ax):
    plots.distributions(ax, {"a": np.random.default_rng(0).normal(size=500), "b": np.full(20, 3.0)}, bins=20)
    for patch in ax.patches:
        x, y = patch.get_xy()[:-1].T
        assert np.sum(np.diff(x)[1::2] * y[1:-1:2]) == pytest.approx(1, rel=1e-6)


def test_a_forest_has_the_first_row_on_top(ax):
    plots.intervals(ax, [("first", 0.5, 0.4, 0.6), ("second", 0.7, 0.65, 0.8)], reference=0.5)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_data(), [[0.5, 0.7], [1, 0]])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["first", "second"]


def test_what_is_no_evidence_is_grey_and_the_rest_is_not(ax):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (4, 16, 16)) for name in ("real", "synthetic")}
    drawn = [line.get_color() for line in plots.power_spectra(ax, images, grey=["synthetic"]).lines]
    assert drawn == [plots.COLOURS[0], plots.GREY]
    ax.clear()
    plots.distributions(ax, {name: of.mean(axis=(1, 2)) for name, of in images.items()}, grey=["real"])
    assert [line.get_color() for line in ax.lines] == [plots.GREY, plots.COLOURS[1]]
    ax.clear()
    plots.distributions(ax, {name: of.mean(axis=(1, 2)) for name, of in images.items()}, grey=["real", "synthetic"])
    assert len({patch.get_linestyle() for patch in ax.patches}) == 2  # grey both, and still told apart
    ax.clear()
    rows = [("own", 0.5, 0.4, 0.6), ("memorising", 0.9, 0.8, 1.0)]
    plots.intervals(ax, rows, grey=["own"])
    places = {line.get_color(): line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "o"}
    assert places == {plots.GREY: [1], plots.COLOURS[0]: [0]}


def test_a_schematic_joins_its_boxes(ax):
    ax.set(xlim=(0, 100), ylim=(0, 50))
    boxes = {"a": (20, 25, 20, 10, "one"), "b": (80, 25, 20, 10, "two")}
    plots.schematic(ax, boxes, [("a", "b", "to")], [(50, 40, 8, np.zeros((4, 4)))])
    assert {text.get_text() for text in ax.texts} == {"one", "two", "to"}
    assert len(ax.patches) == 3


def test_verdict_bars_say_each_count_beside_its_symbol(ax):
    counts = pd.DataFrame({"replicated": [90, 3], "contradicted": [0, 1], "not run": [1, 0]}, index=["a", "b"])
    symbols = {"replicated": "✓", "contradicted": "✗", "not run": "–"}
    plots.verdict_bars(ax, counts, symbols=symbols)
    assert [text.get_text() for text in ax.texts] == ["✓ 90", "✓ 3", "✗", "–"]  # no room for one of 91
    assert [bar.get_x() + bar.get_width() for bars in ax.containers for bar in bars] == [90, 3, 90, 4, 91, 4]
    with pytest.raises(ValueError, match="unknown verdict 'fine': known are replicated"):
        plots.verdict_bars(ax, counts.rename(columns={"not run": "fine"}), symbols=symbols)
    plots.verdict_bars(ax, counts[:0], symbols=symbols)


def test_what_is_greyed_has_no_colour_left_and_its_lightness(ax):
    plots.densities(ax, {"a": [0.1, 0.2, 0.4], "b": [0.5, 0.6, 0.9]})
    ax.scatter([0, 1], [0, 1], color=["red", "blue"])
    ax.plot([0, 1], [0, 1], "D", mfc="none", color="C1")
    assert plots.greyed(ax) is ax
    colours = [line.get_color() for line in ax.lines] + [patch.get_facecolor() for patch in ax.patches]
    colours = np.array([*colours, *ax.collections[0].get_facecolor()])
    np.testing.assert_allclose(colours[:, :3].std(axis=1), 0, atol=1e-12)
    red, blue = ax.collections[0].get_facecolor()[:, 0]
    np.testing.assert_allclose((red, blue), (0.2126, 0.0722))
    assert ax.lines[-1].get_markerfacecolor() == "none"
