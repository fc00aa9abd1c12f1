"""The stamp at the foot of a figure: whole, within the figure, in letters that can be read."""

import matplotlib.pyplot as plt
import pytest

from lib import plots
from lib.experiment.products import stamp


@pytest.fixture(autouse=True)
def closed():
    """No figure is left open, which would count in other tests."""
    yield
    plt.close("all")


FACTS = {"scale": "demo", "cohort": "phantom", "source": "vertebra", "seed": "0", "revision": "05e86b3"}
FACTS |= {"arithmetic": "float32, AVX2, threads: 1"}


@pytest.mark.parametrize(("width", "lines"), [("page", 1), ("column", 2)])
def test_a_long_stamp_takes_two_lines_and_stays_readable(width, lines):
    figure, axes = plots.canvas(width=width, height=40)
    axes["a"].set_xlabel("share found\nat 1 % false positives")
    stamp(figure, FACTS | {"n": "477 members, 1,028 non-members; targets to a set: 1; 95 % intervals over patients"})
    (note,) = figure.texts
    assert note.get_text().count("\n") == lines - 1
    assert note.get_fontsize() >= 3.5
    figure.draw_without_rendering()
    box = note.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y1 < axes["a"].xaxis.label.get_window_extent().y0


def test_a_stamp_without_end_still_fits():
    figure, _ = plots.canvas(width="column", height=40)
    stamp(figure, FACTS | {"n": "; ".join(["999 units of a set"] * 20)})
    assert figure.texts[0].get_window_extent().width <= figure.bbox.width
