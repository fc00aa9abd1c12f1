"""What an audit once passed over: each must be flagged, or make the answer "cannot tell"."""

import numpy as np
import pytest

from lib.audit.copies import GIVEN, audit
from lib.audit.matching import matches, search
from lib.audit.near_doubles import find_doubles, merge_doubles
from lib.metrics.privacy.controls.near_copies import jittered
from lib.metrics.privacy.copying.copy_test import Matches, copy_test
from tests.audit.toy import HELDOUT, TRAIN, beside, copy_test_options, masses, null_set, searched, usual


def _found(images: np.ndarray) -> Matches:
    gallery, _ = searched()
    return matches(search(gallery, images), gallery.patient, usual=usual())


@pytest.mark.parametrize("share", [0.05, 1])
def test_copies_of_training_and_held_out_images_alike_are_flagged(share):
    """Held-out not held out: the closest matches name training images no more often than by chance."""
    count = round(share * 60)
    source = np.linspace(0, TRAIN + HELDOUT - 1, count).astype(int)
    copies = _found(jittered(masses()[source], sd=1, rng=np.random.default_rng(0)))
    found = beside(null_set(), copies)
    test = copy_test(found, **copy_test_options(), rng=np.random.default_rng(0))
    assert test.pvalue <= 0.05
    is_held = found.nearest[:count] >= TRAIN
    assert (test.pair_pvalues[:count][is_held] <= 0.05).mean() > 0.5
    assert (test.pair_pvalues[count:] > 0.05).all()


def test_a_set_that_copies_nobody_is_not_flagged():
    test = copy_test(null_set(), **copy_test_options(), rng=np.random.default_rng(0))
    assert test.pvalue > 0.05
    assert (test.pair_pvalues > 0.05).all()


def test_near_doubles_are_found_merged_and_left_out_of_the_null():
    """With doubles in the null no copy is its outlier; without them it is."""
    images, rng = masses(), np.random.default_rng(0)
    doubled = np.concatenate([images[:TRAIN], jittered(images[:4], sd=1, rng=rng), images[TRAIN:]])
    of = {"train": doubled[: TRAIN + 4], "heldout": images[TRAIN:]}
    of["synthetic"] = np.concatenate([jittered(images[10:12], sd=1, rng=rng), masses(seed=1)[:38]])
    who = {"train": np.arange(TRAIN + 4), "heldout": np.arange(100, 100 + HELDOUT)}
    found = audit(of, who, permutations=99, copies=2, rng=rng)
    assert found.doubles.pairs.tolist() == [[k, TRAIN + k] for k in range(4)]
    assert np.setdiff1d(np.arange(84), found.row).tolist() == [TRAIN + k for k in range(4)]
    assert found.null.ratio.min() > 0.3
    test = found.sets[GIVEN].test
    assert test.pvalue <= 0.05
    assert (test.pair_pvalues[:2] <= 0.05).all()


def test_doubles_across_the_sets_leave_the_held_out_patient_out():
    pairs = np.array([[0, 1], [2, 5], [6, 7]])
    member = np.arange(9) < 4
    patient = np.array([0, 1, 2, 3, 4, 5, 5, 6, 7])
    found = merge_doubles(pairs, member=member, patient=patient)
    # 0 and 1 are one training image. 5 is one of training: its patient, of 6 too, was trained on; 7 is the double of 6.
    assert found.kept.tolist() == [True, False, True, True, True, False, False, False, True]
    assert found.trained_on.tolist() == [5, 6, 7]
    assert found.patient[0] == found.patient[1]
    assert len(set(found.patient)) == 6


def test_nothing_is_a_double_among_different_images():
    _, real = searched()
    assert find_doubles(real).shape == (0, 2)


def test_too_few_held_out_patients_without_doubles_are_refused():
    images, rng = masses(), np.random.default_rng(0)
    held = jittered(images[:12], sd=1, rng=rng)
    of = {"train": images[:20], "heldout": held, "synthetic": masses(seed=1)[:10]}
    who = {"train": np.arange(20), "heldout": np.arange(100, 112)}
    with pytest.raises(ValueError, match="12 of 12 held-out images are of patients with a near-double"):
        audit(of, who, permutations=99, copies=2, rng=rng)
