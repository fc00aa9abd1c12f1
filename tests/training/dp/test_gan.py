"""The private GAN: clipped and noised as asked, accounted for as asked; and its strongest attacker."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.core import seeding
from lib.training.dp import accounting
from lib.training.dp import gan as private_adversarial
from lib.training.dp import gradient_attack as tracing
from lib.training.dp.classifier import poisson_rows
from lib.training.dp.per_sample_gradients import FlatParameters
from lib.training.loop.dataset import DeviceDataset

RATE, STEPS = 0.5, 4


def radiographs(n=40, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)


def trained(images, path, noise=1.0, **changes):
    options = {"steps": STEPS, "noise_multiplier": noise, "sample_rate": RATE, "expected_batch": 20.0, "clip": 0.05}
    options |= {"generator_width": 4, "discriminator_width": 4, "generator_batch": 8, "latent": 8}
    options |= {"device": torch.device("cpu"), "progress": lambda *_, **__: None} | changes
    return private_adversarial.train_dpgan(images, path=path, seed=3, **options)


def sums(gan, images, step, clip):
    """The sum of clipped gradients at a step's weights, one image at a time, by autograd alone."""
    flat = FlatParameters(gan.discriminator)
    with torch.no_grad():
        flat.vector.copy_(gan.trace.weights[step])
    rows = poisson_rows(len(images), RATE, seeding.torch_generator(3, "private", "sample", step))
    total = torch.zeros_like(flat.vector.detach())
    for image in DeviceDataset(images, None, device="cpu").inputs(rows):
        loss = F.cross_entropy(gan.discriminator(image[None]), torch.tensor([1]))
        gradient = flat.flatten(list(torch.autograd.grad(loss, flat.parameters)))
        total += gradient * min(1, clip / float(gradient.norm() + 1e-6))
    flat.release()
    return total


def test_what_is_released_is_the_sum_of_clipped_gradients_of_the_images_drawn(tmp_path):
    images = radiographs()
    gan = trained(images, tmp_path, noise=0.0)
    for step in range(STEPS):
        assert torch.allclose(gan.trace.noisy[step], sums(gan, images, step, 0.05), atol=1e-6)


def test_the_noise_has_the_size_told_and_no_image_moves_the_sum_by_more_than_the_clip(tmp_path):
    images, clip = radiographs(), 0.05
    gan = trained(images, tmp_path, noise=2.0, discriminator_width=16)
    noise = torch.cat([gan.trace.noisy[step] - sums(gan, images, step, clip) for step in range(STEPS)])
    sd, n = 2.0 * clip, len(noise)
    assert abs(float(noise.std()) / sd - 1) < 4 / math.sqrt(2 * n)
    assert abs(float(noise.mean())) < 4 * sd / math.sqrt(n)
    gradients = [sums(gan, images[[i]], 0, clip).norm() for i in range(5)]
    assert max(gradients) <= clip * (1 + 1e-5)


def test_the_accountant_is_told_every_step(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(private_adversarial, "DPGANTrainer", recorded(private_adversarial.DPGANTrainer, kept))
    gan = trained(radiographs(), tmp_path)
    history = kept[0].mechanism.history
    told = accounting.epsilon_of(history, delta=1e-5)
    asked = accounting.epsilon_spent(noise_multiplier=1.0, sample_rate=RATE, steps=STEPS, delta=1e-5)
    assert told == pytest.approx(asked, rel=1e-9)
    assert gan.trace[2:] == (1.0, RATE, 0.05)


def recorded(cls, kept):
    def begin(*args):
        kept.append(cls(*args))
        return kept[-1]

    return begin


def test_the_generator_sees_radiographs_through_the_noisy_gradients_only(tmp_path):
    """Other radiographs, but the same noisy sums: nothing of the training may differ."""
    images, others = radiographs(seed=0), radiographs(seed=1)
    first = trained(images, tmp_path / "a")

    class Replayed(private_adversarial._Recording):
        def _clip_and_noise(self, inputs, labels):
            losses = super()._clip_and_noise(inputs, labels)
            self.flat.vector.grad.copy_(first.trace.noisy[self.row - 1] / self.optimiser.expected_batch_size)
            return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_adversarial, "_Recording", Replayed)
        second = trained(others, tmp_path / "b")
    assert not torch.equal(first.trace.noisy, second.trace.noisy)
    for a, b in ((first.generator, second.generator), (first.discriminator, second.discriminator)):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.allclose(x, y, atol=1e-4)


def test_the_tracer_finds_every_member_without_noise_and_keeps_her_scores(tmp_path):
    pool = radiographs(60)
    coins = np.random.default_rng(5).random(60) < 0.5
    gan = trained(pool[coins], tmp_path / "gan", noise=0.0, steps=10, expected_batch=15.0, discriminator_width=16)
    before = {name: value.clone() for name, value in gan.discriminator.state_dict().items()}
    scores = tracing.traced_scores(gan.discriminator, gan.trace, pool, path=tmp_path / "scores")
    assert scores[coins].min() > scores[~coins].max()
    assert all(torch.equal(before[name], value) for name, value in gan.discriminator.state_dict().items())
    again = tracing.traced_scores(gan.discriminator, gan.trace, pool, path=tmp_path / "scores")
    assert np.array_equal(scores, again)


def test_the_tracer_learns_nothing_from_noise_alone(tmp_path):
    pool = radiographs(60)
    coins = np.random.default_rng(6).random(60) < 0.5
    gan = trained(pool[coins], tmp_path, noise=1000.0, steps=10, expected_batch=15.0)
    scores = tracing.traced_scores(gan.discriminator, gan.trace, pool)
    ranks = scores.argsort().argsort()
    area = (ranks[coins].sum() - coins.sum() * (coins.sum() - 1) / 2) / (coins.sum() * (~coins).sum())
    assert 0.25 < area < 0.75


@pytest.mark.parametrize("change", [{"sample_rate": 0.0}, {"noise_multiplier": -1.0}, {"clip": 0.0}])
def test_bad_settings_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match="sample_rate"):
        trained(radiographs(), tmp_path, **change)
