"""The slider shows what is asked for, once, and leaves no figure open."""

import matplotlib.pyplot as plt
import pytest

from lib.plots import browse as browsing
from lib.plots.browse import browse


def test_each_place_is_drawn_when_chosen_and_closed(monkeypatch):
    monkeypatch.setattr(browsing, "is_interactive", lambda: True)
    drawn = []

    def draw(i):
        drawn.append(i)
        return plt.figure()

    widget = browse(draw, 5, label="pair")
    slider = widget.children[0]
    assert (slider.min, slider.max, slider.description) == (1, 5, "pair")
    widget.update()
    slider.value = 4
    assert drawn[-1] == 3
    assert plt.get_fignums() == []


def test_a_headless_run_shows_the_first_and_makes_no_widget(monkeypatch):
    monkeypatch.setattr(browsing, "is_interactive", lambda: False)
    drawn = []

    def draw(i):
        drawn.append(i)
        return plt.figure()

    assert browse(draw, 5) is None
    assert drawn == [0]
    assert plt.get_fignums() == []


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="no picture"):
        browse(lambda i: plt.figure(), 0)
