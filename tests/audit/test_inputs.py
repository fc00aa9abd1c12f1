"""The three sets of an audit come together at one size and range, or it is said why not."""

import numpy as np
import pytest
from PIL import Image

from lib.audit.inputs import open_sets
from tests.cohorts.toy import cohort, folder, noise


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
    assert "stretched from darkest to brightest, image by image" in found.rules["train"]
    for part in found.parts.values():
        assert (part.images.min(axis=(1, 2)) == 0).all()
        assert (part.images.max(axis=(1, 2)) == 255).all()


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
