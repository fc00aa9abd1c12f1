import itertools

import numpy as np
import pytest

from lib.statistics import roc
from lib.statistics.permutation import permutation_pvalue


def population(rng, patients, images=4, effect=1.0):
    """Scores of images that a patient has in common by `effect`, and their patients."""
    scores = np.repeat(effect * rng.normal(size=patients), images) + rng.normal(size=patients * images)
    return scores, np.repeat(np.arange(patients), images)


def test_it_is_the_share_of_all_dealings_that_separate_as_well():
    rng = np.random.default_rng(0)
    scores, groups = np.round(rng.normal(size=14), 1), np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 6])
    scores[:6] += 0.5
    member = groups < 3
    reached = [
        roc.auroc(np.isin(groups, permuted), scores) >= roc.auroc(member, scores) - 1e-12
        for permuted in itertools.combinations(range(7), 3)
    ]
    found = permutation_pvalue(
        member=scores[member], nonmember=scores[~member], member_groups=groups[member],
        nonmember_groups=groups[~member], permutations=20_000, rng=rng,
    )  # fmt: skip
    assert 0.05 < np.mean(reached) < 0.5
    assert found == pytest.approx(np.mean(reached), abs=0.015)


def test_patients_in_common_are_not_mistaken_for_memory():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(150):
        scores, groups = population(rng, 20, images=8, effect=3)
        sides = {"member": scores[:80], "nonmember": scores[80:], "permutations": 99, "rng": rng}
        patients = {"member_groups": groups[:80], "nonmember_groups": groups[80:]}
        found.append([permutation_pvalue(**sides, **patients), permutation_pvalue(**sides)])
    as_patients, as_images = np.array(found).T
    assert np.mean(as_patients) == pytest.approx(0.5, abs=0.08)
    assert np.mean(as_patients <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert np.mean(as_images <= 0.1) > 0.2  # images are not independent: false alarms


def test_a_leak_is_significant_and_its_opposite_is_not():
    rng = np.random.default_rng(2)
    scores, groups = population(rng, 60)
    options = {"member_groups": groups[:120], "nonmember_groups": groups[120:], "permutations": 999, "rng": rng}
    assert permutation_pvalue(member=scores[:120] + 2, nonmember=scores[120:], **options) == 1e-3
    assert permutation_pvalue(member=scores[:120] - 2, nonmember=scores[120:], **options) == 1
    assert permutation_pvalue(member=np.ones(120), nonmember=np.ones(120), **options) == 1  # tied with every splitting


def test_any_statistic_will_do_and_a_seed_repeats_it():
    scores, groups = population(np.random.default_rng(3), 30)
    options = {"member": scores[:60], "nonmember": scores[60:], "member_groups": groups[:60]}
    options["nonmember_groups"] = groups[60:]

    def mean_gap(labels, values):
        return (labels * values[:, None]).sum(axis=0) / labels.sum(axis=0) - (~labels * values[:, None]).mean(axis=0)

    for statistic in (roc.auroc, roc.auprc, roc.tpr_at_fpr, mean_gap):
        found = [
            permutation_pvalue(**options, statistic=statistic, rng=np.random.default_rng(seed)) for seed in (4, 4, 5)
        ]
        assert found[0] == found[1]
        assert found[0] == pytest.approx(found[2], abs=0.1)


def test_blocks_make_no_difference(monkeypatch):
    scores, groups = population(np.random.default_rng(6), 20)
    options = {"member": scores[:40] + 0.3, "nonmember": scores[40:], "member_groups": groups[:40]}
    options["nonmember_groups"] = groups[40:]
    expected = permutation_pvalue(**options, rng=np.random.default_rng(7))
    monkeypatch.setattr("lib.statistics.permutation._CELLS", 900)
    assert permutation_pvalue(**options, rng=np.random.default_rng(7)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"member_groups": [0, 0, 1], "nonmember_groups": [1, 2]}, "a patient is both member and nonmember"),
        ({"member_groups": [0, 0]}, "member_groups has shape"),
        ({"member": [0, np.nan, 1]}, "member holds 1 NaN"),
        ({"nonmember": []}, "nonmember has shape"),
        ({"permutations": 0}, "permutations is 0"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        permutation_pvalue(**{"member": [1, 2, 3], "nonmember": [1, 2], "rng": np.random.default_rng(0)} | options)
