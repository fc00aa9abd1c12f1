"""Published case files with masks apart, and cohorts of ours."""

import h5py
import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import case_hdf5 as case_file

ID, DIS, SET = np.repeat(np.arange(4), 5), np.tile([0, 1, 0, 0, 1], 4), np.tile([0, 0, 0, 1, 2], 4)
GREY = np.random.default_rng(0).integers(0, 256, (20, 64, 64), dtype=np.uint8)
MASKS = np.zeros((20, 64, 64))
MASKS[:, 20:40, 20:40] = 255.0


def write(path, **columns):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.fixture
def published(tmp_path):
    """The two files as the published scripts leave them."""
    rows = {"id": ID, "dis": DIS, "set": SET}
    return write(tmp_path / "eyes.h5", images=GREY, **rows), write(tmp_path / "masks.h5", masks=MASKS, **rows)


def test_the_published_layout(published):
    cohort = case_file.open_cases(*published, label_names=("no glaucoma", "glaucoma"))
    np.testing.assert_array_equal(cohort.images, GREY)
    np.testing.assert_array_equal(cohort.masks, MASKS / 255)
    np.testing.assert_array_equal(cohort.patient, ID)
    np.testing.assert_array_equal(cohort.split, np.tile([0, 0, 0, 2, 1], 4))  # 1 was test
    assert (cohort.masks.dtype, cohort.closed_set, cohort.label_names[1]) == (np.uint8, True, "glaucoma")
    np.testing.assert_array_equal(case_file.open_cases(published[0], test=2).split, SET)
    assert case_file.open_cases(published[0]).masks is None


def test_what_is_opened_can_be_saved_and_opened_again_by_the_same_function(published, tmp_path):
    cohort = case_file.open_cases(*published)
    again = case_file.open_cases(cohort.save(tmp_path / "ours.h5"))
    assert again.digest == cohort.digest
    np.testing.assert_array_equal(again.split, cohort.split)  # our code is stored, and not turned round
    np.testing.assert_array_equal(again.masks, cohort.masks)


def test_grey_stored_as_colour_becomes_grey(published, tmp_path):
    path = write(tmp_path / "rgb.h5", images=np.repeat(GREY[..., None], 3, -1), id=ID, dis=DIS, set=SET)
    np.testing.assert_array_equal(case_file.open_cases(path, published[1]).images, GREY)


def changed(path, **columns):
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            del file[name]
            if values is not None:
                file[name] = values


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda i, m: changed(m, id=ID[::-1]), r"masks\.h5: id differs from that of eyes; give the masks of these"),
        (lambda i, m: changed(m, dis=DIS[:-1], id=ID), r"masks\.h5: dis differs from that of eyes"),
        (lambda i, m: changed(m, set=None), r"masks\.h5: no data set set; make the masks again, with id, dis and set"),
        (
            lambda i, m: changed(m, masks=MASKS / 2),
            r"masks hold 127\.5; make them 0 or 1 \(or the published 0 or 255\)",
        ),
        (lambda i, m: changed(m, masks=MASKS + 1), "masks hold 1; make them 0 or 1"),
        (lambda i, m: changed(m, masks=MASKS * np.nan), "masks hold nan; make them 0 or 1"),
        (lambda i, m: changed(m, masks=MASKS[:, ::2]), r"shape \(20, 32, 64\) where eyes has images of \(64, 64\)"),
        (lambda i, m: m.write_bytes(m.read_bytes()[:500]), "truncated, damaged or not HDF5; make the masks again"),
        (lambda i, m: changed(i, images=np.stack([GREY, GREY, 255 - GREY], -1)), "images are in colour, of shape"),
        (lambda i, m: changed(i, set=None), r"eyes\.h5: no data set set"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(published, spoil, sentence):
    spoil(*published)
    with pytest.raises(ValueError, match=sentence) as caught:
        case_file.open_cases(*published)
    assert "\n" not in str(caught.value)


def test_masks_of_0_to_255_in_one_of_our_files_are_read_by_the_same_rule(tmp_path):
    facts = {"name": "own", "label_names": ("a", "b"), "closed_set": True}
    path = Cohort(GREY, ID, DIS, SET, masks=(MASKS > 0).astype(np.uint8), **facts).save(tmp_path / "own.h5")
    changed(path, masks=MASKS.astype(np.uint8))
    np.testing.assert_array_equal(case_file.open_cases(path).masks, MASKS > 0)
    changed(path, masks=MASKS.astype(np.uint8) // 2)
    with pytest.raises(ValueError, match="masks hold 127; make them 0 or 1"):
        case_file.open_cases(path)


def test_a_missing_file_and_an_unknown_code_are_named(published, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file of masks"):
        case_file.open_cases(published[0], tmp_path / "none.h5")
    with pytest.raises(ValueError, match="test is 3; give 1, as the published scripts have it, or 2"):
        case_file.open_cases(published[0], test=3)
