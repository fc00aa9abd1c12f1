"""Walks: closed forms, the released code's losses and loop, injected collisions, refusal of what cannot be walked."""

import importlib.util
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.anonymise.latent_walk.endpoints import injected_endpoints
from lib.anonymise.latent_walk.plan import (
    detour,
    evaluate,
    group_weights,
    linear,
    path_losses,
    plan,
    spacing_variation,
    step_energy,
    synthesis_of,
    uniform_divergence,
    with_energy,
)
from lib.core.seeding import initialising
from lib.metrics.privacy.reidentification.nearest_real import nearest_real
from lib.models.classifiers.small_cnn import SmallCNN
from lib.training.loop.inference import frozen
from tests.paths import ORACLES, ROOT

BENCHMARK = ROOT / "benchmarks" / "plan.py"
SIDE, LATENT, PATIENTS = 8, 16, 24


class Toy(nn.Module):
    """A generator that keeps distances up to a factor: images 0.2 · w Q of orthonormal rows Q."""

    def __init__(self):
        super().__init__()
        rows = torch.linalg.qr(torch.randn(SIDE**2, LATENT, dtype=torch.float64))[0].T
        self.rows = nn.Parameter(0.2 * rows)
        self.dropout = nn.Dropout(0.5)  # must be asleep

    def mapping(self, z, labels):
        return z

    def synthesis(self, w):
        return self.dropout(w @ self.rows).view(-1, 1, SIDE, SIDE)


class ConvClassifier(nn.Module):
    """The likelier a patient, the nearer the image to hers."""

    def __init__(self, images, width=0.2):
        super().__init__()
        self.images, self.width = nn.Parameter(images.flatten(1)), width

    def forward(self, images):
        return -(images.flatten(1)[:, None] - self.images).square().sum(dim=2) / self.width


class Sides(nn.Module):
    """Two classes, on either side of a plane."""

    def __init__(self, direction):
        super().__init__()
        self.direction = nn.Parameter(direction)

    def forward(self, images):
        side = 10 * images.flatten(1) @ self.direction
        return torch.stack([-side, side], dim=1)


@pytest.fixture(scope="module")
def toy():
    with initialising(0):
        generator = Toy().eval()
        latents = torch.randn(PATIENTS, LATENT, dtype=torch.float64)
        plane = generator.rows.detach()[0] / 0.2
    with torch.no_grad():
        images = generator.synthesis(latents)
    labels = (latents[:, 0] > 0).long()
    networks = {
        "synthesis": generator.synthesis, "identity": ConvClassifier(images), "diagnosis": Sides(plane),
    }  # fmt: skip
    return generator, latents, labels, images, networks


def _ends(pairs=3, latent=LATENT, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, pairs, latent)))


def test_straight_walk_is_the_closed_form():
    """B1, B2: points, least energy ‖b − a‖² / (T − 1), and no pull on any inner point."""
    first, last = _ends()
    walks = linear(first, last, points=50)
    share = np.linspace(0, 1, 50)[None, :, None]
    expected = (1 - share) * first.numpy()[:, None] + share * last.numpy()[:, None]
    assert np.abs(walks.numpy() - expected).max() < 1e-12
    assert torch.equal(walks[:, 0], first)
    assert torch.equal(walks[:, -1], last)
    torch.testing.assert_close(step_energy(walks), (last - first).square().sum(1) / 49)
    assert spacing_variation(walks).max() < 1e-12
    inner = walks[:, 1:-1].clone().requires_grad_()
    whole = torch.cat([walks[:, :1], inner, walks[:, -1:]], dim=1)
    (gradient,) = torch.autograd.grad(whole.diff(dim=1).square().sum(), inner)
    assert gradient.norm() <= 1e-5 * (last - first).norm()
    layers = linear(first.view(3, 4, 4), last.view(3, 4, 4), points=50)  # W+
    torch.testing.assert_close(layers.flatten(2), walks)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_divergences_are_those_of_their_definitions(scale):
    """B3, both directions."""
    logits = scale * np.random.default_rng(1).normal(size=(5, 7))
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    forward = (np.log(1 / 7 / q) / 7).sum(axis=1)
    backward = (q * np.log(7 * q)).sum(axis=1)
    found = [uniform_divergence(torch.from_numpy(logits), way).numpy() for way in ("from_uniform", "to_uniform")]
    np.testing.assert_allclose(found, [forward, backward], atol=1e-12)
    assert np.min(found) >= 0
    assert uniform_divergence(torch.full((1, 9), 2.0), "from_uniform").abs() < 1e-6
    assert uniform_divergence(torch.full((1, 9), 2.0), "to_uniform").abs() < 1e-6
    certain = torch.tensor([[1e3, 0.0, 0.0]])
    assert uniform_divergence(certain, "to_uniform") <= np.log(3) + 1e-6  # bounded
    assert uniform_divergence(certain, "from_uniform") > 600  # not


def test_weights_of_images_in_groups_of_four():
    assert group_weights(48).eq(0.25).all()
    assert torch.equal(group_weights(48), group_weights(48, as_published=True))
    found = group_weights(47, as_published=True)
    assert found[:44].eq(0.25).all()
    torch.testing.assert_close(found[44:], torch.full((3,), 1 / 3))
    assert group_weights(47).eq(0.25).all()


@pytest.mark.parametrize("points", [50, 49])
def test_losses_are_those_of_the_released_code(points):
    """B4: the networks of the reference are look-up tables, the images here the numbers of the rows."""
    reference = json.loads((ORACLES / "plan_losses.json").read_text())[f"T{points}"]
    with np.load(ORACLES / f"plan_T{points}.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    first, last = arrays["w_a"][0], arrays["w_b"][0]
    walks = torch.cat([first, arrays["interior"], last])[None]
    rows = torch.arange(points - 2.0)

    def table(name):
        return lambda images: arrays[name][(100 * images[:, 0, 0, 0]).round().long()]

    found = path_losses(
        walks, arrays["label"].view(1), as_published=True, identity=table("id_logits"),
        diagnosis=table("class_logits"), synthesis=lambda w: (rows[: len(w)] / 100).view(-1, 1, 1, 1),
    )  # fmt: skip
    for value, name in zip(found, ("L_dist", "L_id", "L_class"), strict=True):
        assert float(value) == pytest.approx(reference[name], rel=1e-5)
    total = found.distance + 0.1 * found.identity + found.diagnosis
    assert float(total) == pytest.approx(reference["total"], rel=1e-5)
    straight = linear(first, last, points=points)
    assert (straight[0] - arrays["linear"]).abs().max() < 1e-6
    assert float(step_energy(straight, as_published=True)) == pytest.approx(reference["L_dist_linear"], rel=1e-5)


@pytest.mark.parametrize("points", [14, 13])
def test_all_pairs_at_once_equal_the_published_loop(toy, points):
    """Also where blocks of images straddle pairs, and where the last group of four is incomplete."""
    generator, _, _, _, networks = toy
    spec = importlib.util.spec_from_file_location("benchmark_plan", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    with initialising(1):
        networks = networks | {"identity": SmallCNN(5).double(), "diagnosis": SmallCNN(3).double()}
    first, last = 4 * _ends()  # some pixels leave [-1, 1]: the clamp matters
    with torch.no_grad():
        assert (generator.synthesis(first).abs() > 1).any()
    options = {"points": points, "steps": 12}
    found = plan(**networks, first=first, last=last, labels=[0, 1, 2], as_published=True, memory_images=7, **options)
    slow = []
    for label, *ends in zip((0, 1, 2), first[:, None], last[:, None], strict=True):
        slow.append(benchmark.published_walk(**networks, ends=ends, label=label, **options))
    generator.zero_grad()  # the published loop leaves gradients in every network
    assert (found.latents - linear(first, last, points=points)).abs().max() > 0.1
    torch.testing.assert_close(found.latents, torch.stack(slow), rtol=1e-7, atol=1e-8)
    alone = plan(**networks, first=first[1:2], last=last[1:2], labels=[1], as_published=True, **options)
    torch.testing.assert_close(alone.latents[0], found.latents[1], rtol=1e-9, atol=1e-9)
    before = path_losses(linear(first, last, points=points), [0, 1, 2], as_published=True, **networks)
    for term, history in zip(before, found.history, strict=True):
        torch.testing.assert_close(history[0], term)
        assert history.shape == (12, 3)


def test_gradient_passes_the_clamp_unless_as_published(toy):
    *_, networks = toy
    first = torch.full((1, LATENT), 200.0, dtype=torch.float64) * torch.tensor([1.0, -1.0]).repeat(LATENT // 2)
    options = {"first": first, "last": first, "labels": [1], "points": 3, "steps": 1} | networks
    with torch.no_grad():
        assert (networks["synthesis"](first).abs() > 1).double().mean() > 0.9
    moved = [plan(as_published=way, **options).latents - first[:, None] for way in (False, True)]
    assert moved[0].abs().max() == pytest.approx(0.1, rel=1e-3)  # Adam's first step
    assert moved[0].ne(0).sum() >= moved[1].ne(0).sum()


def test_injected_collisions_are_avoided(toy):
    """B1, B5, B6, B13: the straight walk runs through a patient; PLAN goes round her and stays in the class.

    Here with KL(q‖U); with KL(U‖q), as published, in test_plan_on_memorising_generator.py.
    """
    generator, latents, labels, images, networks = toy
    rows = np.arange(12)
    first, last = injected_endpoints(latents, rows=rows, rng=np.random.default_rng(0))
    direction, weight = "to_uniform", 0.3
    options = {"first": first, "last": last, "labels": labels[rows], "points": 26, "steps": 100}
    found = plan(**networks, **options, direction=direction, lambda_identity=weight)
    straight = linear(first, last, points=26)
    assert torch.equal(found.latents[:, [0, -1]], straight[:, [0, -1]])
    assert not found.latents.requires_grad
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())

    def cost(walks):
        losses = path_losses(walks, labels[rows], direction=direction, **networks)
        return weight * losses.identity + losses.diagnosis

    assert (cost(found.latents) <= 0.7 * cost(straight)).all()
    other = detour(first, last, energy=step_energy(found.latents), points=26, rng=np.random.default_rng(1))
    torch.testing.assert_close(step_energy(other), step_energy(found.latents))
    with torch.no_grad():
        near = [
            nearest_real(walks=generator.synthesis(w.flatten(0, 1)).view(12, 26, -1), real=images).distances
            for w in (found.latents, straight)
        ]
    assert (nearest_real(walks=straight.numpy(), real=latents).rows[:, 12:14] == rows[:, None]).all()
    assert (near[0].min(axis=1) >= 1.5 * near[1].min(axis=1)).sum() >= 11
    assert (near[0].mean(axis=1) > near[1].mean(axis=1)).sum() >= 11
    np.testing.assert_allclose(near[0][:, [0, -1]], near[1][:, [0, -1]], atol=1e-9)
    assert (near[0].mean(axis=0) >= near[1].mean(axis=0))[1:-1].mean() >= 0.8
    seen = [evaluate(walks, labels[rows], **networks) for walks in (found.latents, straight)]
    assert seen[0].correct.double().mean() >= max(0.88, seen[1].correct.double().mean())
    assert seen[0].entropy.mean() > seen[1].entropy.mean()


def test_a_batch_is_evaluated_like_single_images(toy):
    _, _, _, _, networks = toy
    first, last = _ends(2)
    walks = linear(first, last, points=5)
    found = evaluate(walks, [0, 1], memory_images=3, **networks)
    for pair in range(2):
        for step in range(5):
            image = networks["synthesis"](walks[pair, step][None]).clamp(-1, 1)
            who, what = networks["identity"](image), networks["diagnosis"](image)
            q = who.softmax(dim=1)
            at = (pair, step)
            torch.testing.assert_close(found.divergence[at], uniform_divergence(who)[0])
            torch.testing.assert_close(found.entropy[at], -(q * q.log()).sum())
            torch.testing.assert_close(found.cross_entropy[at], F.cross_entropy(what, torch.tensor([pair])))
            assert found.correct[at] == (what.argmax() == pair)


def test_networks_are_as_before(toy):
    generator, _, _, _, networks = toy
    generator.train()
    networks["identity"].images.requires_grad_(False)
    with frozen(generator.synthesis, networks["identity"], lambda x: x):
        assert not generator.dropout.training
        assert not generator.rows.requires_grad
    assert generator.dropout.training
    assert generator.rows.requires_grad
    assert not networks["identity"].images.requires_grad
    networks["identity"].images.requires_grad_(True)
    generator.eval()


def _plan(toy, **changes):
    *_, networks = toy
    first, last = _ends()
    options = {"first": first, "last": last, "labels": [0, 1, 0], "points": 5, "steps": 1} | networks
    return plan(**options | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": torch.zeros(3, 4)}, "ends have shapes"),
        ({"first": torch.zeros(LATENT), "last": torch.zeros(LATENT)}, "ends have shapes"),
        ({"first": torch.full((3, LATENT), torch.nan), "last": torch.zeros(3, LATENT)}, "finite"),
        ({"labels": [[0, 0], [1, 0], [0, 0]]}, "pair 1 has ends of different classes"),
        ({"labels": [0, 1]}, "one integer class per pair"),
        ({"labels": [0.0, 1.0, 1.0]}, "one integer class per pair"),
        ({"labels": [0, -1, 0]}, "counted from 0"),
        ({"labels": [0, 2, 0]}, "a label is 2, but diagnosis has 2 classes"),
        ({"points": 2}, "at least 3"),
        ({"steps": 0}, "at least 1"),
        ({"direction": "sideways"}, "unknown direction 'sideways'"),
        ({"synthesis": lambda w: w}, "must give images"),
        ({"identity": nn.Identity()}, r"identity made .* it must give \(n, classes"),
        ({"learning_rate": float("inf")}, "diverged"),
    ],
)
def test_bad_input_is_refused(toy, changes, message):
    with pytest.raises(ValueError, match=message):
        _plan(toy, **changes)


def test_a_generator_without_w_is_refused(toy):
    assert synthesis_of(toy[0]) == toy[0].synthesis
    with pytest.raises(ValueError, match="SmallCNN has no mapping and no synthesis, so it has no latent space W"):
        synthesis_of(SmallCNN())


def test_a_walk_of_another_energy_keeps_its_ends_and_its_bend():
    """Energies add up: those of the straight walk and of what leaves it; the mixed terms are 0."""
    torch.manual_seed(0)
    walks = torch.randn(3, 7, 5, dtype=torch.float64)
    straight = linear(walks[:, 0], walks[:, -1], points=7)
    least = step_energy(straight)
    torch.testing.assert_close(step_energy(walks), least + step_energy(walks - straight))
    for factor in (1.0, 1.5, 4.0):
        found = with_energy(walks, factor * least)
        torch.testing.assert_close(step_energy(found), factor * least)
        assert torch.equal(found[:, [0, -1]], walks[:, [0, -1]])
        bends = [(of - straight).flatten(1) for of in (found, walks)]
        wanted = ((factor - 1) * least / step_energy(walks - straight)).sqrt()[:, None] * bends[1]
        torch.testing.assert_close(bends[0], wanted)
    torch.testing.assert_close(with_energy(walks, step_energy(walks)), walks)
    with pytest.raises(ValueError, match="below that of the straight walk"):
        with_energy(walks, 0.5 * least)
    with pytest.raises(ValueError, match="cannot be given more energy"):
        with_energy(straight, 2 * least)


def test_a_detour_shorter_than_the_line_is_refused():
    first, last = _ends()
    with pytest.raises(ValueError, match="shortest"):
        detour(first, last, energy=torch.zeros(3), points=5, rng=np.random.default_rng(0))
