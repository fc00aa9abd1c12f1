"""StyleGAN2 training: regularisers in closed form, the average, augmentation, classes obeyed."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.training.augment.ada import augmented
from lib.training.gan.losses import path_lengths, squared_gradients
from lib.training.gan.stylegan2 import StyleGAN2Trainer, class_means, train_stylegan2
from lib.training.loop.checkpoint import Checkpoint

TINY = {"steps": 6, "batch": 4, "latent": 8, "maps": (8, 64), "seed": 3}


def _silent(done, **losses):
    pass


def _two_classes(n=64, size=8, means=(70, 180)):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    grey = np.array(means)[labels][:, None, None]
    return (grey + rng.normal(0, 10, (n, 1, 1)) + rng.integers(0, 5, (n, size, size))).astype(np.uint8), labels


def _trainer(tmp_path, **options):
    images, labels = _two_classes()
    train_stylegan2(images, labels, path=tmp_path / "resolved", progress=_silent, **(TINY | {"steps": 1} | options))
    saved = Checkpoint(tmp_path / "resolved", None)
    saved.load()
    data = torch.from_numpy(images)[:, None], torch.from_numpy(labels)
    return StyleGAN2Trainer(*data, saved.settings, torch.device("cpu"))


def test_classes_are_obeyed(tmp_path):
    images, labels = _two_classes()
    generator = train_stylegan2(
        images, labels, path=tmp_path, seed=0, steps=250, batch=8, latent=16, maps=(16, 128), ada_target=None,
        path_weight=0, gamma=0.1, progress=_silent,
    )  # fmt: skip
    drawn = generator.sample(80, labels=np.repeat([0, 1], 40), seed=1)
    assert drawn.shape == (80, 8, 8)
    means = drawn.reshape(2, 40, -1).mean(axis=2)
    np.testing.assert_allclose(means.mean(axis=1), [70, 180], atol=25)
    assert means[0].max() < 125 < means[1].min()
    centres, spread = class_means(generator.generator)
    collapsed = generator.sample(3, labels=[0, 0, 1], seed=1, truncation=0.0)
    assert np.array_equal(collapsed[0], collapsed[1])
    assert centres.shape == (2, 16)
    assert spread > 0


def test_gradient_penalty_of_a_linear_critic_is_the_square_of_its_weights():
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    squares = squared_gradients(lambda x: (x * weight).sum(dim=(1, 2, 3)) + 5, torch.randn(4, 3, 8, 8))
    torch.testing.assert_close(squares, weight.square().sum().expand(4))
    (slope,) = torch.autograd.grad(squares.mean(), weight)
    torch.testing.assert_close(slope, 2 * weight)


def test_path_length_of_a_linear_generator():
    """G(w) = A w: the length is ‖Aᵀy‖, and the penalty's gradient 2 (ℓ - a) y (Aᵀy)ᵀ / ℓ."""
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(64, 5, generator=random, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 5, generator=random, dtype=torch.float64)
    lengths = path_lengths(lambda w: (w @ matrix.T).view(-1, 1, 8, 8), w, torch.Generator().manual_seed(7))
    y = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(7)).double().view(3, 64) / 8
    expected = torch.linalg.vector_norm(y @ matrix.detach(), dim=1)
    torch.testing.assert_close(lengths, expected)
    (slope,) = torch.autograd.grad((lengths - 2).square().mean(), matrix)
    each = 2 * (expected - 2) / expected / 3
    torch.testing.assert_close(slope, torch.einsum("n,ni,nj->ij", each, y, y @ matrix.detach()))


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


def test_augmentation_is_neutral_at_0_and_reaches_a_share_p():
    images = torch.rand(400, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert augmented(images, 0.0, torch.Generator()) is images
    changed = augmented(images, 0.05, torch.Generator().manual_seed(1))
    untouched = (changed - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    # Seven changes of probability p (a shift may be by no pixel, once in 25), and two that are none in 1/2 and 1/4.
    expected = 0.95**6 * (1 - 0.05 * 24 / 25) * (1 - 0.025) * (1 - 0.0375)
    assert float(untouched.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 400))
    x = images[:4].clone().requires_grad_()
    seen = augmented(x, 0.8, torch.Generator().manual_seed(2))
    assert torch.isfinite(torch.autograd.grad(seen.square().sum(), x)[0]).all()


def test_whole_turns_and_mirrors_move_pixels_without_blurring_them():
    from lib.training.augment.ada import _scaling, _shifting, _turning

    image = torch.arange(16.0).view(1, 1, 4, 4)
    one = torch.ones(1)

    def moved(place):
        grid = F.affine_grid(place[:, :2], [1, 1, 4, 4], align_corners=False)
        return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)

    torch.testing.assert_close(moved(_scaling(-one, one)), image.flip(3))
    torch.testing.assert_close(moved(_turning(one * math.pi / 2)), image.rot90(1, (2, 3)))
    torch.testing.assert_close(moved(_shifting(one / 2, 0 * one))[..., :3], image[..., 1:])


def test_every_image_is_seen_once_a_pass(tmp_path):
    images, labels = _two_classes(10)
    images[:, 0, 0] = np.arange(10)
    train_stylegan2(images, labels, path=tmp_path, progress=_silent, **(TINY | {"steps": 1}))
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
        train_stylegan2(**options, path=tmp_path, progress=_silent)


def test_one_class_trains_unconditionally(tmp_path):
    images, _ = _two_classes(8)
    generator = train_stylegan2(images, np.zeros(8, int), path=tmp_path, progress=_silent, **(TINY | {"steps": 2}))
    assert generator.sample(2, seed=0).shape == (2, 8, 8)
