"""Entries by name: what is unknown or stands twice is refused, and no order of registration decides anything."""

from itertools import permutations

import pytest

from lib.comparison.attacks import ATTACKS
from lib.comparison.dp_attackers import DP_ATTACKERS, SEEN, DpAttacker
from lib.comparison.measures import MEASURES, ranked
from lib.comparison.methods import METHODS
from lib.comparison.registry import Registry


def attacker(name, group):
    return DpAttacker(name, group, scores=lambda training, radiographs: radiographs)


def test_unknown_names_and_groups_are_refused():
    table = Registry("attacker", SEEN)
    entry = table.register(attacker("a", "images"))
    assert table["a"] is entry
    assert table.of("images") == (entry,)
    assert table.of("network") == ()
    with pytest.raises(ValueError, match="unknown attacker 'b': choose one of a"):
        table["b"]
    with pytest.raises(ValueError, match="unknown attacker group 'pictures': choose one of gradients, network, images"):
        table.of("pictures")
    with pytest.raises(ValueError, match="unknown attacker group 'pictures'"):
        table.register(attacker("b", "pictures"))
    assert table.names == ("a",)


@pytest.mark.parametrize("table", [METHODS, ATTACKS, MEASURES, DP_ATTACKERS], ids=lambda table: table.kind)
def test_a_second_entry_of_one_name_is_refused(table):
    before = table.names
    for entry in table:
        with pytest.raises(ValueError, match="already"):
            table.register(entry)
    assert table.names == before
    assert len(set(before)) == len(before) == len(table)


def test_entries_of_a_group_stand_together_whatever_the_order_of_registration():
    entries = [attacker("g", "gradients"), attacker("n", "network"), attacker("i", "images")]
    for order in permutations(entries):
        table = Registry("attacker", SEEN)
        for entry in order:
            table.register(entry)
        assert table.names == ("g", "n", "i")
        table.register(attacker("last", "gradients"))
        assert table.names == ("g", "last", "n", "i")


def test_every_criterion_that_counts_has_a_name_of_its_own():
    names = [criterion.name for criterion in ranked()]
    assert len(set(names)) == len(names)
    assert set(ATTACKS.names) < set(names)
    assert "attack on the classifier" not in names  # shown in its table, and counts for nothing
