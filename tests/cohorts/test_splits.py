"""Splits by patient."""

import numpy as np
import pytest

from lib.cohorts import splits as closed_set
from lib.core.seeding import numpy_generator


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


def test_assigned_anew_the_test_patients_and_the_numbers_of_patients_stay():
    rng = numpy_generator(0, "splits")
    patients = rng.permutation(np.repeat(np.arange(100), rng.integers(1, 5, 100)))
    codes = np.array([0] * 60 + [1] * 15 + [2] * 25, np.uint8)[patients]
    anew = [closed_set.split_anew(patients, codes, rng=rng) for _ in range(30)]
    for split in anew:
        assert [len(np.unique(patients[split == code])) for code in range(3)] == [60, 15, 25]
        np.testing.assert_array_equal(split == 2, codes == 2)
    assert len({split.tobytes() for split in anew}) == 30
    often = np.mean([[(split[patients == p] == 1).all() for p in range(75)] for split in anew], axis=0)
    assert often.mean() == pytest.approx(15 / 75)
    assert often.max() < 0.7
    with pytest.raises(ValueError, match="in two splits"):
        closed_set.split_anew([1, 1], [0, 1], rng=rng)


def test_within_patients_the_test_images_and_the_numbers_of_each_patient_stay():
    rng = numpy_generator(0, "splits")
    patients = rng.permutation(np.repeat([4, 9, 11], [5, 10, 40]))
    codes = closed_set.split_within(patients, name="any")
    anew = [closed_set.split_anew_within(patients, codes, rng=rng) for _ in range(200)]
    for split in anew:
        np.testing.assert_array_equal(split == 2, codes == 2)
        for patient in (4, 9, 11):
            np.testing.assert_array_equal(
                np.bincount(split[patients == patient]), np.bincount(codes[patients == patient])
            )
    often = np.mean([split == 1 for split in anew], axis=0)
    for patient in (4, 9, 11):
        free = (patients == patient) & (codes != 2)
        np.testing.assert_allclose(often[free], (codes[free] == 1).mean(), atol=0.12)
