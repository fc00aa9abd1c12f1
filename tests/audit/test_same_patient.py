"""The same patient, not the same image: what the audit finds of drawn patients with several images."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import binom

from lib.audit import same_patient as module
from lib.audit.identity import VIEWS, Views, identity_features, learn_identity, mild_views
from lib.audit.same_patient import (
    CANNOT_SAY,
    FEWEST,
    FLAGGED,
    NOT_FLAGGED,
    PAIR_COLUMNS,
    Features,
    SamePatient,
    features_of,
    same_patient,
)

TRAIN, HELDOUT, EACH = 40, 40, 3
QUICK = {"level": 0.05, "permutations": 199, "repeats": 4, "splits": 40}
PATIENT = np.repeat(np.arange(TRAIN + HELDOUT), EACH)
MEMBER = PATIENT < TRAIN


def drawn(patients: int, each: int, rng: np.random.Generator) -> np.ndarray:
    """Images (patients · each, 32, 32) uint8: of each patient a smooth pattern, and in each image half another one."""
    own, other = (gaussian_filter(rng.standard_normal((n, 32, 32)), (0, 2, 2)) for n in (patients, patients * each))
    seen = np.repeat(own, each, axis=0) + 0.5 * other
    return np.clip(128 + 60 * seen / seen.std(), 0, 255).astype(np.uint8)


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """Those of PATIENT, and one of each of 60 further patients."""
    return drawn(TRAIN + HELDOUT, EACH, np.random.default_rng(0)), drawn(60, 1, np.random.default_rng(1))


@cache
def features() -> Features:
    """Of `images`; "synthetic" are the further ones."""
    return features_of(*images(), rng=np.random.default_rng(2))


def audited(
    *, real=None, shown=(), nobody: int = 60, member=MEMBER, patient=PATIENT, of: Features | None = None, **options
) -> SamePatient:
    """The test of some of the real images: `real` rows, all but the `shown` ones, which are offered before `nobody`."""
    of, shown = of or features(), np.asarray(shown, int)
    row = np.setdiff1d(np.arange(len(PATIENT)) if real is None else real, shown)
    seen = np.isin(of.views.row, row)
    views = Views(np.searchsorted(row, of.views.row[seen]), of.views.features[:, seen])
    some = Features(of.real[row], views, torch.cat([of.real[shown], of.synthetic[:nobody]]))
    names = row.astype(str), np.r_[shown.astype(str), np.full(nobody, "nobody")]
    return same_patient(
        some, patient=patient[row], member=member[row], names=names, rng=np.random.default_rng(3), **(QUICK | options)
    )


def test_images_of_nobody_are_not_flagged_and_what_would_be_seen_is_told():
    found = audited()
    assert found.answer == NOT_FLAGGED
    assert found.named > 0.8
    assert list(found.seen) == ["5 %", "10 %", "20 %"]
    assert found.seen["20 %"][0] == 1
    assert "20 % in 100 % of trials" in found.says
    assert found.alarms[1] == QUICK["splits"]
    row = found.table().iloc[0]
    assert row["found"] == "not flagged"
    assert row["20 % flagged_high"] == 1
    assert len(found.pairs) == 20
    assert tuple(found.pairs) == PAIR_COLUMNS


def test_other_images_of_training_patients_are_flagged_and_named():
    """The first image of each of twelve training patients is left out, and offered among as many of nobody."""
    found = audited(shown=np.arange(12) * EACH, nobody=12)
    assert found.answer == FLAGGED
    assert found.beyond["train"] > found.beyond["heldout"]
    assert "they show training patients" in found.says
    first = found.pairs[:8]
    shown, known = first["synthetic image"], first["nearest image of the patient"]
    right = [name != "nobody" and int(name) // EACH == int(of) // EACH for name, of in zip(shown, known, strict=True)]
    assert sum(right) >= 6
    assert (first["of"][right] == "train").all()


def test_an_embedding_that_knows_nobody_would_see_nothing():
    """Of noise: what would be seen is what is falsely flagged, in trials that do not share one division by chance."""
    flagged, trials = 0, 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = [torch.from_numpy(rng.standard_normal((n, 30))).float() for n in (len(PATIENT), 60)]
        of = Features(noise[0], Views(np.arange(0), torch.zeros(len(VIEWS), 0, 30)), noise[1])
        found = audited(of=of, repeats=40)
        assert found.named < 0.15
        assert found.answer == CANNOT_SAY
        assert "name their patient, and were 20 % of the images such ones" in found.says
        flagged += sum(round(40 * seen[0]) for seen in found.seen.values())
        trials += 40 * len(found.seen)
    assert flagged <= binom.ppf(0.999, trials, QUICK["level"])


def test_images_of_held_out_patients_are_no_leak():
    found = audited(shown=(TRAIN + np.arange(12)) * EACH)
    assert found.answer == NOT_FLAGGED
    assert found.pvalue > 0.5


def test_nobody_is_compared_by_an_embedding_that_was_learnt_on_them(monkeypatch):
    learnt, learn = [], module.learn_identity

    def watched(of, whose, views):
        learnt.append((set(whose.tolist()), views.shape[1]))
        return learn(of, whose, views)

    monkeypatch.setattr(module, "learn_identity", watched)
    parts = module.cross_fitted(features(), PATIENT, MEMBER[::EACH], np.random.default_rng(0))
    compared = [set(PATIENT[part.row].tolist()) for part in parts]
    assert compared[0] | compared[1] == set(range(TRAIN + HELDOUT))
    assert not any(own & of for own, (of, _) in zip(compared, learnt, strict=True))
    assert [views for _, views in learnt] == [EACH * len(of) for of, _ in learnt]
    assert [int(part.member.sum()) for part in parts] == pytest.approx([TRAIN / 2] * 2, abs=1)


def test_identity_is_learnt_from_second_images():
    """What differs most between the images of one patient tells nobody apart, as two of them show."""
    rng, patient = np.random.default_rng(5), np.repeat(np.arange(200), 2)
    own, passing = rng.standard_normal((200, 20))[patient], rng.standard_normal((2, 400, 20))
    of = torch.from_numpy(np.hstack([own + 0.3 * passing[0], 3 * passing[1]])).float()
    half, no_views = patient < 100, torch.zeros(len(VIEWS), 0, 40)
    learnt = learn_identity(of[half], patient[half], no_views).points(of[~half])
    named = []
    for points in (learnt, torch.nn.functional.normalize(of[~half], dim=1)):
        alike = points @ points.T - 9 * torch.eye(len(points))
        named.append((patient[~half][alike.argmax(dim=1)] == patient[~half]).mean())
    assert named[0] > 0.9
    assert named[1] < 0.5
    with pytest.raises(ValueError, match="0 patients have two images"):
        learn_identity(of[::2], patient[::2], no_views)


def test_a_patient_of_many_images_weighs_as_much_as_another():
    """The images of one patient, given five times over, hardly change the embedding."""
    rng, patient = np.random.default_rng(6), np.repeat(np.arange(30), 2)
    of = torch.from_numpy(rng.standard_normal((60, 12))).float()
    often, no_views = np.r_[np.arange(60), np.tile([0, 1], 4)], torch.zeros(len(VIEWS), 0, 12)
    once, more = (learn_identity(of[rows], patient[rows], no_views) for rows in (np.arange(60), often))
    # Not none at all: ten images that are five times two have 5/9 of the variance. Weighed by image it would be .2.
    change = (once.points(of) @ once.points(of).T - more.points(of) @ more.points(of).T).abs().max()
    assert change < 0.1


def test_mild_views_are_of_rows_that_they_name():
    some = drawn(5, 1, np.random.default_rng(0))
    views = mild_views(some, rng=np.random.default_rng(0))
    assert views.row.tolist() == [0, 1, 2, 3, 4]
    apart = (views.features[:, :, None] - identity_features(some)).norm(dim=3)
    assert (apart.argmin(dim=2) == torch.arange(5)).all()


@pytest.mark.parametrize(
    ("real", "why"),
    [
        (np.arange(0, len(PATIENT), EACH), f"fewer than {FEWEST} training patients have two images (0)"),
        (
            np.flatnonzero(~MEMBER | (PATIENT < FEWEST - 1)),
            f"fewer than {FEWEST} training patients have two images ({FEWEST - 1})",
        ),
        (np.flatnonzero(PATIENT < TRAIN + 9), "there are too few held-out patients"),
    ],
)
def test_where_it_cannot_say_it_says_why(real, why):
    found = audited(real=real)
    assert found.answer == CANNOT_SAY
    assert why in found.says
    assert found.table().iloc[0]["found"] == "cannot say"
    assert found.pvalue is None
    assert len(found.pairs) == 0


def test_sides_that_differ_as_groups_cannot_say():
    """Training images that share a pattern, by hospital say, explain that synthetic images of it lie nearer to them."""
    real, nobody = (part.astype(int) for part in images())
    stripes = (60 * np.sin(np.arange(32) / 2)).astype(int)
    real[MEMBER] += stripes
    marked = (np.clip(of, 0, 255).astype(np.uint8) for of in (real, nobody + stripes))
    found = audited(of=features_of(*marked, rng=np.random.default_rng(2)))
    assert found.answer == CANNOT_SAY
    assert "keep to their own side" in found.says


def test_a_patient_on_both_sides_is_refused():
    mixed = MEMBER.copy()
    mixed[0] = False
    with pytest.raises(ValueError, match="a patient is both training and held out"):
        audited(member=mixed)


def test_its_numbers_do_not_hang_on_how_patients_are_named():
    first, second = (audited(patient=of) for of in (PATIENT, 7 * PATIENT + 1000))
    assert first.pvalue == second.pvalue
    assert first.seen == second.seen
