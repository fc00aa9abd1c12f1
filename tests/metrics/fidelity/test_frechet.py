import numpy as np
import pytest
import scipy.linalg
import torch

from lib.metrics.fidelity import frechet as fidelity
from lib.metrics.fidelity import spectrum, two_sample
from lib.metrics.fidelity.frechet import frechet_distance, frechet_from_moments
from lib.metrics.fidelity.kernel import kernel_distance, kernel_distance_of_subsets
from lib.metrics.fidelity.scales import standardised


def literal(real, synthetic):
    """The formula as pytorch-fid writes it."""
    first, second = np.cov(real, rowvar=False), np.cov(synthetic, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    difference = real.mean(axis=0) - synthetic.mean(axis=0)
    return difference @ difference + np.trace(first + second - 2 * root)


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
    moments = {"real_mean": np.zeros(50), "synthetic_mean": np.full(50, 0.2)}
    found = frechet_from_moments(real_covariance=np.diag(first**2), synthetic_covariance=np.diag(second**2), **moments)
    assert found == pytest.approx(50 * 0.04 + ((first - second) ** 2).sum(), rel=1e-12)


def test_few_images_agree_with_the_moments_of_a_singular_covariance():
    rng = np.random.default_rng(2)
    real, synthetic = draw(rng, 20, 50), draw(rng, 30, 50, 1.3, 0.1)
    moments = frechet_from_moments(
        real_mean=real.mean(0),
        real_covariance=np.cov(real.T),
        synthetic_mean=synthetic.mean(0),
        synthetic_covariance=np.cov(synthetic.T),
    )
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(moments, rel=1e-6)


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


def test_kernel_distance_equals_the_literal_u_statistic_and_is_unbiased():
    rng = np.random.default_rng(6)
    real, synthetic = rng.normal(size=(70, 8)), rng.normal(size=(50, 8)) + 0.4

    def kernel(x, y):
        return (x @ y / 8 + 1) ** 3

    def mean(xs, ys, same):
        return np.mean([kernel(x, y) for i, x in enumerate(xs) for j, y in enumerate(ys) if not (same and i == j)])

    expected = mean(real, real, True) + mean(synthetic, synthetic, True) - 2 * mean(real, synthetic, False)
    assert kernel_distance(real=real, synthetic=synthetic, block=16) == pytest.approx(expected, rel=1e-10)
    null = [kernel_distance(real=rng.normal(size=(20, 5)), synthetic=rng.normal(size=(20, 5))) for _ in range(300)]
    assert abs(np.mean(null)) < 3 * np.std(null) / 300**0.5


def test_subsets_of_the_kernel_distance_are_taken_from_one_pass():
    rng = np.random.default_rng(11)
    real, synthetic = rng.normal(size=(70, 8)), rng.normal(size=(50, 8)) + 0.4
    found = kernel_distance_of_subsets(
        real=real, synthetic=synthetic, size=20, subsets=30, rng=np.random.default_rng(12), block=16
    )
    draws = np.random.default_rng(12)
    rows = [draws.random((30, n)).argsort(axis=1)[:, :20] for n in (70, 50)]
    expected = [kernel_distance(real=real[one], synthetic=synthetic[two]) for one, two in zip(*rows, strict=True)]
    assert (found.value, found.sd) == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-10)
    assert (found.size, found.subsets) == (20, 30)
    whole = kernel_distance_of_subsets(real=real[:50], synthetic=synthetic, size=50, subsets=3, rng=rng)
    assert whole.value == pytest.approx(kernel_distance(real=real[:50], synthetic=synthetic), rel=1e-10)
    assert whole.sd < 1e-12
    with pytest.raises(ValueError, match="of 2 to 50 images"):
        kernel_distance_of_subsets(real=real, synthetic=synthetic, size=60, rng=rng)


def test_the_kernel_distance_of_shifted_points_has_a_closed_form():
    """Two copies of one point in each set: k(0, 0) + k(c, c) − 2 k(0, c) = (c² / d + 1)³ − 1 for d = 1."""
    value = kernel_distance(real=np.zeros((2, 1)), synthetic=np.full((3, 1), 0.5))
    assert value == pytest.approx(1.25**3 - 1)


def waves(fx, fy, size=64):
    y, x = np.mgrid[:size, :size]
    return np.cos(2 * np.pi * (fx * x + fy * y))


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [((0.125, 0), 0), ((0.25, 0), 0), ((0.265625, 0), 1), ((0, 0.5), 1), ((0.1875, 0.1875), 1), ((0.125, 0.1875), 0)],
)
def test_a_wave_lies_on_its_side_of_the_radial_cutoff(frequency, expected):
    assert spectrum.high_frequency_share(waves(*frequency)[None])[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 31, 48), (3, 2, 30, 25)])
def test_high_frequency_share_equals_the_full_transform(shape):
    images = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    fy, fx = np.fft.fftfreq(shape[-2]), np.fft.fftfreq(shape[-1])
    above = np.hypot(fy[:, None], fx) > 0.25
    power = np.abs(np.fft.fft2(images - images.mean(axis=(-2, -1), keepdims=True))) ** 2
    power[..., 0, 0] = 0
    power = power.reshape(3, -1, *shape[-2:]).sum(axis=1)
    expected = (power * above).sum(axis=(1, 2)) / power.sum(axis=(1, 2))
    np.testing.assert_allclose(spectrum.high_frequency_share(images, block=2), expected, rtol=1e-10)


def test_high_frequency_share_is_of_amplitudes_and_ignores_gain_and_offset():
    image = 2 * waves(0.125, 0) + waves(0, 0.375)
    assert spectrum.high_frequency_share(np.stack([image, 9 * image + 40])) == pytest.approx([0.2, 0.2], abs=1e-12)
    assert spectrum.high_frequency_share(np.full((1, 8, 8), 3, np.uint8))[0] == 0


def test_artefact_test_is_at_chance_for_one_population_and_certain_for_another():
    rng = np.random.default_rng(8)
    features, patients = rng.normal(size=(120, 6)), np.repeat(np.arange(60), 2)
    same = two_sample.artefact_test(
        real=features, synthetic=rng.normal(size=(90, 6)), rng=rng, real_groups=patients, trees=40
    )
    assert 0.35 < same.auroc < 0.65
    assert same.labels.sum() == 90
    assert len(np.unique(same.groups)) == 150
    other = two_sample.artefact_test(real=features, synthetic=rng.normal(size=(90, 6)) + 3, rng=rng, trees=40)
    assert other.auroc > 0.99


def test_artefact_test_keeps_a_patient_in_one_fold():
    rng = np.random.default_rng(9)
    # Each patient has one constant pattern: a forest that sees it in training would recognise it as real.
    patients = np.repeat(np.arange(30), 8)
    real = np.repeat(rng.normal(size=(30, 4)), 8, axis=0)
    leaky = two_sample.artefact_test(real=real, synthetic=rng.normal(size=(240, 4)), rng=rng, trees=40)
    grouped = two_sample.artefact_test(
        real=real, synthetic=rng.normal(size=(240, 4)), rng=rng, real_groups=patients, trees=40
    )
    assert leaky.auroc > 0.95
    assert grouped.auroc < 0.75


def test_two_halves_of_one_population_look_alike_when_both_sides_have_patients():
    rng = np.random.default_rng(10)
    halves = {side: np.repeat(rng.normal(size=(30, 4)), 8, axis=0) for side in ("real", "synthetic")}
    groups = {f"{side}_groups": np.repeat(np.arange(30), 8) for side in halves}
    assert two_sample.artefact_test(**halves, rng=rng, trees=40).auroc > 0.95
    assert two_sample.artefact_test(**halves, **groups, rng=rng, trees=40).auroc < 0.7


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


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance])
def test_features_of_unlike_scales_are_refused_and_taken_when_standardised(metric):
    """Ten features of unit SD and one of 1e7, as raw radiomics have: the last would be all of the distance."""
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(50, 11)), rng.normal(1, 1, size=(60, 11))
    wild = np.array([1.0] * 10 + [1e7])
    for first, second, name in ((wild, wild, "real"), (1, wild, "synthetic")):
        with pytest.raises(ValueError, match=f"{name} has features of unlike scales .*largest .*e.0[67], median"):
            metric(real=real * first, synthetic=synthetic * second)
    value = metric(**standardised(real=real, synthetic=synthetic))
    assert metric(**standardised(real=5 + real * wild, synthetic=5 + synthetic * wild)) == pytest.approx(value)


def test_standardised_features_have_mean_0_and_sd_1_in_the_real_set():
    rng = np.random.default_rng(0)
    real = np.hstack([rng.normal(3, 5, size=(40, 2)), np.full((40, 1), 1e5)])
    both = standardised(real=real, synthetic=real + [5, 0, 2])
    found, shifted = both["real"].numpy(), both["synthetic"].numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=0, ddof=1), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(shifted - found, np.tile([5 / real[:, 0].std(ddof=1), 0, 2], (40, 1)), atol=1e-9)


def test_other_bad_input_is_named():
    good = {"real_mean": np.zeros(2), "synthetic_mean": np.zeros(2), "real_covariance": np.eye(2)}
    for covariance, message in (
        (np.array([[1, 2], [0, 1]]), "not symmetric"),
        (np.diag([1, -1]), "negative eigenvalue"),
        (np.eye(3), "asks for"),
    ):
        with pytest.raises(ValueError, match=message):
            frechet_from_moments(**good, synthetic_covariance=covariance)
    with pytest.raises(ValueError, match="cutoff"):
        spectrum.high_frequency_share(np.ones((1, 4, 4)), cutoff=0.7)
    with pytest.raises(ValueError, match="shape"):
        spectrum.high_frequency_share(np.ones((4, 4)))
    with pytest.raises(ValueError, match="too few for 5 folds"):
        two_sample.artefact_test(
            real=np.ones((9, 2)), synthetic=np.ones((9, 2)), real_groups=[0] * 9, rng=np.random.default_rng(0)
        )
