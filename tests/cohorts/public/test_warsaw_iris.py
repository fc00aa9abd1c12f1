"""Warsaw-BioBase-Disease-Iris: its published layout, fabricated, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import iris
from lib.cohorts.public import warsaw_iris

HEADER = "Patient;Left eye;Right eye\n"
ROWS = ["0001;glaucoma,cataract;healthy", "2;;secondary glaucoma", "0013;acute glaucoma;cataract, glaucoma"]
TABLE = "medical-description-v2-1.csv"


@pytest.fixture(scope="session")
def eyes():
    """A drawn eye of each patient and side, right ones as the camera sees them, 240×256 with a strip below."""
    drawn = iris.draw(patients=3, images=2, noise=0.02, leak=0.03, rng=np.random.default_rng(0))
    large = drawn.images.repeat(4, 1).repeat(4, 2)
    large = np.where(drawn.view[:, None, None] == 1, large[..., ::-1], large)
    return np.concatenate([large, np.zeros((len(large), 11, 256), np.uint8)], axis=1)


@pytest.fixture
def release(tmp_path, eyes):
    root = tmp_path / "iris"
    for i, image in enumerate(eyes):
        folder = root / f"{(1, 2, 13)[i // 4]:04d}{('left', 'right')[i // 2 % 2]}"
        folder.mkdir(parents=True, exist_ok=True)
        mode = ("L", "RGB")[i % 2]
        Image.fromarray(image).convert(mode).save(folder / f"{folder.name}_IG_{i % 2}.{('bmp', 'png')[i % 2]}")
        Image.fromarray(image).save(folder / f"{folder.name}_TG_{i % 2}.png")  # another camera
    (root / TABLE).write_text(HEADER + "\n".join(ROWS) + "\n\n")
    (root / "readme.txt").write_text("terms")
    return root


def test_the_published_layout(release, tmp_path):
    [path] = warsaw_iris.prepare(release, tmp_path / "out")
    cohort = Cohort.open(path)
    assert (cohort.name, cohort.label_names, cohort.closed_set) == ("warsaw_iris", ("no glaucoma", "glaucoma"), True)
    assert cohort.images.shape == cohort.masks.shape == (12, 64, 64)
    np.testing.assert_array_equal(cohort.patient, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(cohort.view, np.tile([0, 0, 1, 1], 3))
    # Per eye; "acute glaucoma" is another diagnosis; a blank after the comma is none.
    np.testing.assert_array_equal(cohort.labels[::2], [1, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(cohort.labels[::2], cohort.labels[1::2])
    for patient in range(3):
        np.testing.assert_array_equal(np.sort(cohort.split[cohort.patient == patient]), [0, 0, 1, 2])
    assert cohort.source_name[0] == "0001left/0001left_IG_0.bmp"
    masks = cohort.masks[:]
    assert set(np.unique(masks)) == {0, 1}
    assert cohort.made_by == f"{(~masks.any((1, 2))).sum()} masks without circle"
    inside = [image[mask > 0].mean() for image, mask in zip(cohort.images[:], masks, strict=True) if mask.any()]
    assert len(inside) >= 10
    assert np.mean(inside) < 0.6 * cohort.images[:].mean()


def test_the_same_tree_gives_the_same_cohort_and_the_command_line_writes_it(release, tmp_path, monkeypatch, capsys):
    one, two = (Cohort.open(warsaw_iris.prepare(release, tmp_path / name)[0]).digest for name in ("a", "b"))
    assert one == two
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    assert main(["prepare", "warsaw_iris", "--from", str(release)]) == 0
    assert "12 NIR images 64×64 of 3 patients" in capsys.readouterr().out


def table(release, *rows):
    (release / TABLE).write_text(HEADER + "\n".join(rows) + "\n")


def paint(path, mode="L", size=(256, 251)):
    Image.effect_noise(size, 60).convert(mode).save(path)


FIRST = "0001left/0001left_IG_1.png"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda r: (r / TABLE).unlink(), r"no medical-description-v2-1\.csv in it; give --from"),
        (lambda r: shutil.copy(r / TABLE, r / "medical-description-v1.csv"), "2 tables medical-description"),
        (lambda r: table(r), r"csv: no row below the header"),
        (lambda r: table(r, *ROWS[:2]), "patient 0013 has no row in medical-description"),
        (lambda r: table(r, *ROWS, "0001;;"), "line 5: patient 1 stands in the table twice"),
        (lambda r: table(r, *ROWS, "x;;"), "line 5: patient 'x' is not a number"),
        (lambda r: table(r, "1,glaucoma,"), r"line 2: 1 columns; give patient;left"),
        (lambda r: shutil.rmtree(r / "0002left") or (r / "0002right/0002right_IG_0.bmp").unlink(),
         r"1 of 3 patients have fewer than 3 images \(2\); leave them out"),
        (lambda r: paint(r / FIRST, "RGBA"), r"_IG_1\.png: mode RGBA where a grey near-infrared image is expected"),
        (lambda r: paint(r / FIRST, "I;16"), r"_IG_1\.png: mode I;16 where a grey"),
        (lambda r: Image.radial_gradient("L").save(r / FIRST) or Image.merge(
            "RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.radial_gradient("L")]
        ).save(r / FIRST), "mode RGB where a grey near-infrared image is expected; remove or convert"),
        (lambda r: paint(r / FIRST, size=(256, 60)), "pixels are fewer than 75×75"),
        (lambda r: (r / FIRST).write_bytes((r / FIRST).read_bytes()[:900]),
         r"_IG_1\.png: truncated or damaged; copy the file again"),
        (lambda r: [path.unlink() for path in r.glob("*/*IG*")], "no image with IG in its name in it; give --from"),
        (lambda r: [shutil.rmtree(path) for path in r.glob("*/")], "no folder NNNNleft or NNNNright in it"),
    ],
)  # fmt: skip
def test_a_spoilt_release_is_refused_in_one_sentence(release, tmp_path, spoil, sentence):
    spoil(release)
    with pytest.raises(ValueError, match=sentence) as caught:
        warsaw_iris.prepare(release, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))
