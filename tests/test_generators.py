"""Stored generators from the command line and in three lines of Python."""

import numpy as np
import pandas as pd
import pytest

from lib import generators
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import picture_files

MASSES = "mcgan-phantom"


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
        ("sample nobody --n 2", "no stored one of that name, but autodecoder-phantom, mcgan-phantom"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence_and_no_folder(tmp_path, capsys, words, says):
    assert generators.main([*words.split(), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


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


def test_anonymisers_are_not_offered_as_generators(tmp_path):
    with pytest.raises(FileNotFoundError, match="but autodecoder-phantom") as refused:
        generators.load(tmp_path / "nobody")
    assert "iris" not in str(refused.value)


def test_a_damaged_training_does_not_hide_the_others(tmp_path, monkeypatch, capsys):
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"finished": true, "settings": {"model": "dcgan"}}')):
        folder = tmp_path / "data/runs/demo-phantom" / name
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text(text)
    monkeypatch.setattr(generators, "root", lambda: tmp_path)
    assert generators.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "demo-phantom/c: trained here" in listed
    assert "demo-phantom/a: damaged" in listed
    assert "demo-phantom/b: damaged" in listed
