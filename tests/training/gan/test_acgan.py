"""AC-GAN training: it learns the regions, refuses bad input; losses and interpolation by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.models.gan.acgan import Generator
from lib.training.gan.acgan import ACGAN, ACGANTrainer, class_loss, train_acgan
from lib.training.loop.checkpoint import Checkpoint
from tests.training.runs import silent

TINY = {"steps": 6, "batch": 4, "width": 4, "learning_rate": 1e-3, "seed": 3}


def _three_regions(n=240, means=(50, 120, 200)):
    rng = np.random.default_rng(0)
    regions = np.arange(n) % 3
    grey = np.array(means)[regions][:, None, None, None]
    return (grey + rng.normal(0, 10, (n, 1, 1, 1)) + rng.integers(0, 3, (n, 9, 16, 16))).astype(np.uint8), regions


def _trainer(tmp_path, images, regions, **options):
    train_acgan(images, regions, path=tmp_path / "resolved", progress=silent, **(TINY | options))
    settings = Checkpoint(tmp_path / "resolved", None)
    settings.load()
    return ACGANTrainer(torch.from_numpy(images), torch.from_numpy(regions), settings.settings, torch.device("cpu"))


@pytest.mark.slow
def test_learns_the_brightness_of_each_region(tmp_path):
    images, regions = _three_regions()
    generator = train_acgan(
        images, regions, path=tmp_path, seed=0, steps=300, width=16, learning_rate=5e-4, generator_batch_norm=True,
        progress=silent,
    )  # fmt: skip
    drawn = generator.sample(144, labels=np.repeat([0, 1, 2], 48), seed=1)
    assert drawn.shape == (144, 9, 16, 16)
    means = drawn.reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(means, [50, 120, 200], atol=30)
    path = generator.interpolate([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]], seed=2, noises=20)
    assert (np.diff(path.mean(axis=(0, 2, 3, 4))) > 0).all()


def test_class_terms_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]]))
    regions, weights = torch.tensor([0, 2, 2]), torch.tensor([1.0, 5.0, 3.0])
    published = class_loss(logits, regions, weights, as_published=True)
    assert float(published) == pytest.approx(-(1 * 0.7 + 3 * 0.25 + 3 * 0.6) / 7, rel=1e-6)
    intended = class_loss(logits, regions, weights)
    assert float(intended) == pytest.approx(-(np.log(0.7) + 3 * np.log(0.25) + 3 * np.log(0.6)) / 7, rel=1e-6)


def test_published_class_term_barely_corrects_a_confident_mistake():
    logits = torch.tensor([[9.0, 0.0, 0.0]], requires_grad=True)
    slopes = []
    for as_published in (True, False):
        loss = class_loss(logits, torch.tensor([1]), torch.ones(3), as_published=as_published)
        slopes.append(float(torch.autograd.grad(loss, logits)[0][0, 1]))
    assert slopes[0] == pytest.approx(0, abs=1e-3)
    assert slopes[1] == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("as_published", [False, True])
def test_losses_are_those_of_the_specification(tmp_path, as_published):
    """One step against the formulas, written out with the same draws."""
    images, regions = _three_regions(9)
    options = {"alpha": 0.5, "class_weights": [1, 2, 3], "as_published": as_published, "batch": 9}
    trainer = _trainer(tmp_path, images, regions, **options)
    seen = []
    for network in (trainer.generator, trainer.discriminator):
        network.register_forward_hook(lambda module, args, output: seen.append((args, output)))
    losses = trainer.step(0)
    (asked, _), fake = seen[0]
    (both,), (logits, guesses) = seen[1]
    order = np.lexsort(both[:9].flatten(1).numpy().T)
    expected = images[np.lexsort(images.reshape(9, -1).T)]
    np.testing.assert_allclose(both[:9][order], expected / 127.5 - 1, atol=1e-6)  # each image once, in [-1, 1]
    assert torch.equal(both[9:], fake)
    apart = np.abs(both[:9, None].numpy() - (images / 127.5 - 1)).max(axis=(2, 3, 4))  # of each input, each image
    real = apart.argmin(axis=1)
    weights = torch.tensor([1.0, 2.0, 3.0])

    def bce(x, target):
        return -(torch.sigmoid(x) if target else 1 - torch.sigmoid(x)).log().mean()

    def ce(x, y):
        p = x.softmax(1)[torch.arange(len(y)), y]
        return -(weights[y] * (p if as_published else p.log())).sum() / weights[y].sum()

    c, y = asked.argmax(1), torch.from_numpy(regions[real])
    loss_d = bce(logits[:9], 1) + bce(logits[9:], 0) + 0.5 * (ce(guesses[:9], y) + ce(guesses[9:], c))
    torch.testing.assert_close(losses["loss_d"], loss_d.detach(), rtol=1e-5, atol=1e-6)
    (asked, _), _ = seen[2]
    _, (logits, guesses) = seen[3]
    loss_g = bce(logits, 1) + 0.5 * ce(guesses, asked.argmax(1))
    torch.testing.assert_close(losses["loss_g"], loss_g.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.equal(seen[0][0][1], seen[2][0][1])  # fresh noise for the generator


def test_every_image_is_seen_once_a_pass_and_regions_are_asked_as_often_as_they_occur(tmp_path):
    images, _ = _three_regions(10)
    images[:, 0, 0, 0] = np.arange(10)
    regions = np.array([0] * 7 + [1] * 2 + [2])
    trainer = _trainer(tmp_path, images, regions)
    batches = [trainer.batch(update) for update in range(5)]  # 20 rows: two passes, one batch astride
    seen = torch.cat([((x[:, 0, 0, 0] + 1) * 127.5).round().long() for x, _ in batches])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert torch.cat([y for _, y in batches]).tolist() == regions[seen].tolist()
    asked = torch.cat([trainer.random_inputs()[0] for _ in range(500)])
    shares = np.bincount(asked, minlength=3) / len(asked)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=5 * np.sqrt(0.25 / 2000))


def test_discriminator_turns_and_rates(tmp_path):
    images, regions = _three_regions(9)
    trainer = _trainer(tmp_path, images, regions, d_steps=3, time_scale=4.0)
    trainer.step(0)
    steps = {name: int(o.state_dict()["state"][0]["step"]) for name, o in trainer.optimisers.items()}
    assert steps == {"generator": 1, "discriminator": 3}
    rates = {name: o.param_groups[0]["lr"] for name, o in trainer.optimisers.items()}
    assert rates == {"generator": 1e-3, "discriminator": 4e-3}


def test_one_pass_over_real_and_fake_equals_two(tmp_path):
    images, regions = _three_regions(9)
    trainer = _trainer(tmp_path, images, regions)
    a, b = torch.rand(2, 3, 9, 16, 16) * 2 - 1
    joined = trainer.logits(a, b)
    for got, expected in zip(joined, (trainer.discriminator(a), trainer.discriminator(b)), strict=True):
        for head, plain in zip(got, expected, strict=True):
            torch.testing.assert_close(head, plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_interpolation_holds_the_noise_and_does_not_depend_on_its_length(batch_norm):
    torch.manual_seed(0)
    network = Generator(16, width=4, batch_norm=batch_norm)
    with torch.no_grad():
        network.layers[-2].weight.mul_(1e3)
    generator = ACGAN(network, {})
    path = generator.interpolate(np.eye(3), seed=0, noises=2)
    assert path.shape == (2, 3, 9, 16, 16)
    # a grey level apart at the most: other lengths are other batches, whose sums are rounded in another order
    np.testing.assert_allclose(generator.interpolate(np.eye(3), seed=0).astype(int), path[:1], rtol=0, atol=1)
    np.testing.assert_allclose(generator.interpolate(np.eye(3)[1:], seed=0)[0].astype(int), path[0, 1:], rtol=0, atol=1)
    for mixes in ([1, 0, 0], [[1, 0]], [[np.nan, 0, 0]]):
        with pytest.raises(ValueError, match=r"finite numbers \(m, 3\)"):
            generator.interpolate(mixes, seed=0)


def test_images_of_one_slice_are_drawn_without_that_axis(tmp_path):
    images, regions = _three_regions(9)
    generator = train_acgan(images[:, 0], regions, path=tmp_path, progress=silent, **TINY)
    assert generator.sample(2, labels=[0, 2], seed=1).shape == (2, 16, 16)


@pytest.mark.parametrize(
    ("spoil", "options", "sentence"),
    [
        (lambda x, y: (np.where(x > 0, np.nan, 0.0), y), {}, "NaN or infinite pixels"),
        (lambda x, y: (x / np.float32(255), y), {}, "float32: give uint8"),
        (lambda x, y: (x[:, :, :12], y), {}, "12 x 16: give squares"),
        (lambda x, y: (x[..., :12, :12], y), {}, "12 is not one of 16, 32"),
        (lambda x, y: (x, y // 2), {}, r"classes \[0, 1\]: each of 0..2 must occur"),
        (lambda x, y: (x, y + 1), {}, r"classes \[1, 2, 3\]: each of 0..2 must occur"),
        (lambda x, y: (x, y[:5]), {}, "give 9 integers"),
        (lambda x, y: (x, y), {"class_weights": [1, 0, 1]}, "must be 3 positive finite numbers"),
        (lambda x, y: (x, y), {"d_steps": 0}, "d_steps is 0"),
        (lambda x, y: (x, y), {"precision": "half"}, "unknown precision 'half'"),
        (lambda x, y: (x, y), {"learning_rate": 1e38}, "AC-GAN diverged by step 6"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, spoil, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_acgan(*spoil(*_three_regions(9)), path=tmp_path / "none", progress=silent, **(TINY | options))
    assert not (tmp_path / "none").exists()


def test_layout_does_not_change_the_numbers():
    """Channels last is a matter of speed: the plain layout gives the same volumes."""
    generator = Generator(16, width=4)
    regions, noise = torch.eye(3), torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    x = torch.cat([regions, noise], 1)[:, :, None, None]
    for layer in generator.layers:
        if isinstance(layer, torch.nn.ConvTranspose2d):
            weight = layer.weight.contiguous()
            x = F.conv_transpose2d(x.contiguous(), weight, stride=layer.stride, padding=layer.padding)
        else:
            x = x.relu() if isinstance(layer, torch.nn.ReLU) else x.tanh()
    torch.testing.assert_close(generator(regions, noise), x, rtol=1e-5, atol=1e-7)
