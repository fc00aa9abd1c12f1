"""Stored generators from the command line and in three lines of Python."""

import h5py
import numpy as np
import pandas as pd
import pytest

from lib import generators
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import picture_files
from lib.cohorts.public import pgan_release

MASSES, UNITS = "mcgan-phantom", "pgan-phantom"


def test_a_stored_generator_draws_what_is_asked_for_by_name(tmp_path):
    images, labels = generators.draw(MASSES, 6, label="benign", seed=3)
    assert images.shape == (6, 64, 64)
    assert labels.tolist() == [1] * 6
    out = tmp_path / "out"
    assert generators.main(f"sample {MASSES} --n 6 --label benign --seed 3 --out {out}".split()) == 0
    table = pd.read_csv(out / "labels.csv")
    assert table.label.tolist() == ["benign"] * 6
    read = np.stack([next(iter(picture_files.read(out / name))).pixels for name in table.file])
    np.testing.assert_array_equal(read, images)


def test_a_cohort_file_holds_the_same_images_with_the_names_of_their_labels(tmp_path):
    out = tmp_path / "made.h5"
    assert generators.main(f"sample {MASSES} --n 5 --seed 3 --out {out}".split()) == 0
    made = Cohort.open(out)
    assert made.label_names == ("malignant", "benign")
    assert made.labels.tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_array_equal(made.images[:], generators.draw(MASSES, 5, seed=3)[0])
    assert generators.main(f"sample {MASSES} --n 5 --seed 3 --out {out}".split()) == 1  # it is there


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (f"sample {MASSES} --n 2 --label cyst", "unknown label 'cyst': choose one of malignant, benign"),
        (f"sample {MASSES} --n 0", "n is 0: give a whole number of at least 1"),
        ("sample mcgan-published --n 2", "doi"),
        (f"sample {MASSES} --n 2 --layout pgan_release", "is the layout of a file; give one that ends in .h5"),
        ("sample nobody --n 2", "no stored one of that name, but mcgan-phantom"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_no_folder(tmp_path, capsys, words, says):
    assert generators.main([*words.split(), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_units_are_written_as_the_published_ones_are(tmp_path):
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    assert generators.main(f"sample {UNITS} --n 4 --seed 3 --out {ours}".split()) == 0
    assert generators.main(f"sample {UNITS} --n 4 --seed 3 --layout pgan_release --out {theirs}".split()) == 0
    with h5py.File(theirs) as file:  # as the authors' notebooks open it
        assert file.keys() == {"images", "regions"}
        images, regions = file["images"][:], file["regions"][:]
    assert (images.shape, images.dtype) == ((4, 9, 64, 64), np.float64)
    assert regions.tolist() == [[0.0], [1.0], [2.0], [0.0]]
    made = Cohort.open(ours)
    np.testing.assert_array_equal(np.rint((images + 1) * 127.5).astype(np.uint8), made.images[:])
    again = pgan_release.read(theirs)
    np.testing.assert_allclose(again.images[:], made.images[:] / 127.5 - 1, atol=1e-6)
    assert again.labels.tolist() == made.labels.tolist()
    assert made.label_names == pgan_release.LABELS


@pytest.mark.parametrize(("name", "says"), [(MASSES, "units of 9 slices, and these are"), (UNITS, "")])
def test_what_is_no_unit_is_not_written_as_one(tmp_path, capsys, name, says):
    out = tmp_path / "out.h5"
    assert generators.main(f"sample {name} --n 2 --layout pgan_release --out {out}".split()) == bool(says)
    assert says in capsys.readouterr().err
    assert out.exists() == (not says)


def of_masses(tmp_path, **changes):
    images = np.zeros((5, 64, 64), np.uint8)
    facts = {"name": "own", "label_names": ["malignant", "benign"]} | changes
    return Cohort(images, range(5), [1, 1, 0, 1, 0], [0, 2, 0, 0, 1], **facts).save(tmp_path / "own.h5")


def test_a_training_set_is_drawn_again_label_by_label(tmp_path):
    out = tmp_path / "again.h5"
    command = f"sample {MASSES} --labels-of {of_masses(tmp_path)} --seed 3 --out {out}"
    assert generators.main(command.split()) == 0
    made = Cohort.open(out)
    assert made.labels.tolist() == [1, 0, 1]  # of the training images alone
    assert made.label_names == ("malignant", "benign")
    drawn = generators.load(MASSES).sample(3, labels=[1, 0, 1], seed=3)
    np.testing.assert_array_equal(made.images[:], drawn)


def test_findings_of_a_cohort_are_drawn_again_by_their_numbers(tmp_path):
    rng = np.random.default_rng(0)
    images, findings = rng.integers(0, 256, (24, 8, 8), dtype=np.uint8), rng.integers(0, 2, (24, 2))
    chests = Cohort(images, range(24), findings, np.zeros(24), name="own", label_names=["edema", "mass"])
    schedule = {"total_kimg": 0.052, "level_kimg": 0.012, "fade_kimg": 0.008, "batch": 4, "latent": 8, "maps": (4, 16)}
    generators.train("progan", images, findings, path=tmp_path / "gan", seed=0, **schedule)
    out, given = tmp_path / "again.h5", chests.save(tmp_path / "own.h5")
    assert generators.main(f"sample {tmp_path / 'gan'} --labels-of {given} --out {out}".split()) == 0
    made = Cohort.open(out)
    np.testing.assert_array_equal(made.labels, findings)
    assert made.label_names == ("edema", "mass")


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({"label_names": ["benign", "malignant"]}, "", "own has the classes benign, malignant, and dcgan knows the"),
        ({"label_names": ["malignant", "benign", "none"]}, "", "knows the classes malignant, benign: give the cohort"),
        ({}, "--label benign", "leave --label out"),
    ],
)
def test_a_cohort_of_other_labels_is_refused_in_one_sentence(tmp_path, capsys, changes, more, says):
    out = tmp_path / "out.h5"
    command = f"sample {MASSES} --labels-of {of_masses(tmp_path, **changes)} --out {out} {more}"
    assert generators.main(command.split()) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_full_folder_is_refused_before_anything_is_drawn(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.txt").touch()
    monkeypatch.setattr(generators, "load", None)
    assert generators.main(["sample", MASSES, "--n", "2", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{tmp_path} is not empty: give a new folder\n"


def test_what_is_stored_is_listed_with_its_labels(capsys):
    assert generators.main(["list"]) == 0
    told = capsys.readouterr().out
    assert f"{MASSES}: 892 phantom patients" in told
    assert "labels malignant, benign" in told
