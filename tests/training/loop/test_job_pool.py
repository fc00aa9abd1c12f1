"""Trainings ahead: all are run, once each, and what fails or dies harms nobody else."""

import os

import pytest
import torch

from lib.training.loop.job_pool import run_ahead


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
        assert "this one fails" in capfd.readouterr().err


def test_one_worker_runs_nothing_ahead(tmp_path):
    run_ahead([lambda: mark(tmp_path, "0")] * 3, workers=1)
    assert list(tmp_path.iterdir()) == []
