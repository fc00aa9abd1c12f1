"""The audit's tables and its power, of drawn masses."""

import numpy as np
import pytest

from lib.audit.copies import (
    GIVEN,
    NEGATIVE_CONTROL,
    PAIR_COLUMNS,
    POSITIVE_CONTROL,
    audit,
    closest_of_each,
    control_rows,
    pair_rows,
    pooled,
)
from lib.audit.disguises import DECLARED
from lib.audit.pictures import laid_upon
from lib.audit.power import disguise_rows, null_flags, would_be_seen
from lib.audit.symmetries import NAMES
from tests.audit.toy import masses

COPIED = 6  # of the 20 synthetic images, turned by 90°


@pytest.fixture(scope="module")
def leaking():
    """An audit of 40 training, 20 held-out and 20 synthetic images, of which six are turned copies."""
    images, rng = masses(), np.random.default_rng(0)
    of = {"train": images[:40], "heldout": images[40:60]}
    of["synthetic"] = np.concatenate([np.rot90(images[:COPIED], 1, (1, 2)), masses(seed=1)[: 20 - COPIED]])
    who = {"train": np.arange(40), "heldout": np.arange(40, 60)}
    return of, audit(of, who, permutations=99, copies=4, rng=rng)


@pytest.mark.slow
def test_controls_and_pairs_are_told(leaking):
    of, found = leaking
    rows = {row["set"]: row for row in control_rows(found, level=0.05)}
    assert list(rows) == [GIVEN, POSITIVE_CONTROL, NEGATIVE_CONTROL]
    assert [row["flagged"] for row in rows.values()] == ["yes", "yes", "no"]
    assert rows[POSITIVE_CONTROL]["images"] == 4 * len(DECLARED)
    names = {name: np.array([f"{name} {k}" for k in range(len(part))]) for name, part in of.items()}
    pairs = pair_rows(found, **names)
    assert len(pairs) == 20
    assert tuple(pairs[0]) == PAIR_COLUMNS
    closest = pairs[:COPIED]
    assert {row["real image"] for row in closest} == {f"train {k}" for k in range(COPIED)}
    assert all(row["real image"][6:] == row["synthetic image"][10:] for row in closest)
    assert {row["placed"] for row in closest} == {"turned 90° clockwise"}


@pytest.mark.slow
def test_a_leak_does_not_inflate_the_power_that_is_stated(leaking):
    """What is injected into copies nobody: without any injected copy nothing would be flagged."""
    _, found = leaking
    unlike = found.null._replace(ratio=np.ones(len(found.null.ratio)))
    (one,) = would_be_seen(found, unlike, np.arange(len(found.null.ratio)), shares=[0.0], repeats=20, level=0.05)
    assert one.flagged <= 4
    mixed = pooled(found.copies)
    (all_of_them,) = would_be_seen(
        found, mixed, np.tile(found.copied, len(DECLARED)), shares=[1], repeats=5, level=0.05
    )
    assert all_of_them.flagged == 5
    every = np.concatenate([masses()[:60]])
    options = {"names": ["negative", "letterbox 5:6"], "shares": (0.0, 0.2), "repeats": 5, "level": 0.05}
    rows = disguise_rows(found, every, **options)
    assert [row["disguise"] for row in rows] == options["names"]
    assert rows[0]["20 % flagged"] == 1
    assert rows[0]["20 % ranked first"] == 1
    assert null_flags(found.real, found.gallery.patient, splits=20, level=0.05, rng=np.random.default_rng(0)) <= 4


def test_patients_are_counted_not_images():
    ratio = np.array([0.9, 0.2, 0.8, 0.7, 0.95])
    assert closest_of_each(ratio, np.array([0, 0, 0, 2, 1])).tolist() == [0.2, 0.95, 0.7]


def test_a_picture_is_laid_back_upon_its_source():
    image = masses()[0].astype(np.float32)
    turned = np.rot90(image).copy() * 0.5 + 10
    as_it_is = np.eye(2, 3, dtype=np.float32)
    back = laid_upon(image, turned, as_it_is, NAMES.index("turned 90° clockwise"))
    np.testing.assert_allclose(back, image, atol=0.6)
