"""Drawn masses, and the synthetic ones matched to them."""

import pytest

from lib.metrics.privacy.copying.copy_test import band_pass, match
from tests.metrics.privacy.copying.toy import masses


@pytest.fixture(scope="session")
def world():
    """See `masses`."""
    return masses()


@pytest.fixture(scope="session")
def matched(world):
    """The band-passed masses, the synthetic ones matched to them, and what `copy_test` needs besides."""
    images, groups, member, synthetic = world
    real = band_pass(images)
    test = {"member": member, "groups": groups, "permutations": 199}
    test["null"] = match(real, real, groups=groups, own=groups).ratio
    return real, match(band_pass(synthetic), real, groups=groups), test
