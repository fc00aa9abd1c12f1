"""The plain classifier trainer: learning, selection, conventions, exact resume, cached features, bad input."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from lib.core import seeding
from lib.training.classifier.single_label import frozen_features, load_classifier, predict, train_classifier
from lib.training.loop import resume as resuming
from lib.training.loop.curve import read_curve
from lib.training.loop.dataset import DeviceDataset, Features
from lib.training.loop.inference import predict_logits
from tests.training.runs import assert_equal, interrupt, never, resume, weights

CPU = torch.device("cpu")


class Net(nn.Module):
    """Convolution, group norm, pooling, head: the small CNN in miniature."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        maps = self.dropout(self.layers(images))
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1))


def net(seed=0, **options):
    with seeding.initialising(seed, "net"):
        return Net(**options)


def bright_or_dark(n, seed=0):
    """Class 1 is brighter, with overlap."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.normal(110 + 30 * labels[:, None, None], 40, (n, 8, 8)).clip(0, 255).astype(np.uint8)
    return images, labels


def fit(model, **options):
    images, labels = bright_or_dark(60)
    given = {"epochs": 5, "batch": 16, "learning_rate": 0.02, "label_smoothing": 0.1, "weight_decay": 1e-3}
    given |= {"images": images, "labels": labels, "validation": bright_or_dark(30, seed=1), "seed": 3, "device": CPU}
    return train_classifier(model, **(given | options))


def test_it_learns_and_class_one_is_the_positive_one():
    model = net()
    fit(model, epochs=15)
    images, labels = bright_or_dark(200, seed=2)
    scores = predict(model, images, device=CPU)
    assert scores.shape == (200, 2)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)
    assert scores[labels == 1, 1].mean() > scores[labels == 0, 1].mean() + 0.2


def test_the_validation_score_is_scikit_learns_average_precision_of_class_one():
    model = net()
    history = fit(model, select="last", epochs=2)
    images, labels = bright_or_dark(30, seed=1)
    expected = average_precision_score(labels, predict(model, images, device=CPU)[:, 1])
    assert history.validation_auprc[-1] == pytest.approx(expected, abs=1e-12)


def test_the_best_epoch_is_kept():
    history = fit(model := net(), epochs=12, learning_rate=0.05)
    best = max(zip(history.validation_auprc, [-loss for loss in history.validation_loss], strict=True))
    chosen = history.selected - 1
    assert (history.validation_auprc[chosen], -history.validation_loss[chosen]) == best
    # A shorter training with the same seed passes through the same weights.
    other = net()
    fit(other, epochs=history.selected, select="last", learning_rate=0.05)
    torch.testing.assert_close(weights(model), weights(other), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    first, second, third = net(dropout=0.3), net(dropout=0.3), net(dropout=0.3)
    torch.manual_seed(1)
    one = fit(first)
    torch.manual_seed(2)  # the global state must not matter
    assert fit(second) == one
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)
    fit(third, seed=4)
    assert not torch.equal(weights(first), weights(third))


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "_SAVE_SECONDS", 0.0)
    whole = net(dropout=0.2)
    expected = fit(whole, epochs=6)
    options = {"epochs": 6, "checkpoint": tmp_path}
    interrupt(partial(fit, net(dropout=0.2), **options), 4)
    resumed, fetched = net(dropout=0.2), net(dropout=0.2)
    history, done = resume(partial(fit, resumed, **options))
    assert (history, done) == (expected, [4, 5, 6])  # the last save was after epoch 3
    curve = read_curve(tmp_path)
    assert curve.names == ("loss", "auprc", "validation_loss")
    assert curve.steps.tolist() == [*range(1, 7)]
    assert curve.values[:, 0].tolist() == np.float32(expected.loss).tolist()
    assert fit(fetched, progress=never, **options) == expected
    for again in (resumed, fetched):
        assert_equal(again.state_dict(), whole.state_dict())


def test_other_initial_weights_or_data_are_another_training(tmp_path):
    fit(net(), epochs=1, checkpoint=tmp_path)
    for change in ({"model": net(1)}, {"model": net(), "labels": np.zeros(60, int) + (np.arange(60) < 30)}):
        seen = []
        fit(
            **{"epochs": 1, "checkpoint": tmp_path, "progress": lambda done, seen=seen, **_: seen.append(done)} | change
        )
        assert seen == [1]


def frozen():
    model = net()
    model.layers.requires_grad_(False)
    return model


def test_cached_features_train_the_same_head():
    cached, literal = frozen(), frozen()
    before = copy.deepcopy(cached.layers.state_dict())
    history = fit(cached)

    class Hidden(nn.Module):  # the same network without a `head`, so that nothing is cached
        def __init__(self):
            super().__init__()
            self.inner = literal

        def forward(self, images):
            return self.inner(images)

    expected = fit(Hidden())
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-5)
    torch.testing.assert_close(weights(cached), weights(literal), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(before, cached.layers.state_dict())


def test_features_of_each_flip_are_those_of_the_flipped_image():
    model, (images, labels) = frozen(), bright_or_dark(10)
    examples = DeviceDataset(images, labels, device=CPU, augment="flips")
    features = Features(frozen_features(model, examples, batch=4), examples)
    flips = examples.draw_flips(10, torch.Generator().manual_seed(0))
    rows = torch.arange(10)
    torch.testing.assert_close(
        model.head(features.inputs(rows, flips)), model(examples.inputs(rows, flips)), rtol=1e-6, atol=1e-6
    )


def test_networks_with_one_frozen_part_see_images_through_it_once():
    images, labels = bright_or_dark(40)
    first, second, other = frozen(), frozen(), frozen()
    second.layers.load_state_dict(first.layers.state_dict())
    with torch.no_grad():
        other.layers[0].weight.add_(0.1)
    seen = []
    for model in (first, second, other):
        model.layers.register_forward_hook(lambda module, args, out: seen.append((module, len(args[0]))))
    probabilities = {}
    for name, model in (("first", first), ("second", second), ("other", other)):
        for part in (slice(0, 40), slice(0, 20)):
            probabilities[name] = predict(model, images[part], batch=40, device=CPU)
        with torch.no_grad():
            literal = model(torch.from_numpy(images[:20])[:, None].float() / 127.5 - 1).softmax(1)
        np.testing.assert_allclose(probabilities[name], literal, atol=1e-6)
    counted = {name: [n for module, n in seen if module is model.layers] for name, model in
               {"first": first, "second": second, "other": other}.items()}  # fmt: skip
    assert counted == {
        "first": [40, 20, 20],
        "second": [1, 1, 20],
        "other": [40, 20, 20],
    }  # the last of each is literal


def test_predictions_do_not_depend_on_the_batch():
    model, (images, _) = net(), bright_or_dark(23)
    whole = predict(model, images, batch=23, device=CPU)
    np.testing.assert_allclose(predict(model, images[:, None], batch=5, device=CPU), whole, atol=1e-6)
    scaled = images.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(predict(model, scaled, device=CPU), whole, atol=1e-6)


def test_a_smaller_last_batch_is_used():
    history = fit(net(), batch=59, epochs=1)
    assert np.isfinite(history.loss).all()
    examples = DeviceDataset(*bright_or_dark(7), device=CPU)
    assert len(predict_logits(net(), examples, batch=3)) == 7


IMAGES, LABELS = bright_or_dark(60)
NAN = IMAGES.astype(np.float32)
NAN[3, 2, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": NAN}, "training images hold NaN"),
        ({"images": IMAGES.astype(np.int32)}, "training images are torch.int32: give uint8"),
        ({"images": IMAGES[0]}, "training images have shape"),
        ({"labels": LABELS[:-1]}, "give 60 integers"),
        ({"labels": LABELS * 0.5}, "training labels are float64"),
        ({"labels": LABELS - 1}, "training labels hold -1"),
        ({"labels": LABELS * 2}, "labels reach 2, but the model has 2 outputs"),
        ({"labels": np.zeros(60, int)}, r"No training image is of class \[1\]"),
        ({"validation": (IMAGES, np.ones(60, int))}, r"validation labels hold only \[1\]"),
        ({"augment": "crops"}, "unknown augmentation 'crops': choose one of flips, none"),
        ({"select": "loss"}, "unknown selection 'loss': choose one of auprc, last"),
        ({"precision": "fp16"}, "unknown precision"),
        ({"learning_rate": 1e30}, "diverged in epoch"),
    ],
)
def test_bad_input_is_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(net(), **change)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="no trainable parameter"):
        fit(net().requires_grad_(False))


def test_a_model_that_goes_on_after_its_head_cannot_be_cached():
    model = frozen()
    forward = model.forward
    model.forward = lambda images: forward(images) * 2
    with pytest.raises(ValueError, match="more than its head"):
        fit(model)


def test_a_finished_training_is_loaded_whatever_its_settings(tmp_path):
    model, other = net(), net(seed=1)
    with pytest.raises(FileNotFoundError, match="no trained classifier"):
        load_classifier(other, tmp_path, device=CPU)
    fit(model, epochs=1, checkpoint=tmp_path)
    assert torch.equal(weights(load_classifier(other, tmp_path, device=CPU)), weights(model))
    assert not other.training
    with pytest.raises(ValueError, match="not those of this Linear"):
        load_classifier(nn.Linear(2, 2), tmp_path, device=CPU)
