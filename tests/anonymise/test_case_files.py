"""The released workflow on files: classifiers, anonymiser, counterfactuals, and cases out as they came in."""

import h5py
import numpy as np
import pytest

from lib.anonymise.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.own import as_given
from lib.cohorts.phantoms import iris


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Drawn irises in the two files of the published layout."""
    cases = iris.draw(patients=8, images=6, image_size=32, rng=np.random.default_rng(0))
    folder = tmp_path_factory.mktemp("cases")
    codes = np.array([0, 2, 1])[cases.split]  # the released scripts test on 1
    for name, array in (("images", cases.images), ("masks", 255 * cases.masks)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file[name] = array[:]
            file["id"], file["dis"], file["set"] = cases.patient, cases.labels, codes
    return folder, cases


def test_the_command_and_a_run_on_own_data_take_the_same_images_for_the_test(published):
    folder, cases = published
    assert command(folder, "ksame {0}/images.h5 --k 3 --out {0}/one.h5") == 0
    assert command(folder, "ksame {0}/images.h5 --k 3 --test 2 --out {0}/two.h5") == 0
    one, two = (Cohort.open(folder / f"{name}.h5").split for name in ("one", "two"))
    np.testing.assert_array_equal(one, cases.split)
    np.testing.assert_array_equal(one, as_given(folder / "images.h5").split)
    np.testing.assert_array_equal(two, np.array([0, 2, 1])[cases.split])


def command(folder, words: str) -> int:
    return main([word.format(folder) for word in words.split()])


def test_patients_whom_no_training_image_shows_are_counted(published, tmp_path, capsys):
    _, cases = published
    cases.replaced(split=np.where(cases.patient % 4 == 1, 1, 0)).save(tmp_path / "apart.h5")
    assert command(tmp_path, "known {0}/apart.h5 --task identity --out {0}/id") == 1
    assert "2 of the patients 0 to 7 have no training image" in capsys.readouterr().err


@pytest.mark.slow
def test_every_step_of_the_released_readme_runs_and_cases_come_out_as_they_came_in(published, capsys):
    folder, cases = published
    quick = "--epochs 1 --batch 16"
    masks = "{0}/images.h5 --masks {0}/masks.h5"
    assert command(folder, f"known {{0}}/images.h5 --task identity --out {{0}}/id {quick} --width 8") == 0
    assert command(folder, f"known {{0}}/images.h5 --task finding --out {{0}}/dis {quick} --width 8") == 0
    assert command(folder, f"embedding {{0}}/images.h5 --out {{0}}/siamese {quick} --width 4") == 0
    guided = f"train {masks} --finding {{0}}/dis --width 16 {quick}"
    assert command(folder, f"{guided} --method pp-mir --identity {{0}}/id --out {{0}}/mir") == 0
    assert command(folder, f"{guided} --method pp-sir --identity {{0}}/siamese --out {{0}}/sir") == 0
    opposite = f"counterfactual {masks} --weights {{0}}/mir --finding {{0}}/dis --out {{0}}/cf {quick}"
    assert command(folder, opposite) == 0
    assert command(folder, f"apply {masks} --weights {{0}}/mir --out {{0}}/anonymised.h5") == 0
    assert command(folder, f"apply {masks} --weights {{0}}/mir --counterfactual {{0}}/cf --out {{0}}/turned.h5") == 0
    made, turned = (Cohort.open(folder / f"{name}.h5") for name in ("anonymised", "turned"))
    for of in (made, turned):
        np.testing.assert_array_equal(of.patient, cases.patient)
        np.testing.assert_array_equal(of.labels, cases.labels)
        np.testing.assert_array_equal(of.split, cases.split)
        np.testing.assert_array_equal(of.masks[:], cases.masks[:])
        assert of.images.shape == cases.images.shape
    assert np.abs(made.images[:].astype(int) - cases.images[:]).mean() > 1
    assert (made.images[:] != turned.images[:]).any()
    with h5py.File(folder / "anonymised.h5") as file:
        assert {"images", "id", "dis", "set"} <= file.keys()
    capsys.readouterr()
    assert command(folder, f"apply {masks} --weights {{0}}/mir --out {{0}}/anonymised.h5") == 1  # nothing is replaced
    assert "anonymised.h5: give a new file that ends in .h5" in capsys.readouterr().err


def test_k_same_averages_people_of_one_finding(published, tmp_path):
    folder, cases = published
    assert command(folder, f"ksame {{0}}/images.h5 --k 2 --out {tmp_path}/same.h5") == 0
    made = Cohort.open(tmp_path / "same.h5")
    pixels, own = made.images[:].astype(float), cases.images[:].astype(float)
    other = 2 * pixels[0] - own[0]  # of the one that it was averaged with, but for rounding
    apart = np.abs(own - other).max(axis=(1, 2))
    nearest = int(apart.argmin())
    assert apart[nearest] <= 1
    assert cases.patient[nearest] != cases.patient[0]
    assert cases.labels[nearest] == cases.labels[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "train {0}/images.h5 --method pp-mir --finding {0}/no --identity {0}/no --out {0}/x",
            "no masks; give the file",
        ),
        (
            "train {0}/images.h5 --masks {0}/masks.h5 --method pp-mir --finding {0}/no --out {0}/x",
            "give the folder of its",
        ),
        (
            "train {0}/images.h5 --masks {0}/masks.h5 --method none --finding {0}/no --identity {0}/no --out {0}/x",
            "give no",
        ),
        (
            "train {0}/images.h5 --masks {0}/masks.h5 --method none --finding {0}/no --out {0}/x",
            "no trained classifier",
        ),
        ("apply {0}/images.h5 --masks {0}/masks.h5 --weights {0}/no --out {0}/x.h5", "no"),
        ("known {0}/none.h5 --task finding --out {0}/x", "none.h5: no such cohort"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(published, capsys, words, says):
    folder, _ = published
    before = sorted(folder.iterdir())
    assert command(folder, words) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(folder.iterdir()) == before
