import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.attacks.toys import density_toy, largest_third, pairwise_toy
from lib.metrics.privacy.membership import precision_curve
from lib.statistics.roc import auroc

ORIGINS = ("train", "validation", "test")


def area(member, nonmember):
    return auroc(np.repeat([1, 0], [len(member), len(nonmember)]), np.concatenate([member, nonmember]))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pairwise_toy_separates_as_published(seed):
    ratios = pairwise_toy(np.random.default_rng(seed))
    assert {name: values.shape for name, values in ratios.items()} == dict.fromkeys(ORIGINS, (500,))
    for name in ORIGINS[1:]:
        assert 0.96 < area(-ratios["train"], -ratios[name]) < 0.995
    scores, origin = -np.concatenate(list(ratios.values())), np.repeat(ORIGINS, 500)
    curve = precision_curve(scores, origin, as_published=True)
    printed = np.flatnonzero(curve.k == 333)[0]  # the 338 highest-ranked
    assert curve.precision["validation"][printed] == pytest.approx(1, abs=5e-3)
    assert curve.precision["test"][printed] == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("as_published", [True, False])
def test_the_density_toy_separates_as_published_but_only_the_repaired_one_is_copied(as_published):
    toy = density_toy(np.random.default_rng(0), size=700, candidates=350, as_published=as_published)
    assert toy["synthetic"].shape == (3500, 64)
    candidates = np.concatenate([toy[name] for name in ORIGINS])
    density = density_attack(candidates, toy["synthetic"], quantile=0.02, as_published=True)
    scores = dict(zip(ORIGINS, density.scores.reshape(3, -1), strict=True))
    kept = largest_third(scores)
    for name, low, high in (("validation", 0.94, 0.99), ("test", 0.975, 1)):
        assert low < area(kept["train"], kept[name]) <= high
        assert area(scores["train"], scores[name]) < area(kept["train"], kept[name])  # the selection flatters
    pairwise = pairwise_attack(candidates, toy["synthetic"])
    ratio = dict(zip(ORIGINS, pairwise.scores.reshape(3, -1), strict=True))
    nearest = np.median(pairwise.minimum[:350])
    if as_published:  # nothing is copied
        assert area(ratio["train"], ratio["validation"]) < 0.8
        assert nearest > 6
    else:
        assert area(ratio["train"], ratio["validation"]) >= 0.99
        assert nearest < 2


def test_as_published_exchanges_the_values_of_the_first_points():
    toy = density_toy(np.random.default_rng(1), size=40, candidates=30, as_published=True)
    for name, most in (("train", 0.6), ("validation", 4.1)):
        # Undo the exchange: each value of a candidate is near that of the same point in one and the same column.
        gaps = cdist(toy[name].T, toy["synthetic"][:30].T, "chebyshev")
        column = cdist(toy[name].T, toy["synthetic"][:30].T).argmin(axis=1)
        assert sorted(column) == list(range(64))
        assert np.median(gaps[np.arange(64), column]) < most


def test_a_third_of_each_origin_is_kept():
    rng = np.random.default_rng(2)
    scores = {name: rng.permutation(1000) for name in ORIGINS}
    kept = largest_third(scores)
    assert {name: len(values) for name, values in kept.items()} == {"train": 334, "validation": 333, "test": 333}
    assert kept["train"].tolist() == list(range(999, 665, -1))
    assert kept["test"].tolist() == list(range(999, 666, -1))


def test_a_seed_repeats_and_too_many_candidates_are_refused():
    for draw in (pairwise_toy, density_toy):
        first, second = draw(np.random.default_rng(3)), draw(np.random.default_rng(3))
        assert all(np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(ValueError, match="candidates is 11, but there are 10"):
        density_toy(np.random.default_rng(0), size=2, candidates=11)
