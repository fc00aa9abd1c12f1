"""Progress: plain lines at least every so many seconds, or one line that is rewritten where somebody looks on."""

import itertools
import sys
import types

import pytest
import torch

from lib.core import frontend
from lib.training.loop import progress
from lib.training.loop.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that each report moves by a second."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_headless_progress_prints_plain_lines_every_ten_seconds_and_the_end(capsys, clock):
    report = Progress("count", 95)
    for done in range(1, 96):
        report(done)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "\r" not in out
    assert 9 <= len(lines) <= 10
    assert lines[-1].startswith("count  95/95 steps  ")
    assert lines[-1].endswith("0 s left")


def test_a_line_says_step_of_steps_images_a_second_and_losses(capsys, clock):
    report = Progress("loss", 200, start=100)
    report(150, images=40, d=torch.tensor(0.25))
    report.end()
    report.end()  # it is shown already
    assert capsys.readouterr().out == "loss  150/200 steps  2 s, 2 s left  20 images/s  d 0.25\n"


def test_the_seconds_between_lines_are_a_setting(capsys, clock, monkeypatch):
    monkeypatch.setenv("SUITE_PROGRESS_SECONDS", "60")
    report = Progress("count", 1000)
    for done in range(1, 600):
        report(done)
    assert len(capsys.readouterr().out.splitlines()) in (9, 10)


def test_progress_that_somebody_looks_at_rewrites_one_line(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    report = Progress("count", 5000)
    for done in range(1, 5001):
        report(done)
    assert 1 <= len(shown) < 20
    assert shown[-1].startswith("count  5,000/5,000")
    assert capsys.readouterr().out == ""


def shell(**content):
    kernel = types.SimpleNamespace(get_parent=lambda channel: {"content": content})
    return types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=kernel))


@pytest.mark.parametrize(
    ("ipython", "expected"),
    [
        (shell(allow_stdin=True), True),  # JupyterLab, VS Code, Colab
        (shell(allow_stdin=False), False),  # nbclient, papermill, nbconvert
        (shell(), False),
        (types.SimpleNamespace(get_ipython=lambda: None), False),
        (types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()), False),  # IPython in a terminal
    ],
)
def test_who_looks_on_is_what_the_front_end_says(ipython, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert frontend.is_interactive() is expected
