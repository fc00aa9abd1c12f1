import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from lib.metrics.neighbours import distances
from lib.metrics.neighbours.search import nearest


def brute(queries, references, k, exclude_self=False):
    """Every distance, in float64; of equal ones the smaller index first."""
    flat = [np.asarray(rows, dtype=np.float64).reshape(len(rows), -1) for rows in (queries, references)]
    distances = cdist(*flat)
    if exclude_self:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def cases():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400, 50))
    centre = rng.normal(size=(1, 50))
    return {
        "float64": (rng.normal(size=(90, 50)), normal),
        "float32 far from 0": ((rng.normal(size=(90, 50)) + 1000).astype("f"), (normal + 1000).astype("f")),
        "uint8 images": (rng.integers(0, 256, (80, 7, 9), np.uint8), rng.integers(0, 256, (150, 7, 9), np.uint8)),
        "bool masks": (rng.random((30, 40)) < 0.5, rng.random((60, 40)) < 0.5),
        "signed": (rng.integers(-128, 128, (40, 30), np.int8), rng.integers(-128, 128, (60, 30), np.int8)),
        "collapsed": (rng.normal(size=(70, 50)), centre + 1e-5 * normal),
        "collapsed on the queries": (centre + 1e-6 * rng.normal(size=(70, 50)), centre + 1e-6 * normal),
        "repeated": (rng.normal(size=(70, 50)), np.tile(rng.normal(size=(9, 50)), (30, 1))),
        "far from a collapse": (1e3 + rng.normal(size=(70, 50)), centre + 1e-5 * normal),
        "an outlier": (rng.normal(size=(70, 50)), np.vstack([normal, np.full((1, 50), 1e6)])),
        "long rows": (rng.normal(size=(10, 9000)), rng.normal(size=(30, 9000))),
        "very small": (1e-30 * rng.normal(size=(20, 90)), 1e-30 * rng.normal(size=(50, 90))),
        "very large": (1e30 * rng.normal(size=(20, 90)), 1e30 * rng.normal(size=(50, 90))),
        "one reference": (rng.normal(size=(20, 9)), rng.normal(size=(1, 9))),
        "all equal": (np.ones((5, 9)), np.ones((8, 9))),
    }


CASES = cases()


@pytest.mark.parametrize("memory", [2**29, 2**15])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_brute_force(name, k, memory):
    queries, references = CASES[name]
    k = min(k, len(references))
    found, expected = nearest(queries, references, k=k, memory=memory), brute(queries, references, k)
    np.testing.assert_allclose(found.distances, expected[0], rtol=1e-12)
    if name != "repeated":  # where cdist itself breaks exact ties by its rounding
        np.testing.assert_array_equal(found.indices, expected[1])


@pytest.mark.parametrize("memory", [2**29, 2**15])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", ["float64", "uint8 images", "collapsed"])
def test_a_row_is_not_its_own_neighbour(name, k, memory):
    rows = CASES[name][1]
    found, expected = nearest(rows, rows, k=k, exclude_self=True, memory=memory), brute(rows, rows, k, True)
    np.testing.assert_allclose(found.distances, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(found.indices, expected[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_identical_rows_are_at_exactly_zero(dtype):
    rng = np.random.default_rng(1)
    references = (200 + 20 * rng.normal(size=(300, 4096))).astype(dtype)
    order = rng.permutation(300)
    found = nearest(references[order], references)
    assert (found.distances == 0).all()
    np.testing.assert_array_equal(found.indices[:, 0], order)
    product = torch.cdist(torch.from_numpy(references).float(), torch.from_numpy(references).float())
    assert product.diagonal().max() > 0  # what the matrix product alone would have said


def test_exclude_self_keeps_twins_and_ties_go_to_the_smaller_index():
    rows = np.random.default_rng(2).normal(size=(10, 6))
    twins = np.vstack([rows, rows, rows])
    found = nearest(twins, twins, k=3, exclude_self=True)
    assert (found.distances[:, :2] == 0).all()
    assert (found.distances[:, 2] > 0).all()
    np.testing.assert_array_equal(found.indices[:10, :2], np.stack([np.arange(10, 20), np.arange(20, 30)], axis=1))
    np.testing.assert_array_equal(found.indices[10:20, :2], np.stack([np.arange(10), np.arange(20, 30)], axis=1))


@pytest.mark.parametrize("name", ["collapsed", "collapsed on the queries"])
def test_a_collapsed_set_is_told_apart_by_the_second_product(name, monkeypatch):
    compared = []
    literal = distances.direct
    monkeypatch.setattr(distances, "direct", lambda *a: compared.append(len(a[2])) or literal(*a))
    queries, references = CASES[name]
    nearest(queries, references)
    assert sum(compared) < 3 * len(queries)


def test_caller_precision_is_overruled_and_restored():
    queries, references = CASES["float64"]
    expected = nearest(queries, references)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = nearest(queries, references)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize(
    ("queries", "references", "options", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), {}, "queries has 4 values a row and references has 5"),
        (np.ones((3, 4)), np.ones((3, 4)), {"k": 4}, "k is 4, but there are 3"),
        (np.ones((3, 4)), np.ones((3, 4)), {"k": 3, "exclude_self": True}, "k is 3, but there are 2"),
        (np.ones((3, 4)), np.ones((2, 4)), {"exclude_self": True}, "their numbers differ"),
        (np.array([[0, np.nan]]), np.ones((3, 2)), {}, "queries holds NaN"),
        (np.ones((3, 2)), np.array([[0, 1], [0, -np.inf]]), {}, "references holds NaN or infinite values in 1 rows"),
        (np.ones((0, 2)), np.ones((3, 2)), {}, "queries has shape"),
        (np.ones(3), np.ones((3, 2)), {}, "queries has shape"),
    ],
)
def test_bad_input_is_named(queries, references, options, message):
    with pytest.raises(ValueError, match=message):
        nearest(queries, references, **options)
