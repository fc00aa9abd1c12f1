"""DCGAN training: it learns, and refuses bad input."""

import copy
import json

import numpy as np
import pytest
import torch

from lib.models.gan.dcgan import Generator
from lib.training.gan.dcgan import DCGAN, DCGANTrainer, train_dcgan
from tests.training.runs import assert_equal, silent, tensors

TINY = {"steps": 8, "batch": 4, "width": 4, "learning_rate": 1e-3, "seed": 3}


def _two_classes(n=160, dark=60, bright=190):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    means = np.where(labels == 1, bright, dark)[:, None, None]
    return np.clip(means + rng.normal(0, 12, (n, 16, 16)), 0, 255).astype(np.uint8), labels


@pytest.mark.slow
def test_learns_the_brightness_of_each_class(tmp_path):
    """Medians of three seeds; trained on the opposite labels, the same seeds draw the opposite."""
    images, labels = _two_classes()
    medians = []
    for classes in (labels, 1 - labels):
        means = []
        for seed in range(3):
            generator = train_dcgan(
                images, classes, path=tmp_path, seed=seed, steps=500, batch=8, width=8, learning_rate=1e-3,
                progress=silent,
            )  # fmt: skip
            drawn = generator.sample(128, labels=np.repeat([0, 1], 64), seed=1)
            assert drawn.shape == (128, 16, 16)
            assert drawn.dtype == np.uint8
            means.append(drawn.reshape(2, -1).mean(axis=1))
        medians.append(np.median(means, axis=0))
    (dark, bright), (opposite_bright, opposite_dark) = medians
    assert max(dark, opposite_dark) < 125 < min(bright, opposite_bright)  # halfway between the classes
    assert min(bright - dark, opposite_bright - opposite_dark) > 50  # every seed tried had 66 or more


def test_generator_turn_is_every_step_or_as_published_every_second(tmp_path):
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    for as_published, expected in ((False, [True] * 4), (True, [False, True, False, True])):
        trainer = _trainer(images, labels, resolved | {"as_published": as_published})
        changed = []
        for step in range(4):
            before = trainer.tensors()["generator.layers.0.weight"].clone()
            trainer.step(step)
            changed.append(not torch.equal(before, trainer.tensors()["generator.layers.0.weight"]))
        assert changed == expected


def test_one_pass_over_real_and_fake_equals_two(tmp_path):
    """Instance statistics do not mix images, so the joined pass is the textbook objective."""
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    trainer = _trainer(images, labels, resolved)
    a, b = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    classes = torch.tensor([0, 1, 1])
    joined = trainer._logits(a, classes, b, classes.flip(0))
    apart = trainer.discriminator(a, classes), trainer.discriminator(b, classes.flip(0))
    torch.testing.assert_close(torch.stack(joined), torch.stack(apart), rtol=1e-4, atol=1e-6)


def test_bf16_is_the_same_training_to_its_precision(tmp_path, monkeypatch):
    """Emulated where the hardware lacks it; channels last must survive saving and restoring as well."""
    images, labels = _two_classes(8)
    _, resolved = _settings(tmp_path, images, labels)
    exact = _trainer(images, labels, resolved)
    monkeypatch.setattr("lib.core.seeding.has_bf16", lambda device: True)
    rough, other = (_trainer(images, labels, resolved | {"precision": "bf16"}) for _ in range(2))
    for loss, approximate in zip(exact.step(0).values(), rough.step(0).values(), strict=True):
        torch.testing.assert_close(approximate, loss, rtol=0.05, atol=0)
    other.restore(rough.tensors(), copy.deepcopy(rough.state()))
    for trainer in (rough, other):
        trainer.step(1)
        assert trainer.discriminator.layers[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert_equal(rough.tensors(), other.tensors())


def test_average_without_memory_is_the_generator(tmp_path):
    images, labels = _two_classes(8)
    generator = train_dcgan(images, labels, path=tmp_path, progress=silent, ema=0.0, **TINY)
    kept = tensors(tmp_path)
    for key, value in generator.generator.state_dict().items():
        assert torch.equal(value, kept["generator." + key])
    train_dcgan(images, labels, path=tmp_path / "slow", progress=silent, ema=0.99, **TINY)
    slow = tensors(tmp_path / "slow")
    assert torch.equal(slow["generator.layers.0.weight"], kept["generator.layers.0.weight"])
    assert not torch.equal(slow["average.layers.0.weight"], slow["generator.layers.0.weight"])


def _settings(tmp_path, images, labels):
    train_dcgan(images, labels, path=tmp_path, progress=silent, **TINY)
    record = json.loads((tmp_path / "checkpoint.json").read_text())
    return record, record["settings"]


def _trainer(images, labels, settings):
    pixels, classes = torch.from_numpy(images[:, None]), torch.from_numpy(labels)
    return DCGANTrainer(pixels, classes, settings, torch.device("cpu"))


def test_samples_are_clipped():
    network = Generator(16, width=4)
    with torch.no_grad():
        network.layers[-2].weight.mul_(1e4)  # saturate the tanh: -1 must become 0, not wrap around
    drawn = DCGAN(network, {}).sample(10, labels=np.arange(10) % 2, seed=0)
    assert np.isin(drawn, [0, 255]).mean() > 0.9


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda x, y: (np.where(x > 0, np.nan, 0.0), y), "NaN or infinite pixels"),
        (lambda x, y: (x / 255, y), "are torch.float32: give uint8"),
        (lambda x, y: (x[:, :12], y), "12 x 16: give squares"),
        (lambda x, y: (x[:, :12, :12], y), "12 is not one of 16, 32"),
        (lambda x, y: (x[:3], y[:3]), "batch is 4 of 3 training images"),
        (lambda x, y: (x, np.zeros(8, int)), "each of 0..1 must occur"),
        (lambda x, y: (x, y[:5]), "give 8 integers"),
    ],
)
def test_bad_data_is_refused_in_a_sentence(tmp_path, spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_dcgan(*spoil(*_two_classes(8)), path=tmp_path / "none", progress=silent, **TINY)
    assert not (tmp_path / "none").exists()
