"""Networks in use: rows in batches are those at once, and the parts that do not train stay in eval mode."""

import pytest
import torch
from torch import nn

from lib.training.loop.inference import changing, in_batches, training_mode


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 11])
def test_rows_in_batches_are_those_at_once(rows):
    images = torch.arange(3 * rows).reshape(rows, 3)
    parts = []

    def squared(part):
        parts.append(part)
        return images[part].square()

    found = in_batches(squared, rows, 4)
    assert found.dtype == torch.int64
    assert torch.equal(found, images.square())
    assert max(part.stop - part.start for part in parts) <= 4
    assert sum(part.stop - part.start for part in parts) == rows


def test_a_frozen_part_stays_in_eval_mode():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    training_mode(model)
    assert [module.training for module in model] == [False, True, True]
    assert "0.running_mean" in changing(model)
    assert "0.weight" not in changing(model)
