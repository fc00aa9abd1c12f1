"""Portions cover the batch."""

import pytest

from lib.core import distributed as ranks
from lib.training.loop import data_parallel as parallel


@pytest.mark.parametrize(("n", "world"), [(8, 2), (7, 3), (5, 4), (2, 4)])
def test_portions_cover_the_batch(monkeypatch, n, world):
    monkeypatch.setattr(ranks, "_world", world)
    rows, shares = [], []
    for rank in range(world):
        monkeypatch.setattr(ranks, "_rank", rank)
        own, share = parallel.portion(n)
        rows += range(n)[own]
        shares.append(share)
    assert sum(shares) == pytest.approx(1)
    assert sorted(rows) == (list(range(n)) if n >= world else sorted(list(range(n)) * world))
