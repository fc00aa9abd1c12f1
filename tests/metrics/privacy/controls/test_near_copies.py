"""Near copies keep their shape, and no image is erased."""

import tracemalloc

import numpy as np
import pytest

from lib.metrics.privacy.controls import near_copies
from lib.metrics.privacy.controls.near_copies import KINDS, altered, jittered
from tests.metrics.privacy.copying.toy import SIDE


def test_altered_keeps_shape_and_never_erases():
    faint = np.full((4, SIDE, SIDE), 3, np.uint8)
    faint[:, 0, 0] = 4
    for kind in KINDS:
        changed = altered(faint, kind, rng=np.random.default_rng(0))
        assert (changed.dtype, changed.shape) == (np.uint8, faint.shape)
        assert (changed.max(axis=(1, 2)) > changed.min(axis=(1, 2))).all()
    with pytest.raises(ValueError, match="unknown kind 'upside down': choose one of exact, mirrored"):
        altered(faint, "upside down", rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="give uint8"):
        altered(faint.astype(float), "exact", rng=np.random.default_rng(0))


@pytest.mark.parametrize("at_once", [1, 1000, 2**22])
def test_jittered_in_blocks_is_jittered_as_a_whole(at_once, monkeypatch):
    monkeypatch.setattr(near_copies, "_AT_ONCE", at_once)
    images, rng = np.random.default_rng(0).integers(0, 256, (37, 2, 9, 9), np.uint8), np.random.default_rng(1)
    whole = images + rng.normal(0, 12.75, images.shape)
    after = np.random.default_rng(1)
    found = jittered(images, sd=12.75, rng=after)
    np.testing.assert_array_equal(found, np.uint8(np.clip(np.round(whole), 0, 255)))
    assert found.dtype == np.uint8
    assert after.random() == rng.random()  # what is drawn next is the same, too
    with pytest.raises(ValueError, match="float64: give uint8"):
        jittered(whole, sd=1.0, rng=rng)


def test_jittered_holds_little_beside_its_images(monkeypatch):
    monkeypatch.setattr(near_copies, "_AT_ONCE", 2**14)
    images = np.zeros((2000, 32, 32), np.uint8)
    tracemalloc.start()
    jittered(images, sd=5.0, rng=np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes + 6 * 8 * 2**14  # as a whole: 8 bytes of noise for every pixel, and more
