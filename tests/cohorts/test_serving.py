"""What a cohort lacks for a paper, from the needs that paper.yaml declares: each said in one sentence with its mend."""

import re

import h5py
import numpy as np
import pytest
import yaml

from lib.cohorts.__main__ import main
from lib.cohorts.needs import Needs
from lib.cohorts.own import open_own
from lib.cohorts.serving import lacking, meeting, own_needs, require_serving, table_of_papers
from tests.cohorts.test_own import saved
from tests.cohorts.toy import noise

TWO = {"labels": "two classes", "parts": {"a": "first hospital", "b": "other hospital"}, "finding": "finding"}
SETTINGS = {"side": 8, "finding": "mass", "bootstrap_draws": 0}


def needs(**changes) -> Needs:
    return Needs(**({"size": "side", "patients": 10} | TWO | changes))


def lacks(tmp_path, of=None, within=False, **changes):
    return lacking(open_own(saved(tmp_path / "own.h5", **changes), within=within), of or needs(), SETTINGS)


def test_a_cohort_that_has_all_lacks_nothing_and_is_made_ready(tmp_path):
    path = saved(tmp_path / "own.h5")
    assert lacks(tmp_path) == []
    a, b = (meeting(open_own(path), needs(), SETTINGS, part) for part in "ab")
    assert a.images.shape[1:] == (8, 8)
    assert (len(a), len(b)) == (40, 20)
    with pytest.raises(ValueError, match="no part of one's own cohort stands for 'c': choose one of a, b"):
        meeting(open_own(path), needs(), SETTINGS, "c")


FINDINGS = {"labels": np.tile([[0, 1], [1, 0]], (30, 1)), "label_names": ("mass", "clip")}
IN_CLASSES = np.repeat([0, 1, 2], 20)


@pytest.mark.parametrize(
    ("changes", "of", "says"),
    [
        ({"labels": np.zeros(60)}, {}, "two classes: all images are 'benign'; add images of another class"),
        ({"labels": IN_CLASSES, "label_names": "abc"}, {}, "two classes: there are 3, a, b, c; convert with 2 of them"),
        ({"labels": IN_CLASSES, "label_names": "abc"}, {"labels": "three regions"}, ""),
        ({}, {"labels": "three regions"}, "three regions: there are 2, benign, malignant; convert with 3 of them"),
        ({}, {"labels": "findings"}, "findings, each 0 or 1: these are classes; convert two columns of labels or more"),
        (FINDINGS, {}, ""),
        (FINDINGS, {"finding": ""}, "one finding, or two classes: there are mass, clip; convert with --labels"),
        (FINDINGS, {"labels": "findings"}, ""),
        ({}, {"patients": 31}, "31 patients at least: there are 30; give more"),
        ({"patients": 2, "images": noise(4, 16)}, {}, "10 patients at least: there are 2; give more"),
        ({}, {"images": 48}, "48 images of the first hospital to train on, and as many others: there are"),
        ({"images": np.stack([noise(60, 16)] * 2, 1)}, {}, "grey images: these are of 2 slices; convert them to grey"),
        ({}, {"slices": 9}, "volumes of 9 slices: these are grey"),
        ({"images": noise(60, 4)}, {}, "8×8 pixels: these have 4×4; give larger ones, or --set side=…"),
        ({}, {"masks": True}, "masks of the evidence: give --masks"),
        ({"modality": "CR"}, {"masks": True}, ""),
        ({"split": np.repeat([0, 1, 2], 20), "labels": np.repeat([0, 1, 0, 1], [10, 10, 20, 20])}, {},
         "validation images of the first hospital with malignant: there are none; give more patients, or another"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_with_its_mend(tmp_path, changes, of, says):
    found = lacks(tmp_path, needs(**of), **changes)
    assert (says in found[0]) if says else found == []


def test_a_class_that_a_resample_of_the_test_patients_may_miss_is_found(tmp_path):
    cohort = open_own(saved(tmp_path / "own.h5"))  # of the first hospital 2 of 4 test patients have each class
    (says,) = lacking(cohort, needs(), SETTINGS | {"bootstrap_draws": 1000})
    found = re.search(r"of the test patients, and not \w+, in 2 of 4 test patients .*; (\d) would do", says)
    assert found
    assert 1000 * (1 - int(found[1]) / 4) ** 4 <= 0.01 < 1000 * (1 - (int(found[1]) - 1) / 4) ** 4
    many = saved(tmp_path / "many.h5", patients=600, images=noise(1200, 8))
    assert lacking(open_own(many), needs(), SETTINGS | {"bootstrap_draws": 1000}) == []


def test_a_number_of_positives_that_a_finding_reaches_is_named_and_serves(tmp_path):
    of = needs(labels="findings", positives="least")
    labels = np.tile([[0, 1], [0, 1], [1, 1]], (20, 1))
    cohort = open_own(saved(tmp_path / "own.h5", each=1, patients=60, labels=labels, label_names=("mass", "clip")))
    (says,) = lacking(cohort, of, SETTINGS | {"least": 30})
    most = int(re.search(r"in each hospital: give more images, or --set least=(\d+), which clip reaches", says)[1])
    assert lacking(cohort, of, SETTINGS | {"least": most}) == []
    assert lacking(cohort, of, SETTINGS | {"least": most + 1}) != []


def test_beside_people_who_are_held_out_there_must_be_enough(tmp_path):
    of = needs(within=True, patients=10, parts={"a": "most people", "b": "other people"})
    ten, fourteen = (
        open_own(saved(tmp_path / f"{n}.h5", patients=n, each=6, images=noise(6 * n, 8)), within=True) for n in (10, 14)
    )
    assert lacking(ten, of, SETTINGS) == ["10 patients, beside those who are held out: there are 8; give more"]
    assert lacking(fourteen, of, SETTINGS) == []
    parts = [meeting(fourteen, of, SETTINGS, name) for name in "ab"]
    assert not set(parts[0].source_name) & set(parts[1].source_name)
    assert sum(map(len, parts)) == len(fourteen)


def test_colour_is_grey_only_where_its_channels_are_equal(tmp_path):
    colour = np.stack([noise(60, 16, seed) for seed in range(3)], 1)
    assert lacks(tmp_path, images=colour) == ["grey images: these are in colour; convert them to grey"]
    assert lacks(tmp_path, needs(colour=True), images=colour) == []


def test_one_finding_becomes_two_classes(tmp_path):
    ready = meeting(open_own(saved(tmp_path / "own.h5", **FINDINGS)), needs(), SETTINGS, "a")
    assert ready.label_names == ("no mass", "mass")
    assert set(ready.labels) == {0, 1}


def test_radiographs_without_masks_have_those_of_their_lungs(tmp_path):
    path = saved(tmp_path / "own.h5", modality="CR", patients=12, each=5, images=noise(60, 32))
    of = needs(masks=True, within=True, parts={"a": "whole"})
    ready = meeting(open_own(path, within=True), of, {"side": 16, "finding": ""}, "a")
    assert ready.masks.shape == (60, 16, 16)
    assert ready.masks.any(axis=(1, 2)).all()
    assert "lungs by lib.cohorts.lung_segmentation" in ready.made_by


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of three papers: one that a plain cohort serves, one that needs volumes, one without the entry."""
    for name, own in (("01_a", {}), ("02_b", {"slices": 9}), ("03_c", None)):
        folder = tmp_path / "notebooks" / name
        folder.mkdir(parents=True)
        content = {"scales": ["smoke", "demo"], "settings": {"side": [4, 8], "finding": ["", ""]}}
        if own is not None:
            content["own"] = {"size": "side", "patients": 10} | TWO | own
        (folder / "paper.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


def test_describe_says_which_papers_a_cohort_can_serve(project, capsys):
    path = saved(project / "own.h5")
    assert set(own_needs()) == {"01_a", "02_b"}
    expected = [("01_a", "serves"), ("02_b", "lacks volumes of 9 slices: these are grey")]
    assert table_of_papers(path) == expected
    assert main(["describe", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:-1] == ["01_a  serves", "02_b  lacks volumes of 9 slices: these are grey"]
    both = saved(project / "both.h5", split=np.tile([0, 2], 30))
    assert table_of_papers(both)[0] == (
        "01_a", "lacks 30 patients stand in two splits; give all images of a patient one split",
    )  # fmt: skip


def test_describe_takes_the_masks_of_the_file_itself_where_no_other_is_given(project, capsys):
    folder = project / "notebooks" / "04_d"
    folder.mkdir()
    own = {"size": "side", "patients": 4, "masks": True, "within": True} | TWO | {"parts": {"a": "whole"}}
    content = {"scales": ["smoke", "demo"], "settings": {"side": [4, 8], "finding": ["", ""]}, "own": own}
    (folder / "paper.yaml").write_text(yaml.safe_dump(content))
    masks = np.ones((60, 16, 16), np.uint8)
    path = saved(project / "own.h5", patients=12, each=5, images=noise(60, 16), masks=masks)
    assert main(["describe", str(path)]) == 0
    assert "04_d  serves" in capsys.readouterr().out.splitlines()


def test_describe_tells_splits_and_masks_of_published_files_as_a_run_has_them(project, capsys):
    columns = {"id": np.repeat([5, 9, 11], 4), "dis": np.tile([0, 1], 6), "set": np.tile([0, 0, 1, 1, 1, 2], 2)}
    for name, what in (("data", {"images": noise(12, 16)}), ("masks", {"masks": noise(12, 16) // 128})):
        with h5py.File(project / f"{name}.h5", "w") as file:
            for key, values in (what | columns).items():
                file[key] = values
    data, masks = str(project / "data.h5"), str(project / "masks.h5")
    for words, held in ([], "none"), (["--masks", masks], "of every image"):
        assert main(["describe", data, *words]) == 0
        lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert f"masks {held}" in lines
        assert "split validation 2 images of 2 patients" in lines
        assert any(line.startswith("split test 6 images") for line in lines)


def test_a_paper_is_refused_with_the_file_and_what_it_needs(tmp_path):
    path = saved(tmp_path / "own.h5", labels=np.zeros(60))
    with pytest.raises(ValueError, match=r"own.h5 cannot serve 09_x, which needs two classes: all images are 'benign'"):
        require_serving(path, "", needs(), SETTINGS, "09_x")
    with pytest.raises(ValueError, match=r"own.h5: 09_x looks at no masks; leave them out"):
        require_serving(path, path, needs(), SETTINGS, "09_x")
