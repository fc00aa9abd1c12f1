"""The attack on released gradients finds every member without noise, and nothing in noise alone."""

import numpy as np
import torch

from lib.training.dp import gradient_attack as tracing
from tests.training.dp.toy import radiographs, trained


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
