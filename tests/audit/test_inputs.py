"""The three sets of an audit come together at one size and range, or it is said why not."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from lib.audit import inputs
from lib.audit.__main__ import _parser
from lib.audit.inputs import describe_sets, open_sets
from tests.cohorts.toy import cohort, folder, noise
from tests.paths import ROOT


def sets(train, heldout, synthetic, **options):
    of = {"sizes": (32, 16), "audit_size": 16, "most": 1000, "rng": np.random.default_rng(0)} | options
    return open_sets(train=train, heldout=heldout, synthetic=synthetic, **of)


def three(n=12, side=32):
    people = (np.arange(n), np.arange(n) + 100, np.arange(n))
    return [cohort(noise(n, side, seed), who) for seed, who in enumerate(people)]


def test_sets_come_together():
    found = sets(*three())
    assert [len(part) for part in found.parts.values()] == [12, 12, 12]
    assert not set(found.train.patient) & set(found.heldout.patient)
    assert found.small["train"].shape == (12, 16, 16)
    assert {name: len(rows) for name, rows in found.exact.items()} == {"train": 0, "heldout": 0}
    assert found.digest == sets(*three()).digest
    assert [row["rules applied"] for row in found.rows()] == ["none was needed"] * 3


def test_a_smaller_image_takes_all_sets_down():
    train, heldout, _ = three()
    found = sets(train, heldout, cohort(noise(12, 20, 5)))
    assert found.train.images.shape == (12, 16, 16)
    short = "audited at 16×16 pixels, as some are smaller than 32×32: 12 images of synthetic, the first mine 0"
    assert found.rules["train"] == found.rules["synthetic"] == (short,)
    with pytest.raises(ValueError, match="10×10 pixels; give 16×16 at least"):
        sets(train, heldout, cohort(noise(12, 10, 5)))


def test_one_small_image_is_named_though_not_all_are_drawn(tmp_path):
    train, heldout, synthetic = (folder(tmp_path / n, noise(30, seed=i)) for i, n in enumerate("abc"))
    Image.fromarray(noise(1, 20)[0]).save(train / "00007.png")
    for seed in range(8):
        found = sets(train, heldout, synthetic, most=25, rng=np.random.default_rng(seed))
        if "00007.png" in found.train.source_name:
            assert any("32×32: 1 image of train, the first 00007.png" in rule for rule in found.rules["heldout"])
        else:
            assert found.train.images.shape[1:] == (32, 32)


def test_deeper_images_stretch_all(tmp_path):
    train, heldout, _ = three()
    path = tmp_path / "deep"
    path.mkdir()
    for i, image in enumerate(noise(12, 32, 7)):
        Image.fromarray(image.astype(np.uint16) * 100 + 7).save(path / f"{i}.png")
    found = sets(train, heldout, path)
    assert "stretched from percentile 1 to 99 of its pixels, image by image" in found.rules["train"]
    for part in found.parts.values():
        low, high = np.percentile(part.images, (1, 99), axis=(1, 2))
        assert (low <= 1).all()
        assert (high >= 254).all()


def deep(path, images, marker=()):
    path.mkdir()
    for i, image in enumerate(images):
        pixels = image.astype(np.uint16) * 15
        pixels[:3, :3] = 65535 if i in marker else pixels[:3, :3]
        Image.fromarray(pixels).save(path / f"{i}.png")
    return path


def test_one_saturated_marker_hides_nothing(tmp_path):
    """Between the extremes, tissue up to 3,825 beside a marker of 65,535 has sixteen grey levels, one at 16×16."""
    train, heldout, _ = three()
    images = noise(12, 32, 7)
    sets_of = [
        sets(train, heldout, deep(tmp_path / name, images, marker), sizes=(32,), audit_size=32)
        for name, marker in (("plain", ()), ("marked", range(12)))
    ]
    plain, marked = (of.synthetic.images[:, 3:, 3:].astype(float) for of in sets_of)
    assert np.abs(plain - marked).max() <= 12  # its nine pixels move a percentile of 1,024
    assert all(len(np.unique(image)) > 150 for image in marked)


def test_an_image_that_is_nearly_all_black_is_not_made_constant(tmp_path):
    train, heldout, _ = three()
    dots = np.zeros((12, 32, 32), np.uint8)
    dots[:, 4, 5], dots[:, 6, np.arange(12)] = 200, 100
    found = sets(
        train, heldout, deep(tmp_path / "dots", dots + np.eye(12, dtype=np.uint8)[:, :, None].repeat(32, 2)[:, :1])
    )
    assert len(found.synthetic) == 12


def logo(path, side, many=1, name="logo"):
    for i in range(many):
        Image.fromarray(noise(1, side, 90 + i)[0]).save(path / f"{name}{i}.png")


def test_one_logo_is_left_out_and_named_and_shrinks_nothing(tmp_path):
    train, heldout, synthetic = (folder(tmp_path / n, noise(12, 64, i)) for i, n in enumerate("abc"))
    logo(synthetic, 24)
    sources, options = (train, heldout, synthetic), {"sizes": (64, 32, 16), "audit_size": 32}
    found = sets(*sources, **options)
    assert found.train.images.shape == (12, 64, 64)
    assert len(found.synthetic) == 12
    assert [tuple(note) for note in found.passed["synthetic"]] == [("logo0.png", "24×24 pixels, fewer than 64×64")]
    assert "1 file passed over: 24×24 pixels, fewer than 64×64 (logo0.png)" in found.rules["synthetic"]
    with pytest.raises(ValueError, match=r"logo0\.png: 24×24 pixels; read strictly, so take it out"):
        sets(*sources, **options, strict=True)
    logo(synthetic, 24, many=3)
    assert sets(*sources, **options).train.images.shape == (12, 16, 16)  # three of fifteen are no logos


def test_an_image_that_suffices_for_the_audit_is_not_left_out(tmp_path):
    train, heldout, synthetic = (folder(tmp_path / n, noise(12, 64, i)) for i, n in enumerate("abc"))
    logo(synthetic, 40)
    found = sets(train, heldout, synthetic, sizes=(64, 32, 16), audit_size=32)
    assert found.train.images.shape == (12, 32, 32)
    assert len(found.synthetic) == 13


def test_no_set_is_brought_below_ten_images_by_what_is_left_out(tmp_path):
    train, heldout, synthetic = (folder(tmp_path / n, noise(10, 64, i)) for i, n in enumerate("abc"))
    logo(synthetic, 24)
    assert len(sets(train, heldout, synthetic, sizes=(64, 16), audit_size=32).synthetic) == 11 - 1
    (synthetic / "00009.png").unlink()
    assert len(sets(train, heldout, synthetic, sizes=(64, 16), audit_size=32).synthetic) == 10


def test_all_sets_are_found_before_any_is_read(tmp_path, monkeypatch):
    """What is wrong with the last set was told after the others had been read."""
    train, heldout = (folder(tmp_path / n, noise(12, 32, i)) for i, n in enumerate("ab"))
    monkeypatch.setattr(inputs, "draw", lambda *_, **__: pytest.fail("read"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no image in it"):
        sets(train, heldout, tmp_path / "empty")
    bad = folder(tmp_path / "c", noise(12, 32, 2))
    (bad / os.fsdecode(b"\xfc.png")).write_bytes(b"x")
    with pytest.raises(ValueError, match="its name is no UTF-8; rename it"):
        sets(train, heldout, bad)
    with pytest.raises(ValueError, match="the number 7: where a program takes 007 for 7"):
        sets(train, 7, bad)


def test_another_table_of_patients_is_another_audit(tmp_path):
    """The second report overwrote the first."""
    train, heldout, synthetic = (folder(tmp_path / n, noise(20, 32, i)) for i, n in enumerate("abc"))
    digests = set()
    for people in (20, 10):
        rows = [f"{n}/{i:05d}.png;{n}{i % people}" for n in "ab" for i in range(20)]
        (tmp_path / "t.csv").write_text("\n".join(["File;Patient", *rows]))
        found = sets(train, heldout, synthetic, patients=tmp_path / "t.csv")
        assert found.patients_from == {"train": {"table": 20}, "heldout": {"table": 20}}
        assert len(np.unique(found.train.patient)) == people
        digests.add(found.digest)
    assert len(digests) == 2


def test_patients_by_folder_in_both_real_sets(tmp_path):
    for n, name in enumerate(("train", "heldout")):
        for i in range(10):
            folder(tmp_path / name / f"{name}{i}", noise(3, 32, 10 * n + i))
    synthetic = folder(tmp_path / "synthetic", noise(12, 32, 50))
    found = sets(tmp_path / "train", tmp_path / "heldout", synthetic)
    assert [row["patients"] for row in found.rows()] == [10, 10, None]
    assert "patients by folder" in found.rules["heldout"]
    (tmp_path / "heldout" / "heldout3").rename(tmp_path / "heldout" / "train3")
    with pytest.raises(ValueError, match="train and heldout share 1 patient, the first is train3"):
        sets(tmp_path / "train", tmp_path / "heldout", synthetic)
    with pytest.raises(ValueError, match="train and heldout share 3 patients, the first is train3/00000"):
        sets(tmp_path / "train", tmp_path / "heldout", synthetic, patient_from="name:[a-z]+\\d/0000\\d")


def test_a_dry_read_of_the_sets(tmp_path):
    train, heldout, synthetic = (folder(tmp_path / n, noise(12, 32, i)) for i, n in enumerate("abc"))
    (train / "notes.txt").write_text("x")
    (synthetic / "broken.png").write_bytes(b"x")
    rows, files = describe_sets(train=train, heldout=heldout, synthetic=synthetic)
    told = {(row["set"], row["outcome"]): row for row in rows}
    assert {key: row["files"] for key, row in told.items()} == {
        ("train", "read"): 12, ("train", "passed over"): 1, ("heldout", "read"): 12, ("synthetic", "read"): 12,
        ("synthetic", "refused"): 1,
    }  # fmt: skip
    first = told["train", "read"]
    assert (first["images"], first["pixels"], first["bits"], first["patients"]) == (12, "32×32", "8", 12)
    assert (told["train", "passed over"]["why"], told["train", "passed over"]["the first"]) == ("no image", "notes.txt")
    assert {name: len(of) for name, of in files.items()} == {"train": 13, "heldout": 12, "synthetic": 13}
    (row,) = [
        row for row in describe_sets(train=three()[0], heldout=heldout, synthetic=synthetic)[0] if row["set"] == "train"
    ]
    assert (row["images"], row["patients"], row["patients from"]) == (12, 12, "cohort")


def test_constant_images_are_left_out_and_counted():
    train, heldout, synthetic = three(14)
    train.images[:2], train.images[2] = 7, 0
    found = sets(train, heldout, synthetic)
    assert len(found.train) == 11
    assert "3 constant images left out" in found.rules["train"]
    train.images[1:3] = noise(2, seed=9)
    assert "1 constant image left out" in sets(train, heldout, synthetic).rules["train"]


def test_a_synthetic_set_that_is_the_training_set_is_counted():
    train, heldout, _ = three()
    exact = sets(train, heldout, train).exact
    assert (exact["train"].tolist(), exact["heldout"].tolist()) == (list(range(12)), [])
    mixed = cohort(np.concatenate([noise(10, seed=9), heldout.images[3:4], train.images[5:6]]))
    exact = sets(train, heldout, mixed).exact
    assert (exact["train"].tolist(), exact["heldout"].tolist()) == ([11], [10])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda t, h, s: (t, cohort(h.images, np.arange(12) + 5), s), "train and heldout share 7 patients"),
        (
            lambda t, h, s: (t, cohort(np.concatenate([h.images, t.images[3:5]]), np.arange(14) + 50), s),
            "train and heldout share 2 images, the first is mine 3 = mine 12",
        ),
        (lambda t, h, s: (t, h[np.arange(9)], s), "heldout: 9 images, constant ones left out; an audit needs 10"),
        (lambda t, h, s: (t, cohort(h.images, np.arange(12) // 2 + 50), s), "heldout: 6 patients; an audit needs 10"),
        (lambda t, h, s: (cohort(t.images, np.zeros(12)), h, s), "train: 1 patient; an audit needs 10"),
        (lambda t, h, s: (t, h, ""), "a path is empty: give all three"),
    ],
)
def test_what_makes_an_audit_impossible(spoil, sentence):
    with pytest.raises(ValueError, match=sentence):
        sets(*spoil(*three()))


def test_the_line_of_the_readme_names_patients_and_keeps_007():
    """Without patients, 53 of 60 null audits could not tell; a program that reads 007 as a number makes 7 of it."""
    (line,) = re.findall(r"python -m lib\.audit (TRAIN .*)", (ROOT / "README.md").read_text())
    given = _parser().parse_args(line.replace("TABLE.csv", "007").split())
    assert (given.train, given.heldout, given.synthetic, given.patients) == ("TRAIN", "HELDOUT", "SYNTHETIC", "007")
