"""The injected copies of the controls are what they say."""

import numpy as np
import pytest

from lib.metrics.privacy.controls.contamination import inject_copies


@pytest.mark.parametrize(("share", "expected"), [(0.1, 20), (1, 200)])
def test_injection_is_what_it_says(sets, share, expected):
    result = inject_copies(sets["synthetic"], source=sets["train"], share=share, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(result.images[result.at], sets["train"][result.copied])
    rest = np.setdiff1d(np.arange(200), result.at)
    np.testing.assert_array_equal(result.images[rest], sets["synthetic"][rest])
    assert len(result.at) == expected
    counts = np.bincount(result.copied, minlength=160)
    assert counts.max() - counts.min() <= 1
    again = inject_copies(sets["synthetic"], source=sets["train"], share=share, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(again.images, result.images)
