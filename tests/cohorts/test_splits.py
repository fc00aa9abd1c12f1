"""Splits by patient."""

import numpy as np
import pytest

from lib.cohorts import splits as closed_set


def test_every_patient_stands_in_every_split_whoever_else_is_there():
    patients = np.repeat([7, 3, 11, 20], [3, 10, 40, 5])
    codes = closed_set.split_within(patients, name="any")
    for patient, counts in {7: (1, 1, 1), 3: (7, 1, 2), 11: (28, 4, 8), 20: (3, 1, 1)}.items():
        np.testing.assert_array_equal(np.bincount(codes[patients == patient], minlength=3), counts)
    alone = closed_set.split_within(np.full(40, 11), name="any")
    np.testing.assert_array_equal(alone, codes[patients == 11])
    assert not np.array_equal(alone, closed_set.split_within(np.full(40, 11), name="other"))
    with pytest.raises(ValueError, match=r"any: 2 of 3 patients have fewer than 3 images \(1, 2\); leave them out"):
        closed_set.split_within([1, 2, 2, 5, 5, 5], name="any")
