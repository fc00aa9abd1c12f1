"""Three classes: selection by balanced accuracy, statistics of the evaluated batch, and the paper's optimiser."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from lib.core import seeding
from lib.models.classifiers.resnet import ResNet18
from lib.training.classifier.model_selection import History, Selection
from lib.training.classifier.single_label import predict, train_classifier
from lib.training.loop.dataset import DeviceDataset

CPU = torch.device("cpu")


class _Normed(nn.Module):
    """The smallest network with batch normalisation."""

    def __init__(self, classes=3):
        super().__init__()
        self.norm, self.last = nn.BatchNorm2d(1), nn.Linear(16, classes)

    def forward(self, images):
        return self.last(self.norm(images).flatten(1))


def _net(classes=3):
    with seeding.initialising(0, "net"):
        return _Normed(classes)


def _tops(n, seed=0):
    """Class k is bright in row k, barely; class 2 is rare."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [n // 2, n // 3, n - n // 2 - n // 3])
    images = rng.normal(100, 40, (n, 4, 4))
    images[np.arange(n), labels] += 40
    return images.clip(0, 255).astype(np.uint8), labels


def _fit(model, **options):
    images, labels = _tops(60)
    given = {"epochs": 8, "batch": 16, "learning_rate": 0.05, "seed": 3, "device": CPU, "augment": "none"}
    given |= {"images": images, "labels": labels, "validation": _tops(40, seed=1), "select": "balanced_accuracy"}
    return train_classifier(model, **(given | options))


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_the_best_epoch_by_scikit_learns_balanced_accuracy_is_kept(batch_statistics):
    model, shown = _net(), []
    history = _fit(
        model, batch_statistics=batch_statistics, progress=lambda _, **values: shown.append(values["balanced_accuracy"])
    )
    images, labels = _tops(40, seed=1)
    guesses = predict(model, images, batch=16, batch_statistics=batch_statistics, device=CPU).argmax(1)
    scores = history.validation_balanced_accuracy
    assert scores[history.selected - 1] == pytest.approx(balanced_accuracy_score(labels, guesses), abs=1e-12)
    best = max(zip(scores, [-loss for loss in history.validation_loss], strict=True))
    assert (scores[history.selected - 1], -history.validation_loss[history.selected - 1]) == best
    assert shown == scores
    assert history.validation_auprc == []
    assert min(scores) < max(scores)
    last = _fit(_net(), select="last", batch_statistics=batch_statistics)
    assert (last.selected, last.validation_balanced_accuracy) == (8, scores)


def test_batch_statistics_are_those_of_each_batch_and_leave_the_model_alone():
    model = _net()
    _fit(model, epochs=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, _ = _tops(20, seed=2)
    got = predict(model, images, batch=8, batch_statistics=True, device=CPU)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    x = torch.from_numpy(images)[:, None].double() / 127.5 - 1
    parts = []
    for part in x.split(8):
        normed = (part - part.mean()) / (part.var(correction=0) + 1e-5).sqrt()
        normed = normed * before["norm.weight"] + before["norm.bias"]
        parts.append((normed.flatten(1) @ before["last.weight"].double().T + before["last.bias"]).softmax(1))
    np.testing.assert_allclose(got, torch.cat(parts), rtol=0, atol=1e-5)
    assert abs(got - predict(model, images, batch=8, device=CPU)).max() > 1e-4


def test_sgd_carries_momentum():
    """Two full-batch steps against the update written out."""
    images, labels = _tops(30)
    settings = {"images": images, "labels": labels, "batch": 30, "select": "last"}
    model, twin = _net(), _net()
    _fit(model, epochs=2, optimiser="sgd", **settings)
    x, y = torch.from_numpy(images)[:, None] / 127.5 - 1, torch.from_numpy(labels)
    velocity = [torch.zeros_like(p) for p in twin.parameters()]
    for _ in range(2):
        loss = nn.functional.cross_entropy(twin(x), y)
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        for p, v, g in zip(twin.parameters(), velocity, gradients, strict=True):
            v.mul_(0.9).add_(g)
            p.data.sub_(0.05 * v)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_the_region_classifier_learns_slices_as_channels():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.integers(0, 60, (90, 9, 32, 32))
    for row, label in enumerate(labels):
        images[row, :, 8 * label : 8 * label + 12, 10:22] += 120
    images = images.astype(np.uint8)
    with seeding.initialising(0, "resnet"):
        model = ResNet18(width=8)
    train_classifier(
        model, images=images[:60], labels=labels[:60], validation=(images[60:75], labels[60:75]), epochs=4, batch=15,
        learning_rate=3e-3, seed=0, augment="none", select="balanced_accuracy", device=CPU,
    )  # fmt: skip
    assert (predict(model, images[75:], device=CPU).argmax(1) == labels[75:]).mean() >= 0.9


@pytest.mark.parametrize(
    ("classes", "change", "sentence"),
    [
        (3, {"validation": (np.zeros((4, 4, 4), np.uint8), [0, 1, 0, 1])}, r"hold the classes \[0, 1\]: balanced"),
        (3, {"validation": (np.zeros((4, 4, 4), np.uint8), [0, 1, 2, 3])}, "each of the 3 classes of the model"),
        (3, {"validation": (np.zeros((4, 4, 4), np.uint8), [1, 1, 1, 1])}, r"hold only \[1\]"),
        (3, {"select": "auprc"}, r"hold only \[0, 1, 2\]: selection by average precision"),
        (3, {"optimiser": "lion"}, "unknown optimiser 'lion': choose one of adamw, sgd"),
    ],
)
def test_bad_input_is_one_sentence(classes, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        _fit(_net(classes), **change)


def test_batch_statistics_need_batch_normalisation():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(ValueError, match="no batch normalisation"):
        predict(model, _tops(6)[0], batch_statistics=True, device=CPU)


def test_ties_go_to_the_lower_loss_then_the_earlier_epoch():
    examples = DeviceDataset(np.zeros((2, 1, 2), np.float32), [0, 1], device=CPU)
    selection = Selection("auprc", examples, batch=2, label_smoothing=0.0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    history = History()
    for bias, expected in ((1.0, 1), (0.0, 2), (0.0, 2), (-1.0, 2)):  # all scores tie; the loss is least at 0
        with torch.no_grad():
            network[1].bias.copy_(torch.tensor([0.0, bias]))
        selection.evaluate(network, history)
        assert history.selected == expected
    assert selection.weights["1.bias"].tolist() == [0.0, 0.0]


def test_epochs_that_are_not_eligible_are_evaluated_but_not_kept():
    examples = DeviceDataset(np.zeros((2, 1, 2), np.float32), [0, 1], device=CPU)
    selection = Selection("auprc", examples, batch=2, label_smoothing=0.0)
    history = History()
    selection.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), history, eligible=False)
    assert (history.selected, len(history.validation_auprc), selection.weights) == (0, 1, {})
