import numpy as np
import pytest
import scipy.linalg
import torch

from lib.metrics.fidelity import frechet as fidelity
from lib.metrics.fidelity import spectrum, two_sample
from lib.metrics.fidelity.frechet import frechet_distance
from lib.metrics.fidelity.kernel import kernel_distance


def literal(real, synthetic):
    """The formula as pytorch-fid writes it."""
    first, second = np.cov(real, rowvar=False), np.cov(synthetic, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    difference = real.mean(axis=0) - synthetic.mean(axis=0)
    return difference @ difference + np.trace(first + second - 2 * root)


def whitened(rng, n, d):
    """Rows of mean 0 and covariance 1 exactly, but for rounding."""
    centred = rng.normal(size=(n, d))
    return np.linalg.qr(centred - centred.mean(axis=0))[0] * (n - 1) ** 0.5


def draw(rng, n, d, spread=1.0, shift=0.0):
    return rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d)) / d**0.5) * spread + shift


@pytest.mark.parametrize(
    ("n1", "n2", "d"), [(400, 300, 30), (200, 200, 120), (25, 400, 30), (400, 25, 30), (20, 22, 60)]
)
def test_frechet_equals_the_matrix_root(n1, n2, d):
    rng = np.random.default_rng(n1 + d)
    real, synthetic = draw(rng, n1, d), draw(rng, n2, d, spread=1.4, shift=0.3)
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(literal(real, synthetic), rel=1e-6)


@pytest.mark.parametrize("n", [10, 500])
def test_equal_covariance_leaves_the_squared_shift(n):
    rng = np.random.default_rng(0)
    real, shift = rng.normal(size=(n, 40)), rng.normal(size=40)
    assert frechet_distance(real=real, synthetic=real + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_diagonal_gaussians_have_a_closed_form():
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0.1, 3, (2, 50))
    real, synthetic = whitened(rng, 200, 50) * first, whitened(rng, 150, 50) * second + 0.2
    expected = 50 * 0.04 + ((first - second) ** 2).sum()
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(expected, rel=1e-9)


def test_constant_and_repeated_features_are_allowed():
    rng = np.random.default_rng(3)
    real, synthetic = draw(rng, 200, 12), draw(rng, 150, 12, 1.5, 0.4)
    plain = frechet_distance(real=real, synthetic=synthetic)
    for widened in ([np.full((200, 5), 7.0), np.full((150, 5), 7.0)], [np.zeros((200, 250)), np.zeros((150, 250))]):
        padded = [np.hstack(pair) for pair in zip((real, synthetic), widened, strict=True)]
        assert frechet_distance(real=padded[0], synthetic=padded[1]) == pytest.approx(plain, rel=1e-7)
    # A feature counted twice: orthogonal directions (1, 1) carry all of it, so the distance doubles.
    twice = frechet_distance(real=np.hstack([real, real]), synthetic=np.hstack([synthetic, synthetic]))
    assert twice == pytest.approx(2 * plain, rel=1e-6)


@pytest.mark.parametrize("n", [15, 300])
def test_frechet_invariances(n):
    rng = np.random.default_rng(4)
    real, synthetic = draw(rng, n, 30).astype(np.float32), draw(rng, 2 * n, 30, 1.2, 0.3).astype(np.float32)
    value = frechet_distance(real=real, synthetic=synthetic)
    assert frechet_distance(real=real[::-1], synthetic=torch.from_numpy(synthetic)) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(real=synthetic, synthetic=real) == pytest.approx(value, rel=1e-8)
    assert frechet_distance(real=10 * real, synthetic=10 * synthetic) == pytest.approx(100 * value, rel=1e-5)
    assert 0 <= frechet_distance(real=real, synthetic=real) < 1e-9 * value


@pytest.mark.parametrize(("n1", "n2", "d"), [(60, 80, 10), (20, 30, 40), (50, 45, 44)])
def test_subsets_at_once_equal_subsets_one_by_one(n1, n2, d):
    rng = np.random.default_rng(5)
    real, synthetic = draw(rng, n1, d, shift=50), draw(rng, n2, d, 1.3, 50.2)
    keep = {"real_keep": rng.random((6, n1)) < 0.7, "synthetic_keep": rng.random((6, n2)) < 0.8}
    found = fidelity.frechet_of_subsets(real=real, synthetic=synthetic, **keep, memory=10**5)
    pairs = zip(keep["real_keep"], keep["synthetic_keep"], strict=True)
    expected = [frechet_distance(real=real[one], synthetic=synthetic[two]) for one, two in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (np.ones((1, 3)), np.ones((5, 3)), "real has 1 row"),
        (np.ones((5, 3)), np.ones((5, 4)), "real has 3 values a row and synthetic has 4"),
        (np.ones((5, 3, 3)), np.ones((5, 3)), "real has shape"),
        (np.ones((5, 3)), np.array([[1, 2, 3], [1, np.nan, 2]]), "synthetic holds NaN or infinite values in 1 rows"),
        (np.full((5, 3), np.inf), np.ones((5, 3)), "real holds NaN or infinite"),
        (np.ones((0, 3)), np.ones((5, 3)), "real has shape"),
    ],
)
@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance])
def test_bad_features_are_named(metric, real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        metric(real=real, synthetic=synthetic)


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match="cutoff"):
        spectrum.high_frequency_share(np.ones((1, 4, 4)), cutoff=0.7)
    with pytest.raises(ValueError, match="shape"):
        spectrum.high_frequency_share(np.ones((4, 4)))
    with pytest.raises(ValueError, match="too few for 5 folds"):
        two_sample.artefact_test(
            real=np.ones((9, 2)), synthetic=np.ones((9, 2)), real_groups=[0] * 9, rng=np.random.default_rng(0)
        )
