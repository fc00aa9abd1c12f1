"""PP-VAEGAN: it hides people on a toy, keeps published defects behind names, and its step is the literal one."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lib.anonymise.vaegan.guidance import AuxiliaryLosses
from lib.anonymise.vaegan.masked_images import checked_cases
from lib.anonymise.vaegan.pp_vaegan import DEFECTS, PPVAEGANTrainer, Weights, anonymise
from lib.core import seeding
from lib.models.classifiers.identity import ConvClassifier, paired_distances
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.curve import read_curve
from tests.anonymise.vaegan.toy import CPU, PEOPLE, Disc, Stripes, toy, train
from tests.training.runs import interrupt, tensors


def entropy(images):
    with torch.no_grad():
        p = Stripes()(torch.from_numpy(images)[:, None] / 127.5 - 1).softmax(dim=1)
    return float(-(p * p.log()).sum(dim=1).mean() / math.log(PEOPLE))


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["posterior", "distance"])
def test_the_person_goes_and_the_finding_stays(tmp_path, privacy):
    images, masks, people, findings = toy()
    model = train(
        tmp_path, privacy, steps=60, batch=24, width=16, learning_rate=3e-3, critic_steps=1, generator_steps=4,
        betas=(0.5, 0.9), weights=Weights(privacy=3, source=3, evidence=50),
    )  # fmt: skip
    drawn = anonymise(model, images, masks, seed=1, device=CPU)
    assert drawn.shape == images.shape
    assert drawn.dtype == np.uint8
    assert entropy(images) < 0.3
    floats = torch.from_numpy(drawn)[:, None] / 127.5 - 1
    if privacy == "posterior":
        assert entropy(drawn) > 0.9
    else:
        original = torch.from_numpy(images)[:, None] / 127.5 - 1
        assert float(paired_distances(Stripes()(floats), Stripes()(original)).median()) > 1
    agree = Disc()(floats).argmax(dim=1).numpy() == findings
    assert agree.mean() > 0.95


@pytest.mark.parametrize("defect", sorted(set(DEFECTS) - {"masks", "inert"}))
def test_each_published_defect_changes_the_training(tmp_path, defect):
    classifiers = {}
    if defect == "classifiers":
        with seeding.initialising(0):
            classifiers = {"finding": ConvClassifier(16, 2, width=4), "identity": ConvClassifier(16, PEOPLE, width=4)}
    steps = {"steps": 1, "data": toy(3)}
    plain = train(tmp_path / "plain", **steps, **classifiers).state_dict()
    published = train(tmp_path / "published", as_published=[defect], **steps, **classifiers).state_dict()
    assert any(not torch.equal(value, published[name]) for name, value in plain.items())


def test_masks_to_255_reach_the_encoder_of_test_images_only(tmp_path):
    images, masks, *_ = data = toy(3)
    model = train(tmp_path, data=data)
    plain, wide = (anonymise(model, images, masks, seed=1, as_published=p, device=CPU) for p in ((), ("masks",)))
    assert not np.array_equal(plain, wide)
    with torch.no_grad():
        noise = torch.randn(len(images), 4, generator=seeding.torch_generator(1, "redraw"))
        literal = model(torch.from_numpy(images)[:, None] / 127.5 - 1, 255.0 * torch.from_numpy(masks)[:, None], noise)
    np.testing.assert_array_equal(wide, ((literal[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy())


def test_curves_hold_every_loss_of_every_step(tmp_path):
    train(tmp_path)
    curves = read_curve(tmp_path)
    assert curves.names == ("critic", "realism", "divergence", "evidence", "finding", "privacy")
    assert curves.values.shape == (4, 6)
    assert (curves.values != 0).all()


def test_the_best_validation_score_is_handed_over(tmp_path):
    """With a learning rate that ruins the network, the weights evaluated first are better than the last."""
    data = toy(5)
    options = {"data": data, "validation": toy(2, seed=1)[:2], "validate_every": 2, "learning_rate": 0.5, "steps": 6}
    model = train(tmp_path, **options)
    kept = tensors(tmp_path)
    assert torch.isfinite(kept["best.score"])
    name = "decoder.layers.0.weight"
    assert torch.equal(model.state_dict()[name], kept[f"best.{name}"])
    last = train(tmp_path / "last", **(options | {"validation": None}))
    assert torch.equal(last.state_dict()[name], kept[f"vae.{name}"])


def test_a_step_equals_the_literal_one(tmp_path):
    """Joint passes and all anonymised images at once against torch's own layers, one image set after the other."""
    train(tmp_path, steps=1, dropout=0.0, noisy_targets=False)
    stored = Checkpoint(tmp_path, None)
    stored.load()
    settings = stored.settings
    images, masks, people, _ = toy()
    examples, regions = checked_cases(images, masks, people, device=CPU)
    auxiliary = AuxiliaryLosses("posterior", finding=Disc(), identity=Stripes(), examples=examples, noisy_targets=False)
    ours = PPVAEGANTrainer(examples, regions, auxiliary, None, settings, CPU)
    for module in ours.critic.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    vae, critic = copy.deepcopy(ours.vae), copy.deepcopy(ours.critic)
    for module in (*vae.modules(), *critic.modules()):
        for kind in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(module, kind):
                module.__class__ = kind
    adam = {net: torch.optim.Adam(net.parameters(), lr=settings["learning_rate"]) for net in (vae, critic)}
    ours.step(0)
    with seeding.initialising(settings["seed"], "redrawing", "step", 0):
        rows = torch.rand(5, len(images)).argsort(dim=1)[:, :8]
        noise, mix = torch.randn(5, 8, 4), torch.rand(5, 8, 1, 1, 1)
        for part in range(5):
            real, mask = examples.inputs(rows[part]), regions.inputs(rows[part])
            with torch.no_grad():
                drawn = vae.eval()(real, mask, noise[part])
            mixed = (mix[part] * real + (1 - mix[part]) * drawn).requires_grad_()
            (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
            penalty = 10 * (1 - slope.flatten(1).norm(dim=1)).square().mean()
            _updated(adam[critic], critic(drawn).mean() - critic(real).mean() + penalty)
        for _ in range(2):
            rows, noise = torch.rand(1, len(images)).argsort(dim=1)[0, :8], torch.randn(8, 4)
            real, mask = examples.inputs(rows), regions.inputs(rows)
            mean, s = vae.train().encoder(real, mask)
            drawn = vae.decoder(mean + (s / 2).exp() * noise)
            loss = -0.4 * critic(drawn).mean() + 0.002 * (s.exp() + mean**2 - 1 - s).sum(dim=1).mean() / 2
            loss = loss - Stripes()(drawn).log_softmax(dim=1).mean()
            loss = loss - (Disc()(real).softmax(dim=1) * Disc()(drawn).log_softmax(dim=1)).sum(dim=1).mean()
            _updated(adam[vae], loss + 20 * ((real - drawn)[mask == 1] ** 2).mean())
    for mine, literal in ((ours.vae, vae), (ours.critic, critic)):
        apart = torch.cat(
            [(a - b).abs().flatten() for a, b in zip(mine.parameters(), literal.parameters(), strict=True)]
        )
        # Adam's first updates are signs of gradients, which rounding may turn where they are nearly 0.
        assert apart.quantile(0.98) < 1e-5


def _updated(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def test_rates_fall_as_published(tmp_path):
    interrupt(partial(train, tmp_path, save_seconds=0, learning_rate=1e-3, decay=0.1), 3)
    state = Checkpoint(tmp_path, None)
    rates = {name: part["param_groups"][0]["lr"] for name, part in state.load()[1].items()}
    assert rates == {"critic": 1e-3 / (1 + 0.1 * 2 * 5), "vae": 1e-3 / (1 + 0.1 * 2 * 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": (np.zeros((8, 3, 16, 16), np.uint8), np.zeros((8, 16, 16)), np.arange(8) % 4, None)}, "3 channels"),
        ({"data": (*(part[:8] if i != 1 else part[:7] for i, part in enumerate(toy())),)}, "masks of these images"),
        ({"data": (toy()[0], 255 * toy()[1], *toy()[2:])}, "divide 0..255 by 255"),
        ({"data": (*toy()[:2], toy()[2] + 1, None)}, "classifier knows 4"),
        ({"privacy": "distance", "data": (*toy()[:2], np.where(toy()[2] == 1, 2, toy()[2]), None)}, r"\[1\] have no"),
        ({"privacy": "nobody"}, "unknown privacy"),
        ({"identity": None}, "needs an identity classifier"),
        ({"privacy": "none", "identity": Stripes()}, "takes no identity classifier"),
        ({"as_published": ["maks"]}, "unknown .'maks'. in as_published"),
        ({"batch": 49}, "batch is 49 of 48 training images"),
        ({"width": 9}, "multiple of 2"),
    ],
)
def test_bad_input_is_one_clear_sentence(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, **change)
