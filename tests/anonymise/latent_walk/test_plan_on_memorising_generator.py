"""PLAN at the published weights, on drawn radiographs and a generator that holds a near-duplicate of each."""

import numpy as np
import pytest
import torch

from lib.anonymise.latent_walk.endpoints import injected_endpoints
from lib.anonymise.latent_walk.plan import evaluate, linear, path_losses, plan
from lib.cohorts.phantoms import chest
from lib.core.seeding import initialising, torch_generator
from lib.metrics.privacy.reidentification.nearest_real import compare_walks, nearest_real
from lib.models.classifiers.small_cnn import SmallCNN
from lib.training.augment.ada import augmented
from lib.training.classifier.single_label import train_classifier
from lib.training.gan.autodecoder import train_autodecoder

pytestmark = pytest.mark.slow

PATIENTS, PAIRS = 24, 8


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Networks, classes, radiographs, and straight and PLAN walks with a patient injected in the middle of each."""
    options = {"findings": ["Effusion"], "prevalence": {"Effusion": 0.5}, "radiographs": 1.0, "splits": (1, 0, 0)}
    radiographs = chest.draw(patients=PATIENTS, image_size=16, rng=np.random.default_rng(0), **options)
    images, classes, who = radiographs.images[:], radiographs.labels[:, 0].astype(int), np.arange(PATIENTS)
    known = train_autodecoder(
        images, path=tmp_path_factory.mktemp("memorising generator"), seed=0, steps=800, batch=8, latent=12,
        maps=(16, 256), learning_rate=2e-2,
    )  # fmt: skip
    inputs, random = torch.from_numpy(images)[:, None] / 127.5 - 1, torch_generator(0, "x")
    copies = torch.cat([inputs] + [augmented(inputs, 0.2, random) for _ in range(3)])
    with initialising(0):
        networks = {"identity": SmallCNN(PATIENTS), "diagnosis": SmallCNN(2)}
    given = {"identity": (copies, np.tile(who, 4), who), "diagnosis": (inputs, classes, classes)}
    for name, (seen, labels, evaluated) in given.items():
        train_classifier(
            networks[name], images=seen, labels=labels, validation=(images, evaluated), epochs=40, batch=16,
            learning_rate=3e-3, seed=0, augment="none", select="last",
        )  # fmt: skip
    networks["synthesis"] = known.generator.synthesis
    first, last = injected_endpoints(known.latents, rows=who[:PAIRS], rng=np.random.default_rng(0))
    bent = plan(**networks, first=first, last=last, labels=classes[:PAIRS], points=18, steps=60).latents
    return networks, classes[:PAIRS], inputs, linear(first, last, points=18), bent


def test_every_pair_gets_cheaper(walked):
    """B5: 0.1 L_id + L_class falls by 30 % or more on every pair."""
    networks, labels, _, straight, bent = walked
    before, after = (path_losses(walks, labels, **networks) for walks in (straight, bent))
    cost = [0.1 * losses.identity + losses.diagnosis for losses in (before, after)]
    assert (cost[1] <= 0.7 * cost[0]).all()


def test_injected_patients_are_avoided(walked):
    """B6, B9: on all pairs but one the closest point is 1.5 times as far; the class stays."""
    networks, labels, real, straight, bent = walked
    with torch.no_grad():
        near = [
            nearest_real(
                walks=networks["synthesis"](walks.flatten(0, 1)).view(PAIRS, 18, -1), real=real.flatten(1)
            ).distances
            for walks in (bent, straight)
        ]
    closest = compare_walks(walk=near[0], baseline=near[1])
    assert (closest.ratios >= 1.5).sum() >= PAIRS - 1
    assert closest.higher == PAIRS
    assert closest.ratio >= 1.5
    kept = [evaluate(walks, labels, **networks).correct.double().mean() for walks in (bent, straight)]
    assert kept[0] >= max(0.88, kept[1])
