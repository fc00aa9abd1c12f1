"""Numbers and lists as text."""

import pytest

from lib.report.records import as_text, rounded


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((2.9e-15, 0, -1e-16), ["2.9e−15", "0", "−1.0e−16"]), ((0.002, -0.0001), ["0.0020", "−0.0001"]),
        ((0, 0), ["0.000", "0.000"]), ((0.5, 2e-15), ["0.500", "0.000"]), ((1e-4, 5e-5), ["0.00010", "0.00005"]),
    ],
)  # fmt: skip
def test_numbers_fit_their_column(values, shown):
    assert rounded(*values) == shown


def test_what_a_paper_leaves_unknown_has_its_place_in_a_list():
    assert as_text([None, 0.125, -0.159]) == "–, 0.125, −0.159"
    assert as_text(None) == ""
