"""The parts that do not train stay in eval mode."""

from torch import nn

from lib.training.loop.inference import changing, training_mode


def test_a_frozen_part_stays_in_eval_mode():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    training_mode(model)
    assert [module.training for module in model] == [False, True, True]
    assert "0.running_mean" in changing(model)
    assert "0.weight" not in changing(model)
