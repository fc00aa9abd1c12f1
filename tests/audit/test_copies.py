"""The whole audit and its tables, of drawn masses and of ten images a set."""

import numpy as np
import pandas as pd

from lib.audit.copies import (
    GIVEN,
    NEGATIVE_CONTROL,
    PAIR_COLUMNS,
    POSITIVE_CONTROL,
    audit,
    control_rows,
    disguise_rows,
    pair_pictures,
    pair_rows,
)
from lib.metrics.privacy.controls.near_copies import KINDS
from lib.metrics.privacy.copying.copy_test_power import (
    injection_power,
)
from tests.metrics.privacy.copying.toy import SIDE, masses


def test_the_whole_audit_and_its_tables():
    images, groups, member, synthetic = masses()
    of = {"train": images[member], "heldout": images[~member], "synthetic": synthetic}
    who = {"train": groups[member], "heldout": groups[~member]}
    found = audit(of, who, shares=(0.05, 0.2, 1), permutations=99, draws=50, rng=np.random.default_rng(0))
    assert list(found.sets) == [GIVEN, "5 % injected", "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL]
    rows = {row["set"]: row for row in control_rows(found, level=0.05)}
    assert [rows[name]["flagged"] for name in (GIVEN, "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL)] == [
        "no",
        "yes",
        "yes",
        "no",
    ]
    assert rows[POSITIVE_CONTROL]["AUROC"] > 0.95
    assert rows[POSITIVE_CONTROL]["source named"] > 0.95
    keys = {"train": np.arange(member.sum()).astype(str), "synthetic": np.arange(len(synthetic)).astype(str)}
    pairs = pair_rows(found, **keys, most=5)
    assert [row["rank"] for row in pairs] == [1, 2, 3, 4, 5]
    assert tuple(pairs[0]) == PAIR_COLUMNS
    shown = pair_pictures(found, GIVEN, synthetic, of["train"], most=5)
    assert len({title for title, _ in shown}) == 5
    for row, (title, pictures) in zip(pairs, shown, strict=True):
        assert title.startswith(f"{GIVEN}, rank {row['rank']}: ratio {row['ratio']:.2f}")
        np.testing.assert_array_equal(pictures[0], of["train"][int(row["training image"])])
    rows, copies = disguise_rows(found, of["train"], np.arange(20), share=0.2, repeats=2, level=0.05)
    assert [row["disguise"] for row in rows] == list(copies) == list(KINDS)
    assert rows[0]["20 % flagged"] == 1
    assert rows[0]["median ratio"] < 1e-3


def test_ten_images_of_each_set_are_audited():
    of = np.random.default_rng(0)
    images = {
        name: of.integers(0, 256, (10, SIDE, SIDE)).astype(np.uint8) for name in ("train", "heldout", "synthetic")
    }
    groups = {"train": np.arange(10), "heldout": np.arange(10, 20)}
    found = audit(images, groups, shares=(0.01, 0.05, 0.2, 1), permutations=99, draws=50, rng=of)
    assert found.sets[GIVEN].test.pvalue > 0.05
    assert found.sets[POSITIVE_CONTROL].test.pvalue <= 0.05
    assert found.by_share == {
        0.01: "10 % injected",
        0.05: "10 % injected",
        0.2: "20 % injected",
        1: POSITIVE_CONTROL,
    }
    assert list(found.sets) == [GIVEN, "10 % injected", "20 % injected", POSITIVE_CONTROL, NEGATIVE_CONTROL]
    rows, _ = disguise_rows(found, images["train"], np.arange(10), share=0.05, repeats=2, level=0.05)
    assert {"10 % flagged", "10 % ranked first"} <= set(rows[0])


def test_held_out_images_offered_as_synthetic_leave_no_pair_to_show():
    of = np.random.default_rng(0)
    images = {name: of.integers(0, 256, (12, SIDE, SIDE)).astype(np.uint8) for name in ("train", "heldout")}
    images["synthetic"] = images["heldout"]
    groups = {"train": np.arange(12), "heldout": np.arange(12, 24)}
    found = audit(images, groups, shares=(0.05, 1), permutations=99, draws=50, rng=of)
    rows = pair_rows(found, train=np.arange(12), synthetic=np.arange(12), most=20)
    assert rows == []
    assert pd.DataFrame(rows, columns=PAIR_COLUMNS).shape == (0, 7)
    (title, pictures), *more = pair_pictures(found, GIVEN, images["synthetic"], images["train"], most=3)
    assert (title, more) == ("as given: no synthetic image resembles a training image most", [])
    assert pictures.shape == (3, SIDE, SIDE)
    assert np.isnan(pictures).all()
    assert (
        len(
            pair_pictures(
                found,
                POSITIVE_CONTROL,
                found.sets[POSITIVE_CONTROL].injected.images,
                images["train"],
                most=3,
            )
        )
        == 3
    )
    # Copies that resemble held-out images most are nowhere among the closest pairs: 0, not the mean of nothing.
    base = found.sets[GIVEN].matches
    for copies, first in ((base, 0), (found.sets[POSITIVE_CONTROL].matches, 1)):
        options = {"shares": [0.25], "repeats": 2, "level": 0.05}
        (power,) = injection_power(base, copies, np.arange(12), **options, **found.test)
        assert power.first.tolist() == [first] * 2
