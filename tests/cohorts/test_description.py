"""What a description of a cohort counts."""

import numpy as np
import pytest

from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.description import describe
from tests.cohorts.toy import noise


def made(**columns) -> Cohort:
    images = noise(6, 16)
    images[4] = images[0]  # another patient, another split
    images[1] = images[0]  # the same patient
    of = {"patient": [1, 1, 2, 3, 4, 4], "labels": [0, 0, 1, 1, 0, 1], "split": [0, 0, 0, 1, 2, 2]} | columns
    return Cohort(images, **of, name="toy", label_names=("mass", "none"))


def test_counts_of_splits_labels_patients_and_doubles():
    told = dict(describe(made()))
    assert told["images"] == "6 of 16×16 pixels, uint8"
    assert told["patients"] == "4, with 1 to 2 images"
    assert told["split train"] == "3 images of 2 patients"
    assert told["class mass"] == "train 2, validation 0, test 1"
    assert told["class none"] == "train 1, validation 1, test 1"
    says = "2 images equal an earlier one, 1 of them one of another patient, 1 one in another split"
    assert told["doubles"] == says


def test_findings_may_be_several_and_a_split_empty():
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0], [1, 0], [0, 0]])
    told = dict(describe(made(labels=labels, split=np.zeros(6, int), region=np.arange(6))))
    assert told["finding mass"] == "train 2"
    assert told["finding none"] == "train 2"
    assert told["split test"] == "empty"
    assert told["columns"] == "region"


def test_a_label_that_is_named_by_its_kind_is_named_once():
    toy = made()
    toy = Cohort(toy.images, toy.patient, toy.labels, toy.split, name="toy", label_names=("class 0", "classic"))
    assert [what for what, _ in describe(toy) if "class" in what] == ["class 0", "class classic"]


def test_the_command_says_what_is_wrong_with_a_file(tmp_path, capsys):
    assert main(["describe", str(made().save(tmp_path / "toy.h5"))]) == 0
    assert "doubles           2 images equal" in capsys.readouterr().out
    floats = made().with_images(noise(6, 16).astype(np.float32))
    floats.images[3, 0, 0] = np.nan
    floats.save(tmp_path / "nan.h5")
    assert main(["describe", str(tmp_path / "nan.h5")]) == 1
    assert "NaN" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["describe"])
