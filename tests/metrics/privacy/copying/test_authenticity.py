"""Authenticity is its definition: copies never have it, and noise always does."""

import numpy as np

from lib.metrics.privacy.copying.authenticity import authentic
from tests.metrics.privacy.toy import normal


def test_copies_are_never_authentic_and_noise_always_is():
    train = normal(0, 80)
    assert authentic(train=train, synthetic=train[:50]).sum() == 0
    assert authentic(train=train, synthetic=train[:50] + 1e-6).sum() == 0
    assert authentic(train=train, synthetic=100 * normal(1, 50)).all()
    assert 0.3 < authentic(train=train, synthetic=normal(2, 400)).mean() < 0.9


def test_authenticity_is_its_definition():
    train, synthetic = normal(0, 20), normal(1, 30)
    apart = np.linalg.norm(synthetic[:, None] - train[None], axis=2)
    among = np.linalg.norm(train[:, None] - train[None], axis=2) + 1e9 * np.eye(20)
    own = apart.argmin(axis=1)
    assert np.array_equal(authentic(train=train, synthetic=synthetic), apart.min(axis=1) > among[own].min(axis=1))


def test_what_is_authentic_by_chance_depends_on_the_dimension():
    share = {d: authentic(train=normal(0, 400, d), synthetic=normal(1, 400, d)).mean() for d in (1, 200)}
    assert share[1] < 0.45 < 0.6 < share[200]
