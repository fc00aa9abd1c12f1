"""How much a notebook releases: of every class its share, whole of a user's own."""

import numpy as np
import pytest

from lib.audit.assessment import THOROUGH
from lib.cohorts.cohort import Cohort
from lib.release.extent import extent, some_of


def made(labels: np.ndarray) -> Cohort:
    names = "abc"[: labels.shape[1]] if labels.ndim == 2 else "abc"
    each = np.arange(len(labels))
    images = np.zeros((len(labels), 4, 4), np.uint8) + (each % 256).astype(np.uint8)[:, None, None]
    return Cohort(images, each, labels, np.zeros(len(labels)), name="made", label_names=list(names))


def test_every_class_has_its_share_and_no_image_comes_twice():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    some = some_of(made(labels), 20, seed=3)
    assert np.bincount(some.labels).tolist() == [12, 6, 2]
    assert np.all(np.diff(some.patient) > 0)  # each once, in their order
    np.testing.assert_array_equal(some.labels, labels[some.patient])
    np.testing.assert_array_equal(some.images[:, 0, 0], some.patient)


def test_what_rounding_leaves_is_drawn_of_the_others():
    findings = np.random.default_rng(0).integers(0, 2, (101, 3))
    some = some_of(made(findings), 50, seed=0)
    assert len(some) == 50
    np.testing.assert_array_equal(some.labels, findings[some.patient])
    assert not np.array_equal(some.patient, some_of(made(findings), 50, seed=1).patient)


@pytest.mark.parametrize("most", [None, 7, 8])
def test_all_there_is_stays_as_it_is(most):
    whole = made(np.array([0, 1, 2, 0, 1, 2, 0]))
    assert some_of(whole, most, seed=0) is whole


def test_a_users_own_release_is_whole_at_every_scale_but_smoke():
    for scale in ("demo", "study", "paper"):
        assert extent(scale, is_own=True) == (None, None, THOROUGH)
    assert extent("study") == extent("paper") == (None, None, THOROUGH)
    assert extent("smoke", is_own=True) == extent("smoke")
    assert extent("demo").images == 200
