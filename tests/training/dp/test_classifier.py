"""DP-SGD: clipping, noise, sampling, the ε-window, exact resume, what is refused."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opacus.accountants import RDPAccountant

from lib.training.dp import accounting
from lib.training.dp import classifier as private
from lib.training.dp.classifier import PrivateHistory, in_window, poisson_rows, train_private
from lib.training.dp.per_sample_gradients import FlatParameters, per_sample_gradients
from lib.training.loop import resume as resuming
from lib.training.loop.curve import read_curve
from lib.training.loop.dataset import DeviceDataset
from tests.training.dp.toy import example, small_cnn, smoothed
from tests.training.runs import assert_equal, interrupt, never, resume, weights

CPU = torch.device("cpu")


def mechanism(flat, *, sigma, clip, size, seed=0, rate=1.0, chunk=None, learning_rate=0.01):
    history = PrivateHistory(noise_multiplier=sigma, sample_rate=rate, max_grad_norm=clip)
    optimiser = torch.optim.AdamW([flat.vector], lr=learning_rate, weight_decay=1e-2, fused=True)
    return private.Mechanism(
        flat, history, optimiser=optimiser, seed=seed, size=size, label_smoothing=0.1, chunk=chunk, engine="layers"
    )


@pytest.mark.parametrize("clip", [0.05, 0.7])
def test_every_clipped_gradient_is_within_the_norm(clip):
    model, images, labels = example("small_cnn", n=6)
    flat = FlatParameters(model)
    rows, _ = per_sample_gradients(flat, images, labels, loss=smoothed)
    clipped = []
    for i in range(len(images)):  # one image a step without noise: the vector's gradient is its clipped gradient
        step = mechanism(flat, sigma=0.0, clip=clip, size=1)
        step._clip_and_noise(images[i : i + 1], labels[i : i + 1])
        clipped.append(flat.vector.grad.clone())
        step.optimiser.zero_grad()
    norms = torch.stack(clipped).norm(dim=1)
    assert (norms <= clip * (1 + 1e-6)).all()
    torch.testing.assert_close(norms, rows.norm(dim=1).clamp(max=clip), rtol=1e-4, atol=1e-5)
    assert (rows.norm(dim=1) > clip).any()
    mechanism(flat, sigma=0.0, clip=clip, size=len(images))._clip_and_noise(images, labels)
    torch.testing.assert_close(flat.vector.grad, torch.stack(clipped).mean(0), rtol=1e-4, atol=1e-6)


def test_chunks_change_nothing():
    images, labels = torch.randn(7, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 2
    gradients = []
    for chunk in (None, 3, 1):
        flat = FlatParameters(small_cnn())
        step = mechanism(flat, sigma=0.5, clip=0.1, size=7, chunk=chunk)
        step.noise.manual_seed(0)
        step._clip_and_noise(images, labels)
        assert step.history == [(0.5, 1.0, 1)]
        gradients.append(flat.vector.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradients[2], gradients[0], rtol=1e-5, atol=1e-7)


def test_the_noise_has_the_stated_deviation_and_an_empty_batch_is_noise_alone():
    flat = FlatParameters(small_cnn())
    step = mechanism(flat, sigma=3.0, clip=0.5, size=200, rate=0.1)
    step.noise.manual_seed(5)
    losses = step._clip_and_noise(torch.zeros(0, 1, 32, 32), torch.zeros(0, dtype=torch.long))
    assert len(losses) == 0
    noise = flat.vector.grad * 200 * 0.1  # the expected batch divides
    n = len(noise)
    assert abs(noise.std().item() / 1.5 - 1) < 4 / math.sqrt(2 * n)
    assert abs(noise.mean().item()) < 4 * 1.5 / math.sqrt(n)
    step.optimiser.zero_grad()
    step.noise.manual_seed(6)
    step._clip_and_noise(torch.zeros(0, 1, 32, 32), torch.zeros(0, dtype=torch.long))
    other = flat.vector.grad * 20
    assert abs(torch.corrcoef(torch.stack([noise, other]))[0, 1]) < 4 / math.sqrt(n)


def test_poisson_sampling_draws_each_image_with_its_rate():
    generator, n, rate, draws = torch.Generator().manual_seed(0), 50, 1 / 9, 4000
    counts, sizes = torch.zeros(n), []
    for _ in range(draws):
        rows = poisson_rows(n, rate, generator)
        counts[rows] += 1
        sizes.append(len(rows))
    deviation = math.sqrt(rate * (1 - rate) / draws)
    assert ((counts / draws - rate).abs() < 5 * deviation).all()
    # Independent draws: the batch size is binomial, not constant.
    assert np.var(sizes) == pytest.approx(n * rate * (1 - rate), rel=0.1)
    assert len(poisson_rows(n, 1.0, generator)) == n


def blobs(n, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.normal(110 + 40 * labels[:, None, None], 40, (n, 12, 12)).clip(0, 255).astype(np.uint8)
    return images, labels


def fit(model, **options):
    images, labels = blobs(48)
    given = {"epochs": 4, "batch": 12, "learning_rate": 0.01, "epsilon": 8.0, "delta": 1e-3, "label_smoothing": 0.1}
    given |= {"images": images, "labels": labels, "validation": blobs(30, seed=1), "seed": 3, "device": CPU}
    return train_private(model, **(given | options))


def test_without_noise_clipping_and_sampling_it_is_plain_adamw():
    ours, plain = small_cnn(), small_cnn()
    options = {"epochs": 6, "batch": 48, "augment": "none", "select": "last", "weight_decay": 0.1}
    history = fit(ours, epsilon=math.inf, max_grad_norm=1e6, **options)
    assert (history.sample_rate, history.noise_multiplier, history.drawn) == (1.0, 0.0, [48] * 6)
    assert history.epsilon == [math.inf] * 6
    examples = DeviceDataset(*blobs(48), device=CPU)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(6):
        optimiser.zero_grad()
        F.cross_entropy(plain(examples.inputs(slice(None))), examples.labels, label_smoothing=0.1).backward()
        optimiser.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=1e-5, atol=1e-5)


def test_the_history_is_that_of_the_mechanism():
    history = fit(small_cnn())
    assert (history.sample_rate, history.steps, history.delta) == (1 / 4, 16, 1e-3)
    assert 0.99 * 8 <= history.epsilon[-1] <= 8
    assert history.epsilon == sorted(history.epsilon)
    theirs = RDPAccountant()
    for epoch, epsilon in enumerate(history.epsilon):
        theirs.history = [(history.noise_multiplier, 1 / 4, 4 * (epoch + 1))]
        assert epsilon == pytest.approx(theirs.get_epsilon(delta=1e-3), rel=1e-9)
    assert history.eligible == [in_window(epsilon, 8.0) for epsilon in history.epsilon]
    assert history.eligible[history.selected - 1]
    eligible = [i for i, inside in enumerate(history.eligible) if inside]
    best = max(eligible, key=lambda i: (history.validation_auprc[i], -history.validation_loss[i], -i))
    assert history.selected == best + 1


@pytest.mark.parametrize(("spent", "inside"), [(6.0, False), (6.01, True), (8.0, True), (8.39, True), (8.4, False)])
def test_the_epsilon_window(spent, inside):
    assert in_window(spent, 8.0) is inside


def test_a_window_that_no_epoch_reaches_is_an_error(monkeypatch):
    monkeypatch.setattr(private, "WINDOW", (2.0, 3.0))
    with pytest.raises(ValueError, match="No epoch ends with an ε"):
        fit(small_cnn(), epochs=1)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    first, second, third = small_cnn(), small_cnn(), small_cnn()
    assert fit(first) == fit(second)
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)
    fit(third, seed=4)
    assert not torch.equal(weights(first), weights(third))


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "_SAVE_SECONDS", 0.0)
    whole = small_cnn()
    expected = fit(whole, epochs=5)
    options = {"epochs": 5, "checkpoint": tmp_path}
    interrupt(partial(fit, small_cnn(), **options), 4)
    resumed, fetched = small_cnn(), small_cnn()
    history, done = resume(partial(fit, resumed, **options))
    assert (history, done) == (expected, [4, 5])
    curve = read_curve(tmp_path)
    assert curve.steps.tolist() == [1, 2, 3, 4, 5]
    assert np.array_equal(curve.values[:, :2], np.float32([expected.loss, expected.epsilon]).T)
    assert fit(fetched, progress=never, **options) == expected
    for again in (resumed, fetched):
        assert_equal(again.state_dict(), whole.state_dict())


def test_a_frozen_backbone_trains_the_head_on_cached_features():
    model = small_cnn()
    model.layers.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, engine="layers")
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("head."))
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_public_images_add_their_plain_gradient_and_leave_the_mechanism_alone():
    alone, mixed = fit(small_cnn()), fit(small_cnn(), public=blobs(96, seed=5))
    assert mixed.epsilon == alone.epsilon
    assert (mixed.noise_multiplier, mixed.sample_rate) == (alone.noise_multiplier, alone.sample_rate)
    assert mixed.drawn == alone.drawn
    # One step by hand: (1 - w) noisy private mean + w public mean.
    flat = FlatParameters(small_cnn())
    step = mechanism(flat, sigma=1.0, clip=0.5, size=4, learning_rate=0.0)
    images, free = DeviceDataset(*blobs(4), device=CPU), DeviceDataset(*blobs(6, seed=5), device=CPU, name="public")
    step.noise.manual_seed(0)
    step._clip_and_noise(images.inputs(slice(None)), images.labels)
    private_part = flat.vector.grad.clone()
    loss = smoothed(flat.model(free.inputs(slice(None))), free.labels).mean()
    public_part = flat.flatten(list(torch.autograd.grad(loss, flat.parameters)))
    step._mix(free, 0.6, 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(flat.vector.grad, 0.4 * private_part + 0.6 * public_part, rtol=1e-4, atol=1e-6)


def test_noise_prevents_memorising_what_plain_training_memorises():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 12, 12), dtype=np.uint8), np.arange(40) % 2  # nothing to learn
    same = {"images": images, "labels": labels, "validation": (images, labels), "augment": "none", "batch": 20}
    same |= {"learning_rate": 0.01, "epochs": 40, "select": "last"}
    recalled = fit(small_cnn(), epsilon=math.inf, max_grad_norm=100.0, **same).validation_auprc[-1]
    private_ = fit(small_cnn(), epsilon=0.3, **same).validation_auprc[-1]
    assert recalled > 0.95
    assert private_ < 0.8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_grad_norm": math.inf}, "max_grad_norm is inf"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"delta": 2.0}, "delta is 2.0"),
        ({"accountant": "gdp"}, "unknown accountant 'gdp'"),
        ({"engine": "hooks"}, "unknown engine 'hooks'"),
        ({"public_weight": 1.5, "public": blobs(4)}, "public_weight is 1.5"),
        ({"public": (np.zeros((2, 12, 12)), [0, 1, 1])}, "public labels"),
        ({"images": np.full((48, 12, 12), np.nan)}, "training images hold NaN"),
        ({"labels": np.zeros(48, int)}, r"No training image is of class \[1\]"),
        ({"validation": (blobs(6)[0], np.ones(6, int))}, r"validation labels hold only \[1\]"),
        ({"learning_rate": 1e30}, "diverged in epoch"),
    ],
)
def test_bad_input_is_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(small_cnn(), **change)


def test_the_noise_comes_from_the_budget(monkeypatch):
    history = fit(small_cnn(), epochs=2, epsilon=2.0)
    asked = {"epsilon": 2.0, "delta": 1e-3, "sample_rate": 1 / 4, "steps": 8}
    assert history.noise_multiplier == accounting.noise_multiplier(**asked)
