"""Measures and attacks of the comparison on sets whose truth is known, and a measure that is added by one entry."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.cohorts.cohort import Cohort
from lib.comparison import measures
from lib.comparison.attacks import ATTACKS, Attack, Candidates
from lib.comparison.compared import HELDOUT, Compared
from lib.comparison.criteria import GROUPS
from lib.comparison.dp_attackers import from_images
from lib.comparison.measures import MEASURES, Measure
from lib.comparison.registry import Registry
from lib.core.seeding import numpy_generator
from lib.features import extract
from lib.statistics.bootstrap import bootstrap
from lib.statistics.roc import auroc
from lib.statistics.weighted import WeightedRatio

SETTINGS = SimpleNamespace(bootstrap_draws=100, neighbours=3, similarity_pairs=20, cells=1)


def cohort(n: int, first: int, rng: np.random.Generator) -> Cohort:
    """n smooth random images of 16 x 16, two a patient, patients from `first` on."""
    coarse = rng.integers(0, 256, (n, 4, 4))
    images = np.clip(np.kron(coarse, np.ones((4, 4))) + rng.normal(0, 8, (n, 16, 16)), 0, 255).astype(np.uint8)
    patient, finding = first + np.arange(n) // 2, np.arange(n) // 2 % 2
    return Cohort(images, patient, finding, np.zeros(n), name="toy", label_names=("no", "yes"))


def compared(seed: int, folder=None) -> Compared:
    """Copies of the training images and images of disjoint patients, as sets."""
    rng = np.random.default_rng(seed)
    train, heldout, disjoint = (cohort(40, first, rng) for first in (0, 100, 200))
    classifier = SimpleNamespace()
    of = Compared({"copies": train, "disjoint": disjoint}, train, heldout, SETTINGS, seed, folder, classifier)
    for name in ("copies", "disjoint", HELDOUT):  # pixels stand in for the features of a network
        of.once(("learnt", name), lambda name=name: of.pixels(name).reshape(-1, 16, 16)[:, ::4, ::4].reshape(-1, 16))
    return of


def test_a_set_of_copies_is_the_worst_that_what_sees_equal_images_can_find():
    found = measures.evaluate(compared(0), "privacy")
    assert found["copies"]["distance ratio"].value == 0
    assert found["copies"]["authenticity"].value == 0
    assert found["copies"]["C_T"].value < -3
    for measure in MEASURES.of("privacy"):
        short = measure.shortfall(found["copies"][measure.name].value, ideal=found["disjoint"][measure.name].value)
        assert short > 0


def test_measures_have_their_neutral_value_where_nobody_was_copied():
    found = [measures.evaluate(compared(seed), "privacy")["disjoint"] for seed in range(9)]
    for measure in MEASURES.of("privacy"):
        if measure.neutral is not None:
            values, ends = np.array([f[measure.name].value for f in found]), [f[measure.name].bounds for f in found]
            spread = np.median([(high - low) / 4 for _, low, high in ends])
            assert abs(np.median(values) - measure.neutral) < 2 * spread


def test_the_held_out_set_is_as_good_as_itself():
    of = compared(0)
    same = Compared({"same": of.heldout}, of.train, of.heldout, SETTINGS, 0, None, SimpleNamespace())
    for name in ("same", HELDOUT):
        same.once(("learnt", name), lambda: of.learnt(HELDOUT))
        same.once(("texture", name), lambda: of.learnt(HELDOUT).astype(float))
    found = measures.evaluate(same, "fidelity", "diversity")["same"]
    assert found["Fréchet"].value == pytest.approx(0, abs=1e-6)
    assert found["FRD"].value == pytest.approx(0, abs=1e-6)
    assert [found[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]


def test_every_set_meets_the_same_resamples():
    of = compared(0)
    twice = Compared({"a": of.train, "b": of.train}, of.train, of.heldout, SETTINGS, 0, None)
    found = measures.replicates(measures.evaluate(twice, "privacy"))
    for a, b in found.values():
        assert np.array_equal(a, b)


def test_a_measure_that_needs_a_network_says_so():
    of = Compared({}, *(cohort(4, first, np.random.default_rng(0)) for first in (0, 9)), SETTINGS, 0, None)
    with pytest.raises(ValueError, match="give evaluation_classifier="):
        of.learnt(HELDOUT)
    with pytest.raises(ValueError, match="give known="):
        _ = of.tested


@pytest.fixture
def table(monkeypatch):
    """A registry of measures of its own, so that a test may add to it."""
    own = Registry("measure", GROUPS)
    for entry in MEASURES:
        own.register(entry)
    monkeypatch.setattr(measures, "MEASURES", own)
    return own


def brightness(of: Compared, name: str):
    return bootstrap(WeightedRatio(of.pixels(name).mean(axis=1)), groups=of.sets[name].patient, **of.draws("origins"))


def test_a_measure_is_added_by_one_entry(table):
    of = compared(0)
    before = [criterion.name for criterion in measures.ranked()]
    table.register(Measure(name="brightness", group="privacy", better="nearer", over="origins", evaluate=brightness))
    after = [criterion.name for criterion in measures.ranked()]
    assert [name for name in after if name != "brightness"] == before
    assert after.index("brightness") == after.index("C_T") + 1
    found = measures.evaluate(of, "privacy")
    mean = of.sets["copies"].images[:].mean() / 255
    assert found["copies"]["brightness"].value == pytest.approx(mean, rel=1e-6)
    assert measures.replicates(found)["brightness"].shape == (2, 3 + SETTINGS.bootstrap_draws)
    row = measures.frame(found).set_index("set").loc["copies"]
    assert (row["brightness"], row["brightness_low"]) == found["copies"]["brightness"].bounds[:2]
    assert isinstance(row, pd.Series)


def test_an_attack_and_a_measure_share_no_name(table):
    table.register(Measure(name="pairwise", group="privacy", better="lower", evaluate=brightness))
    with pytest.raises(ValueError, match="an attack and a measure share the name 'pairwise'"):
        measures.ranked()


def candidates(seed: int) -> tuple[Candidates, dict[str, np.ndarray]]:
    """Candidates with two further images of each patient, which an attacker holds; sets of copies and of others."""
    rng = np.random.default_rng(seed)
    people = {name: rng.integers(0, 256, (20, 4, 4)) for name in ("train", "heldout", "disjoint", "reference")}

    def seen(name, times):
        images = np.kron(np.repeat(people[name], times, axis=0), np.ones((4, 4)))
        noisy = np.clip(images + rng.normal(0, 8, images.shape), 0, 255)
        return extract("pixels", noisy.astype(np.uint8))

    first = {name: seen(name, 1) for name in people}
    known = np.concatenate([seen(name, 2) for name in ("train", "heldout")])
    patients = np.arange(40)
    of = Candidates(first["train"], first["heldout"], patients, first["reference"], known, np.repeat(patients, 2), seed)
    return of, {"copies": first["train"], "disjoint": first["disjoint"]}


def test_every_attack_detects_copies_and_does_not_flag_disjoint_patients():
    areas = {name: [] for name in ATTACKS.names}
    for seed in range(9):
        of, sets = candidates(seed)
        for attack in ATTACKS:
            scores = attack.scores(of, sets)
            assert list(scores) == list(sets)
            areas[attack.name].append([auroc(of.member, scores[name]) for name in ("copies", "disjoint")])
    for name, values in areas.items():
        copies, disjoint = np.median(values, axis=0)
        assert copies > 0.95, name
        assert abs(disjoint - ATTACKS[name].neutral) < 0.1, name
        if ATTACKS[name].copies_are_worst:
            assert copies == 1


def test_a_set_gets_the_same_scores_alone_as_among_others():
    of, sets = candidates(0)
    for attack in ATTACKS:
        together = attack.scores(of, sets)
        for name, images in sets.items():
            np.testing.assert_allclose(attack.scores(of, {name: images})[name], together[name], atol=1e-9)


def test_an_attack_is_a_privacy_criterion_whose_low_values_are_better():
    attack = Attack(name="dummy", scores=lambda candidates, sets: {})
    assert (attack.group, attack.better, attack.neutral) == ("privacy", "lower", 0.5)
    assert attack.shortfall(0.9, ideal=0.5) == pytest.approx(0.4)


def test_images_alone_find_what_was_copied():
    images = numpy_generator(0, "toy").integers(0, 256, (12, 8, 8)).astype(np.uint8)
    scores = from_images(images[:5], images)
    assert (scores[:5] == 0).all()
    assert (scores[5:] < 0).all()
