"""A user's cohort is opened as it is, and what its file does not say is made by the declared rules."""

import hashlib

import h5py
import numpy as np
import pytest

from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.own import digest_of, fitted, hospitals, open_own, part_of
from tests.cohorts.toy import noise


def saved(path, patients=30, each=2, images=None, **changes):
    """A cohort file: `each` images of every patient, classes in turn by patient, all in train."""
    patient = np.repeat(np.arange(patients) * 7 + 100, each)
    n = len(patient)
    columns = {"labels": np.repeat(np.arange(patients) % 2, each), "split": np.zeros(n)}
    facts = {"name": "clinic", "label_names": ("benign", "malignant"), "closed_set": True} | changes
    columns |= {name: facts.pop(name) for name in ("labels", "split") if name in facts}
    patient = facts.pop("patient", patient)
    return Cohort(noise(n, 16) if images is None else images, patient, **columns, **facts).save(path)


def plain_files(folder):
    """Twelve images and their codes of splits, in data.h5 and masks.h5 of the published layout."""
    images, split = noise(12, 16), np.tile([0, 0, 1, 2], 3)
    columns = {"id": np.repeat([5, 9, 11], 4), "dis": np.tile([0, 1], 6), "set": split}
    for name, what in (("data", {"images": images}), ("masks", {"masks": (images > 99) * np.uint8(255)})):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for key, values in (what | columns).items():
                file[key] = values
    return images, split


def splits_of(cohort):
    return [set(cohort.patient[cohort.split == code].tolist()) for code in range(3)]


def test_without_splits_patients_are_assigned_and_every_class_is_in_each(tmp_path):
    cohort = open_own(saved(tmp_path / "own.h5"))
    parts = splits_of(cohort)
    assert [len(part) for part in parts] == [20, 4, 6]  # of each kind 15: one pattern of ten, and half of another
    assert not parts[0] & parts[1] | parts[1] & parts[2] | parts[0] & parts[2]
    assert all(set(cohort.labels[cohort.split == code]) == {0, 1} for code in range(3))
    assert "no test images given: 70/10/20 % of patients assigned" in cohort.made_by
    assert sorted(set(cohort.patient)) == list(range(30))
    assert np.array_equal(cohort.split, open_own(tmp_path / "own.h5").split)


def test_a_kind_is_the_rarest_label_so_a_rare_finding_is_in_every_split(tmp_path):
    labels = np.zeros((60, 2), int)
    labels[:, 0] = 1
    labels[:6, 1] = 1  # three patients
    cohort = open_own(saved(tmp_path / "own.h5", labels=labels, label_names=("common", "rare")))
    assert [cohort.labels[cohort.split == code, 1].any() for code in range(3)] == [True] * 3


def test_given_splits_stay_and_validation_is_taken_from_train_where_there_is_none(tmp_path):
    split = np.repeat([0, 2], [40, 20])
    cohort = open_own(saved(tmp_path / "own.h5", split=split))
    assert np.array_equal(cohort.split == 2, split == 2)
    assert 0 < (cohort.split == 1).sum() <= 8
    assert "no validation images given" in cohort.made_by
    whole = np.repeat([0, 1, 2], 20)
    cohort = open_own(saved(tmp_path / "whole.h5", split=whole))
    assert np.array_equal(cohort.split, whole)
    assert cohort.made_by == ""


def test_every_patient_in_every_split_where_it_is_asked_for(tmp_path):
    patient = np.repeat(np.arange(8), [5, 5, 5, 5, 5, 5, 2, 1])
    path = saved(tmp_path / "own.h5", patients=33, each=1, images=noise(33, 16), patient=patient)
    cohort = open_own(path, within=True)
    assert len(cohort) == 30
    assert all(part == set(range(6)) for part in splits_of(cohort))
    assert "2 of 8 patients left out, who have fewer than three images" in cohort.made_by
    with pytest.raises(ValueError, match=r"few.h5: no patient has three images"):
        open_own(saved(tmp_path / "few.h5"), within=True)


def test_a_plain_file_has_the_published_codes_and_masks_of_a_second_file(tmp_path):
    images, split = plain_files(tmp_path)
    data, masks = tmp_path / "data.h5", tmp_path / "masks.h5"
    cohort = open_own(data, masks, within=True)
    assert np.array_equal(cohort.split, np.array([0, 2, 1])[split])  # published: 1 is test
    assert "set read as published, 1 for test and 2 for validation" in cohort.made_by
    assert np.array_equal(cohort.masks, images > 99)
    assert open_own(data, within=True).masks is None
    with h5py.File(masks, "a") as file:
        file["id"][:] = file["id"][:][::-1]
    with pytest.raises(ValueError, match=r"masks.h5: id differs .* give the masks of these images"):
        open_own(data, masks, within=True)


def test_a_plain_file_whose_test_images_are_coded_2_is_converted_and_then_known_as_it_is(tmp_path, capsys):
    images, split = plain_files(tmp_path)
    data, masks, out = (str(tmp_path / f"{name}.h5") for name in ("data", "masks", "cohort"))
    assert main(["convert", data, "--masks", masks, "--test", "2", "-o", out]) == 0
    assert "test" in capsys.readouterr().out
    cohort = open_own(out, within=True)
    np.testing.assert_array_equal(cohort.split, split)
    np.testing.assert_array_equal(cohort.masks, images > 99)
    np.testing.assert_array_equal(cohort.images[:], images)
    assert main(["convert", data, "-o", str(tmp_path / "published.h5")]) == 0
    np.testing.assert_array_equal(open_own(tmp_path / "published.h5", within=True).split, np.array([0, 2, 1])[split])
    capsys.readouterr()
    for words, says in (
        ([data, "--size", "8"], "leave --table and --size out"),
        ([out, "--test", "2"], "a cohort file, whose splits have names"),
        ([str(tmp_path)], "a folder needs --table and --size"),
    ):
        assert main(["convert", *words, "-o", str(tmp_path / "more.h5")]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "more.h5").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": np.tile([0, 2], 30)}, "30 patients stand in two splits; give all images of a patient one split"),
        ({"images": np.full((60, 16, 16), np.float32(2)), "value_range": (0, 1)}, "outside 0 to 1; scale them"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file(tmp_path, changes, says):
    with pytest.raises(ValueError, match=rf"own.h5: .*{says}"):
        open_own(saved(tmp_path / "own.h5", **changes))


def test_nan_is_refused_with_the_file(tmp_path):
    path = saved(tmp_path / "own.h5", images=noise(60, 16).astype(np.float32))
    with h5py.File(path, "a") as file:
        file["images"][3, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"own.h5: images holds NaN"):
        open_own(path)


def test_forms_three_equal_channels_floats_and_other_sizes(tmp_path):
    grey = noise(60, 16)
    assert np.array_equal(open_own(saved(tmp_path / "a.h5", images=np.stack([grey] * 3, 1))).images[:], grey)
    colour = np.stack([grey, grey, 255 - grey], 1)
    assert open_own(saved(tmp_path / "b.h5", images=colour)).images.shape == (60, 3, 16, 16)
    floats = open_own(saved(tmp_path / "c.h5", images=(grey / 255).astype(np.float32), value_range=(0, 1)))
    assert np.array_equal(floats.images[:], grey)
    assert floats.value_range == (0, 255)
    half = fitted(open_own(saved(tmp_path / "d.h5", images=grey)), 8)
    assert np.abs(half.images[5] - grey[5].reshape(8, 2, 8, 2).mean(axis=(1, 3))).max() <= 0.5
    wide = fitted(open_own(saved(tmp_path / "e.h5", images=np.full((60, 8, 16), 200, np.uint8))), 16)
    assert wide.images[:2].shape == (2, 16, 16)
    assert wide[wide.split == 0].subset("train").images.shape[1:] == (16, 16)


def test_masks_follow_the_size_of_their_images(tmp_path):
    masks = np.zeros((60, 16, 16), np.uint8)
    masks[:, 4:12, 4:12] = 1
    patient = np.repeat(np.arange(10), 6)
    path = saved(tmp_path / "own.h5", masks=masks, patient=patient)
    cohort = open_own(path, within=True)
    assert np.array_equal(fitted(cohort, 8).masks, masks[:, ::2, ::2])


def test_hospitals_are_sites_or_every_third_patient(tmp_path):
    sites = np.repeat([4, 8, 9], [32, 16, 12])
    cohort = open_own(saved(tmp_path / "own.h5", site=sites))
    of, rule = hospitals(cohort)
    assert np.array_equal(of == 0, sites == 4)
    assert rule == "site 4 is the first hospital, the others the second"
    cohort = open_own(saved(tmp_path / "none.h5"))
    first, second = (part_of(cohort, which) for which in ("first hospital", "second hospital"))
    assert (len(first), len(second)) == (40, 20)
    for part in (first, second):
        assert all(set(part.labels[part.split == code]) == {0, 1} for code in (0, 2))
        assert "no column site: every third patient stands for the second hospital" in part.made_by
    assert part_of(cohort, "whole") is cohort


def test_other_people_are_every_fifth_of_a_kind_and_in_no_other_part(tmp_path):
    patient = np.repeat(np.arange(20), 6)
    labels = (patient % 2) * (np.arange(120) % 3 == 0)  # ten patients have a finding in some of their images
    cohort = open_own(
        saved(tmp_path / "own.h5", images=noise(120, 8), patient=patient, labels=labels, split=np.zeros(120)),
        within=True,
    )
    most, other = (part_of(cohort, which) for which in ("most people", "other people"))
    names = [set(part.source_name) for part in (most, other)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == set(cohort.source_name)
    assert [len(np.unique(part.patient)) for part in (most, other)] == [16, 4]
    assert len(np.unique(other.patient[other.labels == 1])) == 2
    assert [sorted(set(part.patient)) for part in (most, other)] == [list(range(16)), list(range(4))]
    assert all(set(most.patient[most.split == code]) == set(range(16)) for code in range(3))
    assert "4 of 20 patients, every fifth of each kind, held out of all training" in most.made_by
    few = part_of(cohort, "most people")[most.patient < 2].replaced(labels=[0] * 12)
    with pytest.raises(ValueError, match="nobody is held out: give three patients of a kind"):
        part_of(few, "other people")


def test_a_digest_is_that_of_the_files_content_wherever_they_lie(tmp_path):
    path = saved(tmp_path / "own.h5")
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    assert digest_of(path) == digest_of(copy) == hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert digest_of(path, copy) != digest_of(path)
    with pytest.raises(FileNotFoundError, match=r"none.h5: no such file; give a cohort"):
        digest_of(tmp_path / "none.h5")


def test_the_file_is_never_written_to(tmp_path):
    path = saved(tmp_path / "own.h5")
    path.chmod(0o444)
    before = path.read_bytes()
    fitted(part_of(open_own(path), "second hospital"), 8).save(tmp_path / "made.h5")
    assert path.read_bytes() == before
