"""The learning curve: what was lost at every step, and a mean that follows it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import plots
from lib.plots.training import running_mean


@pytest.fixture
def ax():
    figure, axes = plots.canvas(height=50)
    yield axes["a"]
    plt.close(figure)


@pytest.mark.parametrize("rows", [1, 59, 60, 200, 1000])
def test_the_running_mean_is_the_mean_of_each_window(rows):
    values = np.random.default_rng(rows).normal(size=rows)
    window = max(1, rows // 60)
    literal = [values[i : i + window].mean() for i in range(rows - window + 1)]
    np.testing.assert_allclose(running_mean(values), literal, rtol=0, atol=1e-12)


def test_it_draws_every_value_and_the_mean_of_each_loss(ax):
    steps, rng = np.arange(1, 601), np.random.default_rng(0)
    losses = {"loss_d": rng.normal(1, 0.1, 600), "loss_g": np.full(600, 2.5)}
    assert plots.learning_curve(ax, steps, losses, unit="epochs") is ax
    (faint, _), (flat, mean) = ax.lines[:2], ax.lines[2:]
    np.testing.assert_array_equal(faint.get_ydata(), losses["loss_d"])
    np.testing.assert_allclose(mean.get_ydata(), 2.5)
    assert mean.get_xdata()[0] == np.mean(steps[:10])
    assert flat.get_alpha() < 0.5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["discriminator", "generator"]
    assert ax.get_xlabel() == "epochs"


def test_a_loss_of_another_length_is_refused(ax):
    with pytest.raises(ValueError, match=r"loss_g has shape \(3,\), and the steps \(4,\): give a value for each step"):
        plots.learning_curve(ax, [1, 2, 3, 4], {"loss_g": [1, 2, 3]})
    with pytest.raises(ValueError, match="give a value for each step"):
        plots.learning_curve(ax, [], {"loss_g": []})
