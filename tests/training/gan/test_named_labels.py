"""Labels by their names: turns, one finding or none, and names that do not fit."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.training.gan.named_labels import label_columns, label_names, labels_to_draw

TWO = SimpleNamespace(name="dcgan", classes=2, findings=0)
FINDINGS = SimpleNamespace(name="progan", classes=1, findings=2)
NONE = SimpleNamespace(name="autodecoder", classes=1, findings=0)
NAMES = ["malignant", "benign"]


def test_classes_take_turns_unless_one_is_named():
    assert label_names(TWO, NAMES) == NAMES
    assert label_names(TWO) == ["0", "1"]
    assert labels_to_draw(TWO, 5, label=None, names=NAMES).tolist() == [0, 1, 0, 1, 0]
    asked = labels_to_draw(TWO, 3, label="benign", names=NAMES)
    assert asked.tolist() == [1, 1, 1]
    assert label_columns(asked, NAMES) == {"label": ["benign"] * 3}


def test_findings_take_turns_after_an_image_without_any():
    in_turn = labels_to_draw(FINDINGS, 4, label=None, names=["Edema", "Mass"])
    assert in_turn.tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    assert label_columns(in_turn, ["Edema", "Mass"]) == {"Edema": [0, 1, 0, 0], "Mass": [0, 0, 1, 0]}
    assert labels_to_draw(FINDINGS, 2, label="Mass", names=["Edema", "Mass"]).tolist() == [[0, 1], [0, 1]]


def test_a_generator_without_labels_is_asked_for_none():
    assert label_names(NONE) == []
    assert labels_to_draw(NONE, 3, label=None, names=[]) is None
    assert label_columns(None, []) == {}
    with pytest.raises(ValueError, match="unknown label 'Mass': autodecoder was trained without: give none"):
        labels_to_draw(NONE, 3, label="Mass", names=[])


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(ValueError, match="knows 2 labels, and these are a"):
        label_names(TWO, names)


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown label 'cyst': choose one of malignant, benign"):
        labels_to_draw(TWO, 3, label="cyst", names=NAMES)
    assert isinstance(labels_to_draw(TWO, 3, label="0", names=label_names(TWO)), np.ndarray)
