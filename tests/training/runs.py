"""How tests watch, interrupt and compare trainings."""

from collections.abc import Callable

import pytest
import torch

from lib.training.loop.checkpoint import Checkpoint

# Of two trainings of a few steps that should be one: a GPU adds up in any order, and Adam's first steps are signs.
TOLERANCE = {"cpu": 0.0, "cuda": 0.05}


def silent(done, **losses):
    """A training's `progress` that prints nothing."""


def never(done, **losses):
    """A training's `progress` where nothing may be trained."""
    raise AssertionError("trained again")


def interrupt(train: Callable, step: int) -> None:
    """Run train(progress=…), and interrupt it after `step`."""

    def kill(done, **losses):
        if done == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(progress=kill)


def resume(train: Callable):
    """Run train(progress=…) in another process's shoes: what it returns, and the steps that it did."""
    torch.manual_seed(99)  # the global state must not matter
    done = []
    return train(progress=lambda step, **losses: done.append(step)), done


def tensors(folder) -> dict[str, torch.Tensor]:
    """What the training in `folder` keeps."""
    return Checkpoint(folder, None).load()[0]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, on: str = "cpu") -> None:
    """The same names, and the same tensors: bit for bit if computed on a CPU, else to `TOLERANCE`."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        if TOLERANCE[on]:
            torch.testing.assert_close(second[name], value, rtol=0, atol=TOLERANCE[on], msg=name)
        else:
            assert torch.equal(value, second[name]), name


def weights(model: torch.nn.Module) -> torch.Tensor:
    """Every weight and buffer of `model`, as one vector."""
    return torch.cat([value.detach().flatten().float() for value in model.state_dict().values()])
