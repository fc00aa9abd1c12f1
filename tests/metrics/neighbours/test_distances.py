import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from lib.metrics.neighbours import distances

RNG = np.random.default_rng(0)
CASES = {
    "far from 0": (RNG.normal(size=(40, 5000)).astype("f") + 3, RNG.normal(size=(60, 5000)).astype("f") + 3),
    "a few values": (RNG.normal(size=(40, 3)), RNG.normal(size=(60, 3))),
    "bytes": (RNG.integers(0, 256, (40, 700), np.uint8), RNG.integers(0, 256, (60, 700), np.uint8)),
    "large integers": (RNG.integers(-(2**30), 2**30, (40, 70)), RNG.integers(-(2**30), 2**30, (60, 70))),
    "tiny": (1e-300 * RNG.normal(size=(40, 9)), 1e-300 * RNG.normal(size=(60, 9))),
    "huge and single": (1e37 * RNG.normal(size=(40, 9)).astype("f"), 1e37 * RNG.normal(size=(60, 9)).astype("f")),
    "one type and another": (RNG.integers(0, 9, (40, 5), np.uint8), RNG.normal(size=(60, 5))),
}


def rows(name):
    return tuple(torch.from_numpy(values) for values in CASES[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_the_error_bound_holds_and_is_not_idle(name, dtype):
    queries, references = rows(name)
    frame = distances.frame(queries, references)
    product = distances.product(queries, references, frame, dtype=dtype, segment=32)
    exact = [np.longdouble(values.numpy()) * frame.scale - frame.shift.numpy() for values in (queries, references)]
    error = product.values[:, :60].numpy() - (np.square(exact[1]).sum(axis=1) - 2 * exact[0] @ exact[1].T)
    assert (abs(error) <= product.bound.numpy()[:, None]).all()
    norms = np.square(exact[0]).sum(axis=1)
    assert (abs(product.norms.numpy() - norms) <= product.norm_bound.numpy()).all()
    assert (product.values[:, 60:] == torch.inf).all()
    assert product.values.shape == (40, 64)
    assert 0 < abs(error).max()
    assert product.bound.max() < 1e5 * torch.finfo(dtype).eps * norms.max()


@pytest.mark.parametrize("name", ["far from 0", "a few values", "bytes", "large integers"])
def test_the_direct_distance_is_the_literal_one(name):
    queries, references = rows(name)
    row, column = torch.arange(40), torch.arange(40).flip(0)
    expected = cdist(*(values.double().numpy() for values in (queries, references)))[row, column]
    np.testing.assert_allclose(distances.direct(queries, references, row, column), expected, rtol=1e-13)
    assert (distances.direct(queries, queries, row, row) == 0).all()


@pytest.mark.parametrize(("q", "n", "width"), [(10_000, 10_000, 4096), (1000, 10_000, 36_864), (100_000, 100_000, 512)])
@pytest.mark.parametrize("memory", [2**29, 2**26])
def test_tiles_are_even_and_keep_to_the_memory(q, n, width, memory):
    queries, references = (torch.empty((rows, width), dtype=torch.uint8, device="meta") for rows in (q, n))
    wide, tall = distances.tiling(queries, references, memory, torch.float32)
    assert 4 * wide * (tall + 4096 * (width >= 4096)) <= memory
    assert wide * -(-q // wide) - q < -(-q // wide)
    assert 1 <= tall <= n
    assert 16 * wide * tall >= min(memory / 8, 16 * q * n)
