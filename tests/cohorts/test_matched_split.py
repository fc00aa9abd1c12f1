"""Patients assigned: nobody on two sides, sides that are alike, and attacks that do not flag disjoint patients."""

import numpy as np
import pytest

from lib.cohorts.matched_split import matched_split
from lib.cohorts.phantoms import chest
from lib.core.seeding import numpy_generator
from lib.metrics.privacy.attacks.density_ratio import density_ratio_attack
from lib.metrics.privacy.attacks.distance import density_attack, pairwise_attack
from lib.metrics.privacy.attacks.linkage import link
from lib.metrics.privacy.attacks.nearest_neighbour import memorisation_test
from lib.statistics.weighted import WeightedAuroc


def _people(seed, people=60, radiographs=4.0, size=8):
    """Images whose brightness is their patient's, with a view and a finding each."""
    rng = numpy_generator(seed, "test")
    count = 1 + rng.poisson(radiographs - 1, people)
    who = rng.permutation(np.repeat(np.arange(people) + 100, count))
    level = rng.normal(0, 3, people)[who - 100]
    images = level[:, None, None] + rng.normal(size=(len(who), size, size))
    return images, who, rng.integers(0, 2, len(who)), rng.integers(0, 2, people)[who - 100]


def _split(seed, **options):
    images, who, view, finding = _people(seed)
    options = {"each": 12, "validation": 20, "rng": numpy_generator(seed, "deal")} | options
    return images, who, matched_split(images, who, view=view, finding=finding, **options)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_on_two_sides_and_known_images_are_the_candidates_own(seed):
    _, who, sides = _split(seed)
    people = {name: set(who[of]) for name, of in sides._asdict().items()}
    assert len(people["train"]) == len(people["heldout"]) == 12
    for one in ("train", "heldout", "negative_control", "validation"):
        for other in ("train", "heldout", "negative_control", "validation"):
            assert one == other or not people[one] & people[other]
    rows = np.concatenate(sides)
    assert len(np.unique(rows)) == len(rows)
    assert people["known"] == people["train"] | people["heldout"]  # every candidate leaves one image at least
    for name in ("train", "heldout", "negative_control", "validation"):
        assert np.unique(who[getattr(sides, name)], return_counts=True)[1].max() <= 2
    assert len(sides.negative_control) == len(sides.train)
    assert len(sides.validation) == 20


def test_every_image_of_a_candidate_is_offered_or_known():
    _, who, sides = _split(0)
    candidates = np.isin(who, who[np.concatenate([sides.train, sides.heldout])])
    assert sorted(np.concatenate(sides[:3])) == sorted(np.flatnonzero(candidates))


def test_the_same_generator_splits_alike_whatever_the_types():
    images, who, view, finding = _people(5)
    options = {"each": 10, "validation": 9}
    first = matched_split(images, who, view=view, finding=finding, rng=numpy_generator(1, "deal"), **options)
    again = matched_split(
        images.tolist(), who.tolist(), view=view.tolist(), finding=finding, rng=numpy_generator(1, "deal"), **options
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_matched_sides_are_more_alike_than_sides_permuted_at_random():
    gaps, far = {"matched": [], "random": []}, {"matched": [], "random": []}
    for seed in range(20):
        images, who, *_ = _people(seed)
        flat = np.zeros(len(who))  # then patients are matched by their distance from the mean image alone
        rng = numpy_generator(seed, "deal")
        sides = matched_split(images, who, view=flat, finding=flat, each=12, validation=20, rng=rng)
        odd, rng = np.square(images - images.mean(axis=0)).mean(axis=(1, 2)), numpy_generator(seed, "random")
        of = {name: np.array([odd[who == i].mean() for i in set(who[rows])]) for name, rows in sides._asdict().items()}
        both = rng.permutation(np.concatenate([of["train"], of["heldout"]]))
        others = np.array([odd[who == i].mean() for i in set(who) - set(who[np.concatenate(sides[:2])])])
        gaps["matched"].append(abs(of["train"].mean() - of["heldout"].mean()))
        gaps["random"].append(abs(both[:12].mean() - both[12:].mean()))
        far["matched"].append(abs(of["negative_control"].mean() - of["heldout"].mean()))
        far["random"].append(abs(rng.permutation(others)[:12].mean() - of["heldout"].mean()))
    assert np.mean(gaps["matched"]) < 0.5 * np.mean(gaps["random"])
    assert np.mean(far["matched"]) < 0.5 * np.mean(far["random"])


@pytest.mark.parametrize("trait", ["view", "finding"])
def test_sides_and_negative_control_are_matched_by_view_and_finding(trait):
    """Half of the patients have it, in all of their images: pairs agree but for one, and so do most disjoint
    patients."""
    apart, far = [], []
    for seed in range(10):
        images, who, *_ = _people(seed, people=90)
        has = (who % 2).astype(int)
        given = {"view": np.zeros(len(who), int), "finding": np.zeros(len(who), int)} | {trait: has}
        sides = matched_split(images, who, **given, each=20, validation=10, rng=numpy_generator(seed, "deal"))
        share = [np.mean(np.unique(who[rows]) % 2) for rows in (sides.train, sides.heldout)]
        apart.append(abs(share[0] - share[1]))
        far.append(abs(has[sides.negative_control].mean() - has[sides.heldout].mean()))
    assert max(apart) <= 1 / 20 + 1e-9  # at random .16 on average
    assert np.mean(far) < 0.08


def test_dropping_surplus_images_of_negative_control_leans_towards_no_view():
    """Candidates with two images offer one, disjoint patients with many offer two: half of those are left out."""
    gap = []
    for seed in range(150):
        rng = numpy_generator(seed, "films")
        count = np.where(np.arange(40) < 20, 2, 6)
        count = rng.permuted(count)
        who = np.repeat(np.arange(40), count)
        view = np.repeat(np.arange(40) % 2, count)
        images = rng.normal(size=(len(who), 4, 4))
        sides = matched_split(images, who, view=view, finding=view, each=8, validation=0, rng=rng)
        gap.append(view[sides.negative_control].mean() - view[sides.heldout].mean())
    assert abs(np.mean(gap)) < 3.5 * np.std(gap, ddof=1) / len(gap) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"view": [0, 1]}, "rows: give as many"), ({"finding": [0.0, np.nan] * 30}, "finding holds NaN"),
        ({"each": 0}, "each is 0"), ({"most": 0}, "most 0"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_refused_in_a_sentence(changed, message):
    who = np.repeat(np.arange(30), [2] * 30)
    given = {"view": who % 2, "finding": who % 2, "each": 5, "validation": 5} | changed
    with pytest.raises(ValueError, match=message):
        matched_split(np.zeros((len(who), 4, 4)), who, **given, rng=numpy_generator(0, "deal"))


def test_negative_control_with_too_few_images_are_refused():
    who = np.append(np.repeat(np.arange(58), 3), [58, 59])  # 29 patients a side, and two disjoint patients of one image
    given = {"view": who % 2, "finding": who % 2, "each": 29, "validation": 5}
    with pytest.raises(ValueError, match="disjoint patients have 2 images and the training side 58"):
        matched_split(np.zeros((len(who), 4, 4)), who, **given, rng=numpy_generator(0, "deal"))


def test_fewer_patients_than_asked_for_are_all_permuted_out():
    images, who, view, finding = _people(0, radiographs=1.5)
    sides = matched_split(
        images, who, view=view, finding=finding, each=1000, validation=0, rng=numpy_generator(0, "deal")
    )
    several = (np.unique(who, return_counts=True)[1] > 1).sum()
    assert len(set(who[sides.train])) == len(set(who[sides.heldout])) == several // 2


@pytest.mark.parametrize("who", [[1, 2, 3, 4], [1, 1, 2, 3], [1, 1, 2, 2]])
def test_too_few_patients_are_refused(who):
    with pytest.raises(ValueError, match="patients have two images"):
        matched_split(
            np.zeros((4, 4, 4)), who, view=[0] * 4, finding=[0] * 4, each=1, validation=1, rng=numpy_generator(0, "x")
        )


@pytest.mark.slow
def test_no_attack_leans_towards_either_side_where_nobody_was_copied():
    """Over many splits of the same patients the mean AUROC of each attack on disjoint patients is .5."""
    rng, found = numpy_generator(0, "films"), []
    drawn = chest.draw(patients=120, radiographs=4.0, image_size=16, rng=rng)
    for _ in range(60):
        given = {"view": drawn.view, "finding": drawn.labels[:, 0], "each": 20, "validation": 40}
        sides = matched_split(drawn.images[:], drawn.patient, **given, rng=rng)
        pixels = {name: drawn.images[:][of].reshape(len(of), -1) / 255 for name, of in sides._asdict().items()}
        candidates = np.concatenate([pixels["train"], pixels["heldout"]])
        who = drawn.patient[np.concatenate(sides[:2])]
        member, made = np.arange(len(who)) < len(sides.train), pixels["negative_control"]
        memory = memorisation_test(
            train=pixels["train"], heldout=pixels["heldout"], synthetic=made, similarity="correlation", rng=rng, draws=2
        )
        scores = [
            pairwise_attack(candidates, made).scores,
            density_attack(candidates, made, quantile=1 / len(candidates)).scores,
            np.concatenate([memory.member, memory.nonmember]),
            density_ratio_attack(candidates, synthetic=made, reference=pixels["validation"]),
        ]
        held = {"others": (pixels["known"], drawn.patient[sides.known])}
        held["own"] = np.concatenate([candidates, pixels["known"]]), np.append(who, drawn.patient[sides.known])
        for images, owners in held.values():
            linked = link(made, known=images, people=owners)
            scores.append(linked.scores[np.searchsorted(linked.people, who)])
        found.append(WeightedAuroc(member, np.stack(scores, axis=1))(np.ones((1, len(who)), dtype=np.int64))[0])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / len(found) ** 0.5
    assert (error < 0.02).all()
    assert (np.abs(mean - 0.5) < 3.5 * error).all()
