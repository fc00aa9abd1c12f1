"""A slider for notebooks that pages through pictures; headless runs show the first and go on."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from IPython.display import display
from ipywidgets import IntSlider, interactive
from matplotlib.figure import Figure

from lib.core.frontend import is_interactive


def browse(draw: Callable[[int], Figure], count: int, *, label: str = "rank") -> interactive | None:
    """A slider from 1 to `count` above the figure that `draw(0)` … `draw(count - 1)` returns.

    Each figure is drawn when its place is chosen, shown once and closed. Without somebody to move the slider, the
    first figure is shown and None returned: a widget's messages can leave a headless run waiting for ever.
    Raises ValueError without a picture.
    """
    if count < 1:
        raise ValueError("there is no picture to page through")

    def show(place: int) -> None:
        figure = draw(place - 1)
        display(figure)
        plt.close(figure)

    if not is_interactive():
        show(1)
        return None
    slider = IntSlider(1, 1, count, description=label, continuous_update=False)
    return interactive(show, place=slider)
