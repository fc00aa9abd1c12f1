"""Trainings ahead: all are run, once each, and what fails or dies harms nobody else."""

import os
import signal
import sys
import time

import pytest
import torch

from lib.training.loop import progress
from lib.training.loop.job_pool import run_ahead
from lib.training.loop.progress import Progress


def mark(folder, name):
    with open(folder / name, "a") as file:
        file.write(f"{os.getpid()} {torch.get_num_threads()}\n")


def test_every_task_runs_once_in_another_process_with_one_thread(tmp_path):
    run_ahead([lambda i=i: mark(tmp_path, f"{i}") for i in range(7)], workers=3)
    lines = [(tmp_path / f"{i}").read_text().split("\n") for i in range(7)]
    assert all(len(line) == 2 for line in lines)
    processes, threads = zip(*(line[0].split() for line in lines), strict=True)
    assert str(os.getpid()) not in processes
    assert set(threads) == {"1"}


def test_a_network_trained_ahead_is_the_one_trained_here(tmp_path):
    def train():
        generator = torch.Generator().manual_seed(0)
        weight = torch.zeros(64, 64, requires_grad=True)
        for _ in range(20):
            x = torch.randn(256, 64, generator=generator)
            ((x @ weight - x.flip(1)) ** 2).mean().backward()
            weight.data -= 0.1 * weight.grad
            weight.grad = None
        return weight.detach()

    run_ahead([lambda i=i: torch.save(train(), tmp_path / f"{i}.pt") for i in range(3)], workers=2)
    weights = [train(), *(torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt"))]
    assert len(weights) == 4
    assert all(torch.equal(weights[0], other) for other in weights)


@pytest.mark.parametrize("failing", ["raise", "exit"])
def test_a_task_that_fails_leaves_the_others(tmp_path, failing, capfd):
    def fail():
        if failing == "exit":
            os._exit(3)
        raise RuntimeError("this one fails")

    run_ahead([fail, *(lambda i=i: mark(tmp_path, f"{i}") for i in range(4))], workers=2)
    assert len(list(tmp_path.iterdir())) == 4
    if failing == "raise":
        says = capfd.readouterr().err
        assert says.splitlines() == [line for line in says.splitlines() if line.startswith("A training failed ahead (")]
        assert "this one fails" in says


def test_each_training_ahead_is_seen_here(capfd, monkeypatch):
    """Progress by name, prints of Python and of libraries, and the last words of one that is killed."""
    monkeypatch.setenv("SUITE_PROGRESS_SECONDS", "0")

    def train(name):
        report = Progress(name, 3)
        for done in range(1, 4):
            report(done, loss=done / 2)
        print("printed", name)
        os.write(1, b"by a library\n")
        sys.stdout.write("unfinished")
        sys.stdout.flush()
        if name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    run_ahead([lambda name=name: train(name) for name in ("first", "second", "killed")], workers=3)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    for name in ("first", "second", "killed"):
        shown = [line for line in lines if line.startswith(f"{name}  ")]
        assert [line.split()[1] for line in shown] == ["1/3", "2/3", "3/3"]
        assert shown[-1].endswith("loss 1.5")
        assert f"printed {name}" in lines
    assert lines.count("by a library") == lines.count("unfinished") == 3
    assert err == "A training was killed (signal 9): it is run again when called.\n"


def test_silence_is_broken(capfd, monkeypatch):
    monkeypatch.setenv("SUITE_PROGRESS_SECONDS", "0.1")
    run_ahead([lambda: time.sleep(0.5)] * 2, workers=2)
    assert capfd.readouterr().out.count("2 processes go on side by side") >= 3


def test_each_training_has_one_line_where_somebody_looks_on(monkeypatch):
    shown = {}

    class Handle:
        def __init__(self, text):
            self.number = len(shown)
            shown[self.number] = [text]

        def update(self, data, raw):
            shown[self.number].append(data["text/plain"])

    monkeypatch.setattr(progress, "is_interactive", lambda: True)
    monkeypatch.setattr(progress, "_LIVE_SECONDS", 0.0)
    monkeypatch.setattr("IPython.display.display", lambda data, raw, display_id: Handle(data["text/plain"]))

    def train(name):
        report = Progress(name, 5)
        for done in range(1, 6):
            report(done)

    run_ahead([lambda k=k: train(f"training {k}") for k in range(4)], workers=2)
    assert len(shown) == 4
    assert {len(texts) for texts in shown.values()} == {5}
    assert sorted(texts[-1].split("  ")[0] for texts in shown.values()) == [f"training {k}" for k in range(4)]


def test_one_worker_runs_nothing_ahead(tmp_path):
    run_ahead([lambda: mark(tmp_path, "0")] * 3, workers=1)
    assert list(tmp_path.iterdir()) == []
