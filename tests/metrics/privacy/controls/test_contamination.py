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


def test_several_sets_of_copies_take_the_memory_of_one(sets):
    """The set is made when it is asked for, and anew: whoever changes it does not change the next."""
    result = inject_copies(sets["synthetic"], source=sets["train"], share=0.5, rng=np.random.default_rng(5))
    assert result.synthetic is sets["synthetic"]
    assert result.source is sets["train"]
    first, again = result.images, result.images
    first[:] = 0
    np.testing.assert_array_equal(again, result.images)
    assert again.any()
