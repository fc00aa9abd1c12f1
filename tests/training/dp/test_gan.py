"""The private GAN: clipped and noised as asked, accounted for as asked."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib.core import seeding
from lib.training.dp import accounting
from lib.training.dp import gan as private_adversarial
from lib.training.dp.classifier import poisson_rows
from lib.training.dp.per_sample_gradients import FlatParameters
from lib.training.loop.dataset import DeviceDataset
from tests.training.dp.toy import RATE, STEPS, radiographs, trained


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

    begin.version = cls.version
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


@pytest.mark.parametrize("change", [{"sample_rate": 0.0}, {"noise_multiplier": -1.0}, {"clip": 0.0}])
def test_bad_settings_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match="sample_rate"):
        trained(radiographs(), tmp_path, **change)
