"""A rank that is alone writes."""

from lib.core import distributed as ranks


def test_alone_a_rank_writes(monkeypatch):
    monkeypatch.setattr(ranks, "_world", 2)
    monkeypatch.setattr(ranks, "_rank", 1)
    assert (ranks.world(), ranks.is_writer()) == (2, False)
    with ranks.no_sync():
        assert (ranks.world(), ranks.is_writer(), ranks.rank()) == (1, True, 1)
        assert ranks.broadcast({"a": [1]}) == {"a": [1]}
        ranks.barrier()
    assert not ranks.is_writer()
