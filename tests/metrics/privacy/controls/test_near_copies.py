"""Near copies keep their shape, and no image is erased."""

import numpy as np
import pytest

from lib.metrics.privacy.controls.near_copies import KINDS, altered
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
