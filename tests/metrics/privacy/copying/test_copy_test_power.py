"""The power of the copy test: rows injected after matching, false alarms of null splits, the smallest leak seen."""

import numpy as np
import pytest

from lib.metrics.privacy.copying.copy_test import band_pass, copy_test, match
from lib.metrics.privacy.copying.copy_test_power import (
    injected_as,
    injected_matches,
    injection_power,
    pvalue_interval,
    smallest_seen,
)
from lib.statistics.proportions import proportion


def test_rows_may_be_injected_after_matching(matched, world):
    real, base, _ = matched
    images, groups, member, synthetic = world
    copies = match(real[member][:20], real, groups=groups)
    injected, at, which = injected_matches(base, copies, 15, rng=np.random.default_rng(0))
    offered = band_pass(synthetic)
    offered[at] = real[member][which]
    again = match(offered, real, groups=groups)
    np.testing.assert_array_equal(injected.nearest, again.nearest)
    np.testing.assert_allclose(injected.ratio, again.ratio, atol=1e-3)


def test_smallest_seen_and_proportion(matched, world):
    real, base, test = matched
    source = np.flatnonzero(world[2])
    copies = match(real[source], real, groups=world[1])
    options = {"shares": [0, 0.5, 1], "repeats": 5, "level": 0.05, "rng": np.random.default_rng(0)}
    power = injection_power(base, copies, source, **options, **test)
    assert smallest_seen(power) == 1 / len(base.nearest)  # a share of 0 injects one
    assert smallest_seen([p._replace(flagged=0) for p in power]) is None
    assert smallest_seen([power[0]._replace(flagged=5), power[1]._replace(flagged=2), power[2]]) == 1
    assert smallest_seen([power[0]._replace(share=0.05, copies=1, images=10), power[2]]) == 0.1
    assert [injected_as(share, 738) for share in (0.01, 0.05, 1)] == [(7, "1 %"), (37, "5 %"), (738, "100 %")]
    assert [injected_as(share, 10) for share in (0.01, 0.05, 0.2)] == [(1, "10 %"), (1, "10 %"), (2, "20 %")]
    assert proportion(0, 60)[2] == pytest.approx(1 - 0.025 ** (1 / 60))


def test_the_interval_of_a_pvalue_says_where_it_comes_from(matched, world):
    real, base, test = matched
    counted = copy_test(base, rng=np.random.default_rng(0), **test)._replace(
        pvalue=0.5, count_pvalue=0.4, tail_pvalue=0.3
    )
    value, low, high, over = pvalue_interval(counted, 199)  # 80 of 200, over the count test's part of the false alarms
    assert (value, over) == (0.5, "199 permutations")
    np.testing.assert_allclose((low, high), np.array(proportion(80, 200)[1:]) / 0.8, rtol=1e-12)
    fitted = counted._replace(pvalue=0.01, tail_pvalue=0.002)
    assert fitted.is_by_tail
    assert pvalue_interval(fitted, 199)[:3] == (0.01, 0.01, 0.01)
    assert pvalue_interval(fitted, 199)[3].startswith("the tail test")
