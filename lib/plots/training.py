"""Plots of a training: its losses against its steps."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from lib.plots.style import COLOURS

_WINDOWS = 60  # of the running mean over a whole curve
_WORDS = {"loss_g": "generator", "loss_d": "discriminator", "p": "augmentation probability"}  # names in curve.csv


def learning_curve(ax: Axes, steps: ArrayLike, losses: Mapping[str, ArrayLike], *, unit: str = "steps") -> Axes:
    """Each loss (rows,) against `steps` (rows,): every value faint, their running mean over a sixtieth as a line.

    The names that trainers give their losses stand in the legend as words. Of a GAN the curve tells whether one
    network has won, a loss near 0, and not how good the images are. Raises ValueError for losses of another length than
    `steps`, or no row.
    """
    at = np.asarray(steps, float)
    for (name, values), colour in zip(losses.items(), COLOURS, strict=False):
        loss = np.asarray(values, float)
        if loss.shape != at.shape or not len(at):
            raise ValueError(f"{name} has shape {loss.shape}, and the steps {at.shape}: give a value for each step")
        ax.plot(at, loss, color=colour, alpha=0.15, linewidth=0.4)
        ax.plot(running_mean(at), running_mean(loss), color=colour, label=_WORDS.get(name, name))
    ax.set(xlabel=unit, ylabel="loss")
    ax.grid(axis="y")
    ax.legend()
    return ax


def running_mean(values: np.ndarray) -> np.ndarray:
    """Means of all windows of a sixtieth of the rows, one row at least: (rows - window + 1,)."""
    window = max(1, len(values) // _WINDOWS)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    return (sums[window:] - sums[:-window]) / window
