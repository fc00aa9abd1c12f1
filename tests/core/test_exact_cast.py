"""Columns of whole numbers: kept, or refused."""

import numpy as np
import pytest

from lib.core.exact_cast import exact_cast


@pytest.mark.parametrize(
    "given", [[0, 255], [0.0, 255.0], np.float16([0, 255]), np.uint64([0, 255]), [False, True], []]
)
def test_whole_numbers_keep_their_value_and_shape(given):
    cast = exact_cast(given, np.uint8, "set")
    assert cast.dtype == np.uint8
    np.testing.assert_array_equal(cast, given)
    assert exact_cast(np.zeros((2, 3, 0)), np.int64, "x").shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("given", "dtype", "says"),
    [
        ([1.1, 1.2, 1.3], np.int64, "1.1"),  # these were one patient
        ([1, np.nan, np.nan], np.int64, "nan"),  # and these another
        ([0.9], np.int64, "0.9"),  # this was class 0
        ([256, 257, 258], np.uint8, "256"),  # these were train, validation and test
        ([-1], np.uint8, "-1"),
        ([np.inf], np.int64, "inf"),
        ([2.0**63], np.int64, "9.2233"),
        (np.uint64([2**63]), np.int64, "9223372036854775808"),
        (np.float32([2**24 + 2]), np.int64, "1.6777218e+07"),  # float32 takes 16777217 for its neighbour
        ([2.0**53], np.int64, "9007199254740992"),
        (["1", "01"], np.int64, "<U2, first"),
        ([1, None], np.int64, "object, first 1"),
        ([1 + 0j], np.int64, "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), np.int64, "datetime64"),
        ([2**70], np.int64, "object"),
    ],
)
def test_what_would_change_is_refused_in_one_sentence(given, dtype, says):
    with pytest.raises(ValueError, match="patient holds .*; give whole numbers") as caught:
        exact_cast(given, dtype, "patient")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
