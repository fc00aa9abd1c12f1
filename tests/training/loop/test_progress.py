"""Progress: a line for each tenth, or one line that is rewritten in JupyterLab."""

import torch

from lib.training.loop.progress import Progress


def test_headless_progress_prints_one_line_each_tenth(capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    report = Progress("count", 1000)
    for done in range(1, 1001):
        report(done)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("count  1000/1000")
    report = Progress("loss", 5)
    report(5, d=torch.tensor(0.25))
    assert capsys.readouterr().out.rstrip().endswith("d 0.25")


def test_progress_in_jupyterlab_rewrites_one_line(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr("IPython.display.display", lambda data, raw, display_id: Handle())
    report = Progress("count", 5000)
    for done in range(1, 5001):
        report(done)
    assert 1 <= len(shown) < 20
    assert shown[-1].startswith("count  5000/5000")
