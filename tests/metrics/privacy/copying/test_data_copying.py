"""C_T on sets whose copies are known."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from lib.metrics.privacy.copying.data_copying import DataCopying
from lib.statistics.bootstrap import bootstrap
from tests.metrics.privacy.toy import normal


def test_copies_lower_c_t_and_fresh_images_do_not():
    train, heldout = normal(0, 200), normal(1, 200)

    def c_t(synthetic, cells=3):
        return DataCopying(
            train=train, heldout=heldout, synthetic=synthetic, cells=cells, rng=np.random.default_rng(0)
        ).value

    fresh = [c_t(normal(seed, 200)) for seed in range(2, 22)]
    assert abs(np.mean(fresh)) < 0.8
    assert c_t(train) < -5
    assert c_t(3 * normal(3, 200), cells=1) > 5


def test_one_cell_is_the_mann_whitney_test():
    train, heldout, synthetic = normal(0, 50), normal(1, 40), normal(2, 60)
    found = DataCopying(train=train, heldout=heldout, synthetic=synthetic, cells=1, rng=np.random.default_rng(0))
    near = [np.linalg.norm(x[:, None] - train[None], axis=2).min(axis=1) for x in (synthetic, heldout)]
    u = mannwhitneyu(*near).statistic
    assert found.value == pytest.approx((u - 1200) / np.sqrt(2400 * 101 / 12))
    interval = bootstrap(found, groups=np.arange(100), draws=200, rng=np.random.default_rng(0))
    assert interval.low < found.value < interval.high
    assert interval.value == pytest.approx(found.value)


def test_a_draw_that_leaves_a_cell_empty_is_evaluated_by_the_others():
    found = DataCopying(
        train=normal(0, 90), heldout=normal(1, 60), synthetic=normal(2, 60), rng=np.random.default_rng(0)
    )
    weights = np.ones((2, 120))
    weights[1, found._parts[0][0]] = 0
    assert np.isfinite(found(weights)).all()


def test_c_t_refuses_cells_without_images():
    with pytest.raises(ValueError, match="no cell"):
        DataCopying(train=normal(0, 9), heldout=normal(1, 3), synthetic=normal(2, 9), rng=np.random.default_rng(0))


def test_c_t_of_three_cells_varies_less_than_a_z_score():
    found = [
        DataCopying(
            train=normal(3 * i, 60, 2), heldout=normal(3 * i + 1, 60, 2), synthetic=normal(3 * i + 2, 60, 2),
            rng=np.random.default_rng(i),
        ).value
        for i in range(60)
    ]  # fmt: skip
    assert 0.4 < np.std(found) < 0.8
