"""Principal components in pieces: those of the whole, in bounded memory, at any size of the images."""

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA

from lib.metrics.diversity.principal_components import PrincipalComponents


def images(n=130, rank=5, size=8, channels=2):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, channels * size * size)) + 3
    return rows.reshape(n, channels, size, size)


def test_of_low_rank_they_are_those_of_the_whole_whatever_the_pieces():
    of = images()
    whole = PCA(5, svd_solver="full").fit_transform(of.reshape(len(of), -1))
    for piece in (20, 64, 1000):
        found = PrincipalComponents(5, size=(8, 8), piece=piece).fit(of).transform(of)
        np.testing.assert_allclose(np.abs(found), np.abs(whole), rtol=1e-4, atol=1e-3)


def test_images_of_another_size_are_magnified_first():
    of = images(size=4).astype(np.float32)
    large = F.interpolate(torch.from_numpy(of), size=(8, 16), mode="bicubic", align_corners=False).numpy()
    ours, theirs = (PrincipalComponents(5, size=(8, 16)).fit(x).transform(x) for x in (of, large))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_memory_is_that_of_a_piece_and_not_of_all():
    of = np.random.default_rng(0).integers(0, 256, (600, 1, 64, 64), dtype=np.uint8)
    as_floats = of.size * 8
    tracemalloc.start()
    PrincipalComponents(4, size=(64, 64), piece=20).fit(of).transform(of)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < as_floats / 2


def test_fewer_images_than_components_are_refused():
    with pytest.raises(ValueError, match="3 images have no 5 principal components"):
        PrincipalComponents(5, size=(8, 8)).fit(images(n=3))
