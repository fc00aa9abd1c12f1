"""CBIS-DDSM: the three mass cohorts, what is refused, and the published counts on the real tree."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import cbis_ddsm
from tests.cohorts.toy import paint
from tests.paths import shared

FEW = {folder: (2, 2) for folder in cbis_ddsm.COUNTS}


def crop(patient, label, number=0, origin="cbis-ddsm"):
    return f"patient{origin}__{patient}_image{number}_mass{number}_is_benign_{label}.png"


def mass_tree(folder):
    """Two crops a class in each folder, one patient of each split with both labels."""
    names = {
        cbis_ddsm.TRAIN: "P_1",
        cbis_ddsm.VALIDATION: "P_2",
        cbis_ddsm.TEST: "P_3",
        cbis_ddsm.EXTERNAL: "7",
    }
    for part, patient in names.items():
        for label, sub in enumerate(("is_benign_false", "is_benign_true")):
            origin = "bcdr" if part == cbis_ddsm.EXTERNAL else "cbis-ddsm"
            paint(folder / part / sub / crop(f"{patient}1", label, 1, origin))
            paint(folder / part / sub / crop(f"{patient}{2 + label}", label, 2, origin))
    for number, label in enumerate(("malignant", "malignant", "benign", "benign")):
        paint(folder / cbis_ddsm.SYNTHETIC / f"batch_0_{number}_{label}.png")
    return folder


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory):
    return mass_tree(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tree(whole_tree, tmp_path):
    return shutil.copytree(whole_tree, tmp_path / "mammo_dp")


def test_the_three_mass_cohorts(tree, tmp_path):
    paths = cbis_ddsm.prepare(tree, tmp_path / "out", counts=FEW)
    assert [path.name for path in paths] == ["cbis_ddsm.h5", "bcdr.h5", "mcgan.h5"]
    crops, external, drawn = map(Cohort.open, paths)
    np.testing.assert_array_equal(crops.split, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(crops.labels, [0, 0, 1, 1] * 3)
    np.testing.assert_array_equal(crops.patient, [0, 1, 0, 2, 3, 4, 3, 5, 6, 7, 6, 8])
    assert (set(external.split), set(drawn.split)) == ({2}, {0})
    assert len(set(drawn.patient)) == 4
    for cohort in (crops, external, drawn):
        assert (cohort.label_names, cohort.value_range, cohort.modality) == (
            ("malignant", "benign"),
            (0, 255),
            "MG",
        )
    assert "never redistribute" in external.licence
    first = tree / cbis_ddsm.TRAIN / "is_benign_false" / crops.source_name[0]
    np.testing.assert_array_equal(crops.images[0], np.asarray(Image.open(first)))


@pytest.mark.parametrize("given", ["mammo_dp", ".", "mammo_dp/dataset16062024"])
def test_the_tree_its_parent_or_its_data_folder_may_be_given(tree, given):
    assert cbis_ddsm.find_tree(tree.parent / given).resolve() == tree
    tree.rename(tree.parent / "mammo_dp-20caed7")  # as GitHub names its archive
    assert cbis_ddsm.find_tree(tree.parent).name == "mammo_dp-20caed7"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MALIGNANT = f"{cbis_ddsm.TRAIN}/is_benign_false/"


FIRST = MALIGNANT + crop("P_11", 0, 1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda tree: cut(tree / FIRST), r"_is_benign_0\.png: truncated or damaged PNG; fetch"),
        (lambda tree: (tree / FIRST).write_bytes(b""), "P_11.*not a readable PNG"),
        (
            lambda tree: Image.new("L", (128, 128)).save(tree / FIRST, format="JPEG"),
            "P_11.*not a readable PNG",
        ),
        (lambda tree: paint(tree / FIRST, size=64), "P_11.*64×64 pixels where 128×128"),
        (lambda tree: paint(tree / FIRST, mode="RGB"), "P_11.*mode RGB where 8-bit grey"),
        (lambda tree: paint(tree / FIRST, mode="I;16"), "P_11.*mode I;16 where 8-bit grey"),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / crop("P_11", 1, 1)),
            "the name says benign, the folder malignant",
        ),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / crop("P_33", 0, 1)),
            r"cbis-ddsm/test.*patient P_33 is in another split too \(.*/train.*keep each in one split",
        ),
        (
            lambda tree: shutil.rmtree(tree / MALIGNANT),
            r"train/is_benign_false: no such folder; expected is the tree",
        ),
        (
            lambda tree: shutil.rmtree(tree / cbis_ddsm.SYNTHETIC),
            "c-dcgan: no such folder; expected is the tree",
        ),
        (
            lambda tree: shutil.rmtree(tree / "dataset16062024"),
            "no folder dataset16062024 in it; expected is the tree",
        ),
        (lambda tree: shutil.rmtree(tree), "mammo_dp: no such folder; expected is the tree"),
        (
            lambda tree: (tree / FIRST).unlink(),
            "cbis-ddsm/train: 1 malignant and 2 benign images where 2 and 2 were published, missing .*fetch",
        ),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / "mass.png"),
            "mass.png: not a file of the published",
        ),
    ],
)
def test_a_spoilt_tree_is_refused_in_one_sentence(tree, tmp_path, spoil, sentence):
    spoil(tree)
    with pytest.raises(ValueError, match=sentence) as caught:
        cbis_ddsm.prepare(tree, tmp_path / "out", counts=FEW)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_published_counts_are_asked_for_by_default(tree, tmp_path):
    with pytest.raises(ValueError, match="2 malignant and 2 benign images where 525 and 579 were published"):
        cbis_ddsm.prepare(tree, tmp_path)


@pytest.fixture(scope="module")
def masses(tmp_path_factory):
    paths = cbis_ddsm.prepare(shared("mammo_dp"), tmp_path_factory.mktemp("masses"))
    return {path.stem: Cohort.open(path) for path in paths}


PUBLISHED = [  # spec §3: folder, split, (malignant, benign), patients, source images, bytes, both mean greys
    (cbis_ddsm.TRAIN, 0, (525, 579), 578, 1025, 7_803_567, (136.6, 128.6)),
    (cbis_ddsm.VALIDATION, 1, (102, 90), 102, 185, 1_359_806, (140.6, 126.0)),
    (cbis_ddsm.TEST, 2, (157, 245), 212, 382, 2_826_298, (139.3, 128.0)),
    (cbis_ddsm.EXTERNAL, 2, (486, 620), 394, 451, 9_209_975, (96.0, 98.8)),
    (cbis_ddsm.SYNTHETIC, 0, (1500, 1500), None, None, 29_128_460, (139.3, 137.3)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "split", "counts", "patients", "sources", "size", "grey"), PUBLISHED)
def test_real_masses_have_the_published_numbers(masses, folder, split, counts, patients, sources, size, grey):
    names = {cbis_ddsm.EXTERNAL: "bcdr", cbis_ddsm.SYNTHETIC: "mcgan"}
    whole = masses[names.get(folder, "cbis_ddsm")]
    part = whole[whole.split == split]
    assert tuple(np.bincount(part.labels)) == counts
    for label in range(2):
        assert part.images[part.labels == label].mean() == pytest.approx(grey[label], abs=0.05)
    assert sum(path.stat().st_size for path in (shared("mammo_dp") / folder).rglob("*.png")) == size
    if patients:
        assert len(np.unique(part.patient)) == patients
        assert len({key.split("_mass")[0] for key in part.source_name}) == sources


@pytest.mark.slow
def test_real_masses_are_the_pinned_ones_and_disjoint(masses):
    assert {name: cohort.digest for name, cohort in masses.items()} == cbis_ddsm.DIGESTS
    assert [len(cohort) for cohort in masses.values()] == [1698, 1106, 3000]
    crops = masses["cbis_ddsm"]
    patients = [set(crops.patient[crops.split == split]) for split in range(3)]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 892


@pytest.mark.slow
def test_real_external_set_repeats_eight_crops_one_with_opposite_labels(masses):
    external = masses["bcdr"]
    _, first, count = np.unique(external.images[:].reshape(1106, -1), axis=0, return_inverse=True, return_counts=True)
    pairs = [np.flatnonzero(first == group) for group in np.flatnonzero(count > 1)]
    assert [len(pair) for pair in pairs] == [2] * 8
    opposite = [pair for pair in pairs if len(set(external.labels[pair])) == 2]
    assert len(opposite) == 1
    assert {key.split("_")[2] for key in external.source_name[opposite[0]]} == {"193"}
