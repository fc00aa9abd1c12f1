"""Authenticity, C_T, linkage and the density-ratio attack on sets whose copies are known."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from lib.metrics.privacy.attacks.density_ratio import density_ratio_attack
from lib.metrics.privacy.attacks.linkage import link
from lib.metrics.privacy.copying.authenticity import authentic
from lib.metrics.privacy.copying.data_copying import DataCopying
from lib.statistics.bootstrap import bootstrap
from lib.statistics.roc import auroc


def normal(seed, n, d=6):
    return np.random.default_rng(seed).normal(size=(n, d))


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


def test_copies_lower_c_t_and_fresh_images_do_not():
    train, heldout = normal(0, 200), normal(1, 200)

    def c_t(synthetic, cells=3):
        return DataCopying(
            train=train, heldout=heldout, synthetic=synthetic, cells=cells, rng=np.random.default_rng(0)
        ).value

    fresh = [c_t(normal(seed, 200)) for seed in range(2, 22)]
    assert abs(np.mean(fresh)) < 0.8
    assert c_t(train) < -5
    assert c_t(3 * normal(3, 200), cells=1) > 5


def test_one_cell_is_the_mann_whitney_test():
    train, heldout, synthetic = normal(0, 50), normal(1, 40), normal(2, 60)
    found = DataCopying(train=train, heldout=heldout, synthetic=synthetic, cells=1, rng=np.random.default_rng(0))
    near = [np.linalg.norm(x[:, None] - train[None], axis=2).min(axis=1) for x in (synthetic, heldout)]
    u = mannwhitneyu(*near).statistic
    assert found.value == pytest.approx((u - 1200) / np.sqrt(2400 * 101 / 12))
    interval = bootstrap(found, groups=np.arange(100), draws=200, rng=np.random.default_rng(0))
    assert interval.low < found.value < interval.high
    assert interval.value == pytest.approx(found.value)


def test_a_draw_that_leaves_a_cell_empty_is_evaluated_by_the_others():
    found = DataCopying(
        train=normal(0, 90), heldout=normal(1, 60), synthetic=normal(2, 60), rng=np.random.default_rng(0)
    )
    weights = np.ones((2, 120))
    weights[1, found._parts[0][0]] = 0
    assert np.isfinite(found(weights)).all()


def test_c_t_refuses_cells_without_images():
    with pytest.raises(ValueError, match="no cell"):
        DataCopying(train=normal(0, 9), heldout=normal(1, 3), synthetic=normal(2, 9), rng=np.random.default_rng(0))


def faces(seed, people, each, d=12):
    rng = np.random.default_rng(seed)
    own = 3 * rng.normal(size=(people, d))
    return np.repeat(own, each, axis=0) + rng.normal(size=(people * each, d)), np.repeat(np.arange(people), each)


def test_people_are_linked_by_their_other_images():
    images, who = faces(0, 30, 5)
    place = np.arange(len(who)) % 5
    known, released = place >= 2, (place < 2) & (who < 15)
    found = link(images[released], known=images[known], people=who[known])
    assert np.allclose(found.posterior.sum(axis=1), 1)
    assert (found.people[found.posterior.argmax(axis=1)] == who[released]).mean() > 0.9
    assert auroc(found.people < 15, found.scores) > 0.95
    disjoint_patients = link(faces(9, 30, 1)[0], known=images[known], people=who[known])
    assert 0.2 < auroc(disjoint_patients.people < 15, disjoint_patients.scores) < 0.8


def test_linkage_does_not_depend_on_scale_and_refuses_single_images():
    images, who = faces(1, 8, 4)
    first = link(images[:5], known=images, people=who)
    second = link(255 * images[:5], known=255 * images, people=who)
    assert np.allclose(first.posterior, second.posterior)
    with pytest.raises(ValueError, match="two images"):
        link(images[:5], known=images[::4], people=who[::4])


def test_the_density_ratio_finds_what_was_learnt_by_heart():
    train, heldout, reference = normal(0, 100, 60), normal(1, 100, 60), normal(2, 100, 60)
    labels, candidates = np.repeat([1, 0], 100), np.concatenate([train, heldout])
    assert auroc(labels, density_ratio_attack(candidates, synthetic=train, reference=reference)) > 0.99
    fresh = density_ratio_attack(candidates, synthetic=normal(3, 100, 60), reference=reference)
    assert 0.35 < auroc(labels, fresh) < 0.65
    with pytest.raises(ValueError, match="equal"):
        density_ratio_attack(candidates, synthetic=np.zeros((9, 60)), reference=np.zeros((9, 60)))
    for empty in ("synthetic", "reference"):
        with pytest.raises(ValueError, match=f"{empty} is empty"):
            density_ratio_attack(candidates, **{"synthetic": train, "reference": reference} | {empty: train[:0]})
    with pytest.raises(ValueError, match="candidates is empty"):
        density_ratio_attack(train[:0], synthetic=train, reference=reference)


def test_nothing_released_links_to_nobody():
    with pytest.raises(ValueError, match="released is empty"):
        link(normal(0, 0), known=normal(1, 4), people=[0, 0, 1, 1])


def test_what_is_authentic_by_chance_depends_on_the_dimension():
    share = {d: authentic(train=normal(0, 400, d), synthetic=normal(1, 400, d)).mean() for d in (1, 200)}
    assert share[1] < 0.45 < 0.6 < share[200]


def test_c_t_of_three_cells_varies_less_than_a_z_score():
    found = [
        DataCopying(
            train=normal(3 * i, 60, 2), heldout=normal(3 * i + 1, 60, 2), synthetic=normal(3 * i + 2, 60, 2),
            rng=np.random.default_rng(i),
        ).value
        for i in range(60)
    ]  # fmt: skip
    assert 0.4 < np.std(found) < 0.8
