"""StyleGAN2 training: the average, the control of augmentation, classes obeyed."""

import copy

import numpy as np
import pytest
import torch

from lib.core import seeding
from lib.training.gan.losses import squared_gradients
from lib.training.gan.stylegan2 import StyleGAN2Trainer, class_means, train_stylegan2
from lib.training.loop.checkpoint import Checkpoint
from tests.training.runs import silent

TINY = {"steps": 6, "batch": 4, "latent": 8, "maps": (8, 64), "seed": 3}


def _two_classes(n=64, size=8, means=(70, 180)):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    grey = np.array(means)[labels][:, None, None]
    return (grey + rng.normal(0, 10, (n, 1, 1)) + rng.integers(0, 5, (n, size, size))).astype(np.uint8), labels


def _trainer(tmp_path, **options):
    images, labels = _two_classes()
    train_stylegan2(images, labels, path=tmp_path / "resolved", progress=silent, **(TINY | {"steps": 1} | options))
    saved = Checkpoint(tmp_path / "resolved", None)
    saved.load()
    data = torch.from_numpy(images)[:, None], torch.from_numpy(labels)
    return StyleGAN2Trainer(*data, saved.settings, torch.device("cpu"))


@pytest.mark.slow
def test_classes_are_obeyed(tmp_path):
    """Medians of three seeds; trained on the opposite labels, the same seeds draw the opposite."""
    images, labels = _two_classes()
    for classes, expected in ((labels, [70, 180]), (1 - labels, [180, 70])):
        means = []
        for seed in range(3):
            generator = train_stylegan2(
                images, classes, path=tmp_path, seed=seed, steps=150, batch=8, latent=16, maps=(16, 128),
                ada_target=None, path_weight=0, gamma=0.1, progress=silent,
            )  # fmt: skip
            drawn = generator.sample(80, labels=np.repeat([0, 1], 40), seed=1)
            assert drawn.shape == (80, 8, 8)
            means.append(drawn.reshape(2, -1).mean(axis=1))
        np.testing.assert_allclose(np.median(means, axis=0), expected, atol=25)


def test_without_deviation_from_the_mean_latent_every_image_of_a_class_is_one(tmp_path):
    images, labels = _two_classes()
    generator = train_stylegan2(images, labels, path=tmp_path, progress=silent, **TINY)
    centres, spread = class_means(generator.generator)
    assert centres.shape == (2, 8)
    assert spread > 0
    collapsed = generator.sample(3, labels=[0, 0, 1], seed=1, truncation=0.0)
    assert np.array_equal(collapsed[0], collapsed[1])
    assert not np.array_equal(collapsed[0], collapsed[2])


def test_losses_are_those_of_the_specification(tmp_path):
    trainer = _trainer(tmp_path, mixing=0.0)
    critic, before = trainer.discriminator, {}
    critic.register_forward_hook(lambda module, args, output: before.update(args=args, logits=output.detach()))
    loss = trainer.generator_step()
    assert float(loss) == pytest.approx(float(torch.log1p(torch.exp(-before["logits"])).mean()), rel=1e-5)
    assert all(p.grad is None and p.requires_grad for p in critic.parameters())
    real, labels = trainer.batch(0)
    loss = trainer.discriminator_step(real, labels)
    on_real, on_fake = before["logits"].split(4)
    assert torch.equal(before["args"][0][:4], real)
    expected = torch.log1p(torch.exp(-on_real)).mean() + torch.log1p(torch.exp(on_fake)).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    expected = squared_gradients(lambda x: critic(x, labels), real).detach().mean() * 2e-4 * 64 / 4 / 2 * 16
    assert float(trainer.r1_step(real, labels)) == pytest.approx(float(expected), rel=1e-5)


def test_lazy_updates_and_rates(tmp_path):
    trainer = _trainer(tmp_path)
    for step in range(17):
        trainer.step(step)
    steps = {name: int(o.state_dict()["state"][0]["step"]) for name, o in trainer.optimisers.items()}
    assert steps == {"generator": 17 + 5, "discriminator": 17 + 2}
    group = trainer.optimisers["generator"].param_groups[0]
    assert group["lr"] == pytest.approx(2.5e-3 * 4 / 5)
    assert group["betas"] == pytest.approx((0.0, 0.99**0.8))


@pytest.mark.parametrize("update", ["generator_step", "path_length_step", "discriminator_step", "r1_step"])
def test_bf16_gradients_are_those_of_float32_to_its_precision(update, tmp_path, monkeypatch):
    """Of each update, on hardware that has bf16 or emulates it; weights and their gradients stay float32."""
    monkeypatch.setattr(seeding, "has_bf16", lambda device: True)
    exact = _trainer(tmp_path, latent=16, maps=(32, 256), batch=8)
    rough = copy.deepcopy(exact)
    rough.settings = exact.settings | {"precision": "bf16"}
    found = []
    for trainer in (exact, rough):
        trainer.random.manual_seed(0)
        of_critic = update in ("discriminator_step", "r1_step")
        loss = getattr(trainer, update)(*trainer.batch(0)) if of_critic else getattr(trainer, update)()
        name = "discriminator" if of_critic else "generator"
        of = [p for p in trainer.networks[name].parameters() if p.grad is not None]
        assert {p.grad.dtype for p in of} == {p.dtype for p in of} == {loss.dtype} == {torch.float32}
        found.append((loss, torch.cat([p.grad.flatten() for p in of])))
    (loss, gradient), (rough_loss, rough_gradient) = found
    assert not torch.equal(loss, rough_loss)
    torch.testing.assert_close(rough_loss, loss, rtol=0.02, atol=0)
    torch.testing.assert_close(rough_gradient.norm(), gradient.norm(), rtol=0.03, atol=0)
    assert torch.cosine_similarity(gradient, rough_gradient, dim=0) > 0.99


def test_average_has_the_half_life_asked_for(tmp_path):
    trainer = _trainer(tmp_path, ema_kimg=0.02)
    start = trainer.networks["average"].constant.clone()
    trainer.generator.constant.data.fill_(9.0)
    for _ in range(5):  # five steps of four images: 20, once the ramp is over
        trainer.update_ema(trainer.ema_share(10_000))
    torch.testing.assert_close(trainer.networks["average"].constant, (start + 9) / 2)


def test_augmentation_follows_how_often_the_discriminator_is_right(tmp_path):
    trainer = _trainer(tmp_path, augment_p=0.2, ada_kimg=1.0)
    moves = []
    for sign in (1.0, -1.0):
        trainer.values["running.signs"].fill_(4 * sign)
        before = float(trainer.values["running.p"])
        trainer.update_ada(2)
        assert float(trainer.values["running.p"]) == before
        trainer.update_ada(3)
        moves.append(float(trainer.values["running.p"]) - before)
    np.testing.assert_allclose(moves, [0.016, -0.016], atol=1e-6)


def test_every_image_is_seen_once_a_pass(tmp_path):
    images, labels = _two_classes(10)
    images[:, 0, 0] = np.arange(10)
    train_stylegan2(images, labels, path=tmp_path, progress=silent, **(TINY | {"steps": 1}))
    saved = Checkpoint(tmp_path, None)
    saved.load()
    data = torch.from_numpy(images)[:, None], torch.from_numpy(labels)
    batches = [StyleGAN2Trainer(*data, saved.settings, torch.device("cpu")).batch(step) for step in range(5)]
    seen = torch.cat([((x[:, 0, 0, 0] + 1) * 127.5).round().long() for x, _ in batches])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert torch.cat([y for _, y in batches]).tolist() == labels[seen].tolist()


@pytest.mark.parametrize(("change", "message"), [
    ({"images": np.zeros((4, 8, 16), np.uint8)}, "8 x 16: give squares"),
    ({"images": np.zeros((4, 8, 8), np.float32)}, "give uint8"),
    ({"labels": np.array([0, 2, 2, 0])}, r"classes \[0, 2\]"),
    ({"batch": 6}, "multiple of 4"),
    ({"augment_p": 0.9}, "probability from 0 to 0.8"),
])  # fmt: skip
def test_bad_input(tmp_path, change, message):
    options = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.array([0, 1, 1, 0])} | TINY | change
    with pytest.raises(ValueError, match=message):
        train_stylegan2(**options, path=tmp_path, progress=silent)


def test_one_class_trains_unconditionally(tmp_path):
    images, _ = _two_classes(8)
    generator = train_stylegan2(images, np.zeros(8, int), path=tmp_path, progress=silent, **(TINY | {"steps": 2}))
    assert generator.sample(2, seed=0).shape == (2, 8, 8)
