"""Progressive training: losses and schedule by hand, obeyed labels, bad input."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib import generators
from lib.core import seeding
from lib.models.gan.progan import halved
from lib.training.gan import registry
from lib.training.gan.losses import label_loss
from lib.training.gan.progan import (
    ProGANTrainer,
    discriminator_loss,
    generator_loss,
    growth,
    schedule,
    train_progan,
)
from lib.training.loop import store
from lib.training.loop.checkpoint import Checkpoint
from tests.training.runs import silent

# 8 steps at 4 px, 20 at 8 px of which some still fade in
TINY = {
    "seed": 3, "batch": 4, "latent": 6, "maps": (6, 24), "total_kimg": 0.112, "level_kimg": 0.02, "fade_kimg": 0.06,
    "ema": 0.9,
}  # fmt: skip


def _halves(n=256, size=8):
    """Label 0: the left half is brighter by 100; label 1: the last rows are darker by 50."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (n, 2))
    radiographs = rng.normal(70, 8, (n, size, size)) + rng.normal(0, 10, (n, 1, 1))
    radiographs[:, :, : size // 2] += 100 * labels[:, :1, None]
    radiographs[:, -2:] -= 50 * labels[:, 1:, None]
    return radiographs.clip(0, 255).astype(np.uint8), labels


def _trainer(folder, images, labels, **options):
    train_progan(images, labels, path=folder, progress=silent, **(TINY | options))
    stored = Checkpoint(folder, None)
    stored.load()
    values = torch.from_numpy(images)[:, None]
    return ProGANTrainer(values, torch.from_numpy(labels).float(), stored.settings, torch.device("cpu"))


def test_every_level_is_kept_as_it_was_when_it_was_the_whole(tmp_path):
    radiographs, labels = _halves()
    options = {"level_kimg": 0.012, "fade_kimg": 0.008, "total_kimg": 0.052}  # 4 px for 3 steps, then 8 px
    grown = train_progan(radiographs, labels, path=tmp_path / "whole", progress=silent, **(TINY | options))
    trainer = ProGANTrainer(
        torch.from_numpy(radiographs)[:, None], torch.from_numpy(labels).float(), grown.settings, torch.device("cpu")
    )
    stages = schedule(grown.settings)
    for step in range(stages[1].step):
        trainer.step(step)
    then = trainer.networks["average"]
    kept = generators.load(tmp_path / "whole", size=4)
    noise, asked = torch.randn(3, 6), torch.rand(3, 2)
    with torch.no_grad():
        torch.testing.assert_close(kept.generator(noise, asked), then(noise, asked, size=4))
    assert kept.sample(2, labels=labels[:2], seed=0).shape == (2, 4, 4)
    last = generators.load(tmp_path / "whole", size=8)
    np.testing.assert_array_equal(last.sample(2, labels=labels[:2], seed=0), grown.sample(2, labels=labels[:2], seed=0))
    for size in (2, 16):
        with pytest.raises(ValueError, match=f"no generator of {size} px: it grew from 4 to 8 px"):
            generators.load(tmp_path / "whole", size=size)


def test_a_rehearsal_keeps_the_levels_that_it_skips(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_REHEARSAL", "1")  # the last step alone
    radiographs, labels = _halves()
    options = {"level_kimg": 0.012, "fade_kimg": 0.008, "total_kimg": 0.052}
    train_progan(radiographs, labels, path=tmp_path, progress=silent, **(TINY | options))
    assert generators.load(tmp_path, size=4).sample(2, labels=labels[:2], seed=0).shape == (2, 4, 4)


def test_the_levels_are_stored_with_the_generator(tmp_path, monkeypatch):
    radiographs, labels = _halves()
    monkeypatch.setattr(store, "STORE", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    options = TINY | {"level_kimg": 0.012, "fade_kimg": 0.008, "total_kimg": 0.052}
    seed = options.pop("seed")
    generators.train("progan", radiographs, labels, path=tmp_path / "whole", seed=seed, progress=silent, **options)
    registry.keep(tmp_path / "whole", "halves", about="halves of squares")
    parts = {key.split(".")[0] for key in Checkpoint(tmp_path / "weights/halves", None).load()[0]}
    assert parts == {"average", "level-4"}
    sides = [
        generators.load(tmp_path / of, size=4).sample(2, labels=labels[:2], seed=0)
        for of in ("whole", "weights/halves")
    ]
    assert np.abs(sides[0].astype(int) - sides[1]).max() <= 2  # float16


@pytest.mark.slow
def test_the_generator_obeys_labels_and_fractions_of_them(tmp_path):
    radiographs, labels = _halves()
    generator = train_progan(
        radiographs, labels, path=tmp_path, seed=0, total_kimg=4.8, level_kimg=0.8, fade_kimg=0.8, learning_rate=4e-3,
        latent=8, maps=(16, 64), normalise="latent", ema=0.95, progress=silent,
    )  # fmt: skip
    asked = {"none": (0, 0), "left": (1, 0), "dark": (0, 1), "both": (1, 1), "half": (0.5, 0.5)}
    drawn = {key: generator.sample(48, labels=np.tile(y, (48, 1)), seed=1).astype(float) for key, y in asked.items()}
    left = {key: (x[:, :6, :4] - x[:, :6, 4:]).mean() for key, x in drawn.items()}
    dark = {key: x[:, :6].mean() - x[:, 6:].mean() for key, x in drawn.items()}
    for key, (a, b) in asked.items():
        assert left[key] == pytest.approx(100 * a, abs=25), key
        assert dark[key] == pytest.approx(50 * b, abs=20), key
        assert drawn[key].std(axis=0).mean() > 5, key  # real ones: 13


def test_discriminator_loss_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.5, -2.5])
    real_logits, fake_logits = torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), torch.tensor([[9.0, -9.0], [5.0, 7.0]])
    labels, norms = torch.tensor([[1.0, 0.0], [0.0, 0.5]]), torch.tensor([1.5, 3.0])

    def bce(logits):
        p = 1 / (1 + np.exp(-logits.double().numpy()))
        y = labels.numpy()
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(1).mean()

    wasserstein, penalty, drift = -1.0 - 2.0, 10 * (0.25 + 4) / 2, 0.001 * (1 + 9) / 2
    arguments = {"real": (real, real_logits), "fake": (fake, fake_logits), "labels": labels, "norms": norms}
    published = wasserstein + penalty + drift + bce(real_logits)
    assert float(discriminator_loss(**arguments)) == pytest.approx(published, rel=1e-6)
    arguments["fake"] = (fake, torch.full((2, 2), math.nan))
    assert float(discriminator_loss(**arguments)) == pytest.approx(published, rel=1e-6)  # label weight on fakes: 0
    arguments["fake"] = (fake, fake_logits)
    both = discriminator_loss(**arguments, label_weight=0.5, fake_label_weight=2.0)
    assert float(both) == pytest.approx(wasserstein + penalty + drift + bce(real_logits) / 2 + 2 * bce(fake_logits))
    generator = generator_loss(fake=(fake, fake_logits), labels=labels, label_weight=3.0)
    assert float(generator) == pytest.approx(1.0 + 3 * bce(fake_logits))
    assert float(label_loss(torch.zeros(5, 14), torch.ones(5, 14))) == pytest.approx(14 * math.log(2))


def test_growth_is_the_published_one():
    def at(kimg):
        return growth(round(1000 * kimg), image_size=256, level_images=600_000, fade_images=600_000)

    assert [at(0), at(600), at(900), at(1200), at(1800)] == [(4, 1), (4, 1), (8, 0.5), (8, 1), (8, 1)]
    assert at(6900) == (256, 0.5)
    assert at(7199.999)[1] < 1
    assert at(7200) == at(12_000) == (256, 1)
    assert growth(100, image_size=8, level_images=100, fade_images=0) == (8, 1)


def test_schedule_counts_radiographs_by_level():
    settings = {"image_size": 16, "total_images": 1000, "level_images": 100, "fade_images": 100, "batch": [16, 8, 4]}
    stages = schedule(settings)
    assert [stage.size for stage in stages] == [4, 8, 16, 16]
    assert stages[:2] == [(0, 0, 4), (8, 128, 8)]
    assert stages[1].shown > 100 >= stages[1].shown - 64  # 8 px begins at the first look after 4 px had its radiographs
    assert stages[2].shown > 300 >= stages[2].shown - 32
    for here, after, batch in zip(stages, stages[1:], settings["batch"], strict=False):
        assert after.shown - here.shown == batch * (after.step - here.step)
    assert stages[-1].shown >= 1000
    with pytest.raises(ValueError, match="ends before 16 px are faded in"):
        schedule(settings | {"total_images": 350})


def test_a_step_is_the_arithmetic_of_the_specification(tmp_path):
    """The two losses of one step against the formulas, from what the networks were given and gave."""
    radiographs, labels = _halves(9)
    trainer = _trainer(tmp_path, radiographs, labels, batch=8, total_kimg=0.3)
    last = trainer.stages[-1].step - 1
    seen = []
    for network in (trainer.generator, trainer.discriminator):
        network.register_forward_hook(lambda module, args, output: seen.append((args, output)))
    critic = ProGANTrainer(
        trainer.images, trainer.labels, trainer.settings, torch.device("cpu")
    ).discriminator  # the same first weights
    losses = trainer.step(last)
    (_, asked), fake = seen[0]
    (both,), (scores, guesses) = seen[1]
    torch.testing.assert_close(both[8:], fake)
    (mixed,), _ = seen[2]
    known = radiographs[:, None] / 127.5 - 1
    rows = np.abs(both[:8, None].numpy() - known).max(axis=(2, 3, 4)).argmin(axis=1)
    np.testing.assert_allclose(both[:8], known[rows], atol=1e-6)
    assert torch.equal(asked, torch.from_numpy(labels[rows]).float())  # fakes carry the labels of the real ones
    share = (mixed.detach() - both[:8]) / (both[8:] - both[:8])
    torch.testing.assert_close(share, share[:, :1, :1, :1].expand_as(share), rtol=0.02, atol=0.02)
    points = mixed.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points)[0].sum(), points)
    penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    bce = F.binary_cross_entropy_with_logits(guesses[:8], asked, reduction="none").sum(1).mean()
    expected = scores[8:].mean() - scores[:8].mean() + 10 * penalty + 1e-3 * scores[:8].square().mean() + bce
    torch.testing.assert_close(losses["loss_d"], expected.detach(), rtol=1e-4, atol=1e-5)
    (noise, asked), _ = seen[3]
    _, (scores, guesses) = seen[4]
    bce = F.binary_cross_entropy_with_logits(guesses, asked, reduction="none").sum(1).mean()
    torch.testing.assert_close(losses["loss_g"], (bce - scores.mean()).detach(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(noise, seen[0][0][0])  # fresh noise for the generator
    assert len(seen) == 5


def test_average_follows_and_optimisers_forget_at_each_level(tmp_path):
    radiographs, labels = _halves(9)
    trainer = _trainer(tmp_path, radiographs, labels)
    before = trainer.networks["average"].state_dict()["first.weight"].clone()
    trainer.step(0)
    weight = trainer.generator.state_dict()["first.weight"]
    torch.testing.assert_close(trainer.networks["average"].state_dict()["first.weight"], 0.9 * before + 0.1 * weight)
    trainer.step(1)

    def updates(name):
        return {int(state["step"]) for state in trainer.optimisers[name].state_dict()["state"].values()}

    assert updates("generator") == updates("discriminator") == {2}
    trainer.step(trainer.stages[1].step)
    assert updates("generator") == updates("discriminator") == {1}
    kept = Checkpoint(tmp_path, None)
    kept.load()
    assert kept.settings["learning_rate"] == [1e-3, 1e-3]


def test_real_radiographs_are_averaged_rounded_and_faded(tmp_path):
    radiographs, labels = _halves(9, size=16)
    trainer = _trainer(tmp_path, radiographs, labels, total_kimg=0.3)
    trainer.size = 8
    whole = radiographs.reshape(9, 8, 2, 8, 2).mean(axis=(2, 4)).round() / 127.5 - 1
    rows = torch.arange(9)
    np.testing.assert_allclose(trainer.real_images(rows, 1.0)[:, 0], whole, atol=1e-6)
    coarse = halved(torch.from_numpy(whole)[:, None]).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, 0]
    faded = 0.25 * whole + 0.75 * coarse.numpy()
    np.testing.assert_allclose(trainer.real_images(rows, 0.25)[:, 0], faded, atol=1e-6)
    seen = torch.cat([trainer.rows(shown, 4, of=9) for shown in range(0, 36, 4)])
    assert [sorted(part.tolist()) for part in seen.split(9)] == [list(range(9))] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((9, 8, 9), np.uint8)}, "8 x 9: give squares of one of 4, 8, 16"),
        ({"images": np.zeros((9, 12, 12), np.uint8)}, "12 x 12: give squares of one of 4, 8, 16"),
        ({"images": np.zeros((9, 8, 8), np.float32)}, "float32: give uint8"),
        ({"labels": np.zeros((9, 2, 2))}, r"labels have shape \(9, 2, 2\): give \(9, k\)"),
        ({"labels": np.full((9, 2), 3)}, r"numbers in \[0, 1\]"),
        ({"labels": np.eye(9)[:, :2] * math.nan}, r"numbers in \[0, 1\]"),
        ({"labels": np.eye(9)[:, [0, 1]] * [1, 0]}, r"Labels \[1\] are the same for every image"),
        ({"batch": 6}, "batch is 6: give multiples of 4"),
        ({"batch": [4]}, "one for each of 2 levels"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: give one positive number"),
        ({"total_kimg": 0.05}, "raise total_kimg"),
        ({"precision": "fp16"}, "unknown precision"),
        ({"learning_rate": 1e30}, "diverged"),
    ],
)
def test_bad_input(tmp_path, change, message):
    radiographs, labels = _halves(9)
    arguments = TINY | {"images": radiographs, "labels": labels} | change
    with pytest.raises(ValueError, match=message):
        train_progan(path=tmp_path, progress=silent, **arguments)


def test_few_radiographs_and_fractional_labels_train(tmp_path):
    """Fewer radiographs than a batch: passes over them follow one another."""
    radiographs, _ = _halves(3)
    generator = train_progan(radiographs, [[0.0], [0.5], [1.0]], path=tmp_path, progress=silent, **TINY)
    assert generator.sample(1, labels=[0.5], seed=1).shape == (1, 8, 8)


@pytest.mark.parametrize("emulated", [False, True])
def test_bf16_trains_close_to_float32(tmp_path, monkeypatch, emulated):
    radiographs, labels = _halves(9)
    losses = {"float32": [], "bf16": []}
    if emulated:  # the arithmetic of hardware that has it
        monkeypatch.setattr(seeding, "has_bf16", lambda device: True)
    for precision, seen in losses.items():
        train_progan(
            radiographs, labels, path=tmp_path / precision, precision=precision,
            progress=lambda done, seen=seen, **values: seen.append(list(map(float, values.values()))), **TINY,
        )  # fmt: skip
    assert (losses["bf16"] == losses["float32"]) != (emulated or seeding.has_bf16(torch.device("cpu")))
    np.testing.assert_allclose(losses["bf16"], losses["float32"], rtol=0.2, atol=0.2)
