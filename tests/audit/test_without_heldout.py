"""No held-out images: copies that stand out are flagged, and nothing else is claimed."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib.audit.assessment import THOROUGH, assess
from lib.audit.copies import GIVEN, audit, control_rows, pair_rows
from lib.audit.inputs import describe_sets, open_sets
from lib.audit.page import quality_table, write_page
from lib.cohorts.cohort import Cohort
from lib.metrics.privacy.controls.near_copies import jittered
from lib.metrics.privacy.copying.copy_test import Matches, copy_test
from tests.audit.toy import TRAIN, masses


def cohort(images, name: str) -> Cohort:
    each = np.arange(len(images))
    return Cohort(images, each, np.zeros(len(images)), np.zeros(len(images)), name=name, label_names=("image",))


def opened(synthetic, real=None, **options):
    real = masses() if real is None else real
    read = {"sizes": (32,), "audit_size": 32, "most": 1000, "rng": np.random.default_rng(0)}
    sources = {"train": cohort(real, "real"), "heldout": None, "synthetic": cohort(synthetic, "made")}
    return open_sets(**(sources | options), **read)


def test_images_that_may_have_been_trained_on_explain_no_closeness():
    """A set that is closer than the null as a whole: held-out images show that without copying; others do not."""
    rng, n, queries = np.random.default_rng(0), 200, 200
    closeness = rng.exponential(0.1, queries) + 0.3  # of −log ratio; the null has no 0.3
    nearest = rng.integers(0, n, queries)
    nearest[0], closeness[0] = 0, 1.3  # by the null 200 · exp(−13) is no chance, by the others it is nothing unusual
    found = Matches(nearest, np.ones(queries), np.zeros(queries, int), np.exp(-closeness), np.ones(n))
    sides = {"member": np.arange(n) < n / 2, "groups": np.arange(n), "null": np.exp(-rng.exponential(0.1, n))}
    tests = {is_heldout: copy_test(found, **sides, is_heldout=is_heldout, rng=rng) for is_heldout in (True, False)}
    assert tests[True].pair_pvalues[0] > 0.05
    assert tests[False].pair_pvalues[0] <= 0.05
    of_member = sides["member"][nearest]
    np.testing.assert_array_equal(tests[True].pair_pvalues[~of_member], tests[False].pair_pvalues[~of_member])


def test_copies_are_found_among_all_real_images_and_named_as_training():
    images = masses()
    copies = jittered(images[[3, TRAIN + 5]], sd=1, rng=np.random.default_rng(0))
    of = {"train": images, "synthetic": np.concatenate([copies, masses(seed=1)[:38]])}
    found = audit(of, {"train": np.arange(len(images))}, permutations=99, copies=2, rng=np.random.default_rng(0))
    assert (found.sets[GIVEN].test.pair_pvalues[:2] <= 0.05).all()
    assert found.of_training.all()
    assert 0.4 < found.test["member"].mean() < 0.6
    names = np.arange(len(images)).astype(str)
    rows = pair_rows(found, train=names, synthetic=np.arange(40).astype(str))
    assert {(row["of"], row["real image"]) for row in rows[:2]} == {("train", "3"), ("train", str(TRAIN + 5))}
    assert "negative control (half of the patients)" in {row["set"] for row in control_rows(found, level=0.05)}


@pytest.mark.slow
def test_the_verdict_says_what_it_cannot_say(tmp_path):
    quick = THOROUGH._replace(permutations=99, copies=4, shares=(0.2, 1), repeats=2, splits=5)
    sets = opened(masses(seed=1)[:40])
    found = assess(sets, quick, seed=0)
    text = " ".join(found.verdict.because)
    assert found.verdict.answer != "leak flagged"
    assert "no held-out and 40 synthetic images" in text
    assert "Without held-out images" in text
    assert "Copies of held-out images" not in text
    out = tmp_path / "report.html"
    quality = quality_table(sets, seed=0)
    assert quality.empty
    write_page(out, sets, found, quality, facts={}, level=0.05, with_images=True)
    assert not plt.get_fignums()
    assert "Fidelity and diversity" not in out.read_text(encoding="utf-8")
    pairs = pd.read_csv(out.with_suffix(".pairs.csv"))
    assert set(pairs["of"]) == {"train"}


def test_too_few_patients_for_two_halves_are_refused_and_a_dry_run_reads_two_sets():
    with pytest.raises(ValueError, match="train: 12 patients; an audit needs 20 where there are no held-out images"):
        opened(masses(seed=1)[:20], real=masses()[:12])
    sources = {"train": cohort(masses(), "real"), "heldout": "none", "synthetic": cohort(masses(seed=1), "made")}
    rows, _ = describe_sets(**sources)
    assert [row["set"] for row in rows] == ["train", "synthetic"]
    assert list(opened(masses(seed=1)[:20], heldout="none").parts) == ["train", "synthetic"]
