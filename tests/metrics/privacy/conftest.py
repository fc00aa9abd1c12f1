"""Four sets of images, and a synthetic set with copies injected."""

import numpy as np
import pytest

from lib.metrics.privacy.controls.contamination import controls
from tests.metrics.privacy.toy import population


@pytest.fixture(scope="module")
def sets():
    """Images by the name of their set, the "groups" of the first two, and "controls"."""
    rng = np.random.default_rng(0)
    names = ("train", "heldout", "disjoint", "synthetic")
    drawn = {name: population(rng, n) for name, n in zip(names, (160, 120, 100, 200), strict=True)}
    return {name: images for name, (images, _) in drawn.items()} | {
        "groups": {"train_groups": drawn["train"][1], "heldout_groups": 1000 + drawn["heldout"][1]},
        "controls": controls(drawn["synthetic"][0], train=drawn["train"][0], disjoint=drawn["disjoint"][0], rng=rng),
    }
