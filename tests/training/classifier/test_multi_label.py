"""Training on several findings: learning, the published schedule, exact resume, bad input."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lib.core import seeding
from lib.models.classifiers.small_cnn import SmallCNN
from lib.statistics.roc import auroc
from lib.training.classifier import multi_label as module
from lib.training.classifier.multi_label import drops, epochs_since_best, predict_findings, train_findings
from lib.training.loop import resume as resuming
from lib.training.loop.curve import read_curve
from tests.training.runs import assert_equal, interrupt, never, resume, weights

CPU = torch.device("cpu")


def radiographs(n, seed=0, size=16):
    """Finding 0 brightens the upper half, 1 the lower; a third of the radiographs show each, independently."""
    rng = np.random.default_rng(seed)
    shown = (rng.random((n, 2)) < 1 / 3).astype(int)
    images = rng.normal(100, 25, (n, size, size))
    images[:, : size // 2] += 40 * shown[:, :1, None]
    images[:, size // 2 :] += 40 * shown[:, 1:, None]
    return images.clip(0, 255).astype(np.uint8), shown


def net(seed=0):
    with seeding.initialising(seed, "net"):
        return SmallCNN(2)


class Dropping(nn.Module):
    """A linear network with dropout and batch normalisation."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Dropout(0.3), nn.Linear(256, 2))

    def forward(self, images):
        return self.layers(images)


def dropping(seed=0):
    with seeding.initialising(seed, "dropping"):
        return Dropping()


def fit(model, **options):
    images, shown = radiographs(60)
    given = {"images": images, "findings": shown, "validation": radiographs(40, seed=1), "epochs": 6, "seed": 3}
    return train_findings(model, **(given | {"device": CPU} | options))


def test_a_fixed_number_of_steps_learns_each_finding():
    model, (images, shown) = net(), radiographs(300)
    history = train_findings(
        model, images=images, findings=shown, validation=None, epochs=None, steps=120, batch=32, learning_rate=5e-3,
        optimiser="adam", weight_decay=0.0, patience=None, seed=0, device=CPU,
    )  # fmt: skip
    assert len(history.loss) == history.selected == 12  # 10 batches an epoch
    new, truth = radiographs(400, seed=2)
    scores = predict_findings(model, new, device=CPU)
    assert scores.shape == (400, 2)
    assert scores.dtype == np.float32
    areas = [auroc(truth[:, k], scores[:, k]) for k in range(2)]
    assert min(areas) > 0.95
    assert max(auroc(truth[:, k], scores[:, 1 - k]) for k in range(2)) < 0.75


def test_steps_end_within_an_epoch_and_equal_whole_epochs():
    one, two, three = net(), net(), net()
    common = {"validation": None, "patience": None, "batch": 16}
    fit(one, epochs=None, steps=8, **common)  # 4 batches an epoch, the last of 12
    fit(two, epochs=2, **common)
    assert torch.equal(weights(one), weights(two))
    history = fit(three, epochs=None, steps=5, **common)
    assert len(history.loss) == 2
    assert not torch.equal(weights(one), weights(three))


def test_loss_is_binary_cross_entropy_averaged_over_findings_and_radiographs():
    model = net()
    history = fit(model, epochs=1, learning_rate=0.0)
    for losses, (images, shown) in (
        (history.loss, radiographs(60)),
        (history.validation_loss, radiographs(40, seed=1)),
    ):
        p = predict_findings(model, images, device=CPU).astype(float)
        expected = -(shown * np.log(p) + (1 - shown) * np.log(1 - p)).mean()
        # mirrored radiographs: the small network is not symmetric, but with the weights drawn nearly so
        assert losses[0] == pytest.approx(expected, rel=1e-5 if losses is history.validation_loss else 2e-2)


def test_only_left_and_right_are_exchanged():
    images, shown = radiographs(50)
    examples = module._Radiographs(images, shown, device=CPU, mirror=True)
    flips = examples.draw_flips(50, torch.Generator().manual_seed(0))
    assert 10 < flips[:, 0].sum() < 40
    assert not flips[:, 1].any()
    assert module._Radiographs(images, shown, device=CPU).draw_flips(50, torch.Generator()) is None


@pytest.mark.parametrize(
    ("losses", "divided", "waited"),
    [
        ([], 0, 0),
        ([1.0], 0, 0),
        ([1.0, 0.9, 0.8], 0, 0),
        ([1.0, 0.9, 0.9], 0, 1),  # equal: neither worse nor a new least
        ([1.0, 0.9, 0.95, 0.92], 2, 2),  # both exceed the least, though the second falls
        ([1.0, 1.1, 0.9, 1.0, 0.8], 2, 0),
        ([1.0, 1.1, 1.2, 1.3], 3, 3),
    ],
)
def test_schedule_by_hand(losses, divided, waited):
    assert (drops(losses), epochs_since_best(losses)) == (divided, waited)


def test_published_schedule_divides_the_rate_forgets_momentum_stops_and_keeps_the_best(monkeypatch):
    """Against a literal loop that is given the same validation losses."""
    losses = [0.5, 0.6, 0.4, 0.45, 0.4, 0.7]
    told = iter(losses)
    monkeypatch.setattr(module, "_validate", lambda *_: next(told))
    model = net()
    history = fit(model, epochs=100, mirror=False)
    assert history.validation_loss == losses  # three epochs after the third without a new least
    assert history.selected == 3

    literal, (images, shown) = net(), radiographs(60)
    x, y = torch.from_numpy(images)[:, None].float() / 127.5 - 1, torch.from_numpy(shown).float()
    rate, least = 0.01, np.inf
    literal.to(memory_format=torch.channels_last)
    updates = torch.optim.SGD(literal.parameters(), rate, momentum=0.9, weight_decay=1e-4)
    for epoch, loss in enumerate(losses[:3]):
        order = torch.randperm(60, generator=seeding.torch_generator(3, "findings", "epoch", epoch))
        for rows in order.split(16):
            updates.zero_grad()
            nn.BCELoss()(literal(x[rows]).sigmoid(), y[rows]).backward()
            updates.step()
        if loss > least:
            rate /= 10
            updates = torch.optim.SGD(literal.parameters(), rate, momentum=0.9, weight_decay=1e-4)
        least = min(least, loss)
    torch.testing.assert_close(weights(model), weights(literal), rtol=1e-4, atol=1e-6)


def test_without_patience_the_best_epoch_is_kept_and_nothing_stops(monkeypatch):
    told = iter([0.5, 0.4, 0.6, 0.6, 0.6, 0.6])
    monkeypatch.setattr(module, "_validate", lambda *_: next(told))
    model, other = dropping(), dropping()
    history = fit(model, patience=None)
    assert (len(history.loss), history.selected) == (6, 2)
    told = iter([0.5, 0.4])
    fit(other, patience=None, epochs=2)
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch, optimiser):
    monkeypatch.setattr(resuming, "_SAVE_SECONDS", 0.0)
    options = {"optimiser": optimiser, "learning_rate": 0.05, "patience": 5, "checkpoint": tmp_path / "killed"}
    options["validation"] = (
        radiographs(40, seed=1)[0],
        radiographs(40, seed=2)[1],
    )  # of other radiographs: the loss soon rises
    whole = dropping()
    expected = fit(whole, **(options | {"checkpoint": tmp_path / "whole"}))
    assert drops(expected.validation_loss) > 0
    interrupt(partial(fit, dropping(), **options), 4)
    resumed, fetched = dropping(), dropping()
    history, done = resume(partial(fit, resumed, **options))
    assert (history, done[0]) == (expected, 4)  # the last save was after epoch 3
    curves = read_curve(tmp_path / "killed"), read_curve(tmp_path / "whole")
    assert curves[0].steps.tolist() == curves[1].steps.tolist() == [*range(1, len(expected.loss) + 1)]
    assert np.array_equal(curves[0].values, curves[1].values)
    assert fit(fetched, progress=never, **options) == expected
    for again in (resumed, fetched):
        assert_equal(again.state_dict(), whole.state_dict())
    for change in ({"findings": 1 - radiographs(60)[1]}, {"model": dropping(1)}, {"patience": 4}):
        seen = []
        fit(**({"model": dropping(), "progress": lambda done, s=seen, **_: s.append(done)} | options | change))
        assert seen[0] == 1


IMAGES, SHOWN = radiographs(60)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"findings": SHOWN[:, 0]}, r"training findings are int64 of shape \(60,\): give \(60, k\) numbers"),
        ({"findings": SHOWN[:-1]}, r"of shape \(59, 2\): give \(60, k\)"),
        ({"findings": SHOWN - 1}, "training findings are not all in"),
        ({"findings": np.where(SHOWN, np.nan, 0)}, "training findings are not all in"),
        ({"findings": SHOWN * [1, 0]}, r"No training radiograph shows finding \[1\]: leave it out"),
        ({"findings": np.maximum(SHOWN, [1, 0])}, r"Every training radiograph shows finding \[0\]"),
        ({"findings": np.hstack([SHOWN, SHOWN])}, "training findings are 4, but the model has 2 outputs"),
        ({"validation": (IMAGES, SHOWN[:, :1])}, "validation findings are 1, but the model has 2 outputs"),
        ({"validation": None}, "no validation loss to watch: give patience=None"),
        ({"steps": 9}, "Give either epochs or steps"),
        ({"epochs": None}, "Give either epochs or steps"),
        ({"optimiser": "lamb"}, "unknown optimiser 'lamb': choose one of sgd, adam"),
        ({"precision": "fp16"}, "unknown precision"),
        ({"learning_rate": 1e30}, "diverged in epoch"),
    ],
)
def test_bad_input_is_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(net(), **change)
