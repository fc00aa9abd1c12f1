import csv

import numpy as np
import pytest
import torch
from PIL import Image

from lib.metrics.fidelity import radiomics as module
from lib.metrics.fidelity.frechet import frechet_distance
from lib.metrics.fidelity.kernel import kernel_distance
from lib.metrics.fidelity.radiomics import (
    FIRST_ORDER,
    RADIOMICS_FEATURES,
    radiomics,
    scaled_together,
)
from tests.paths import ORACLES, SHARED

REAL = SHARED / "mammo_dp"
SCALE = 7.45670747756958


def oracle(name):
    with (ORACLES / name).open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0][1:]) == RADIOMICS_FEATURES
    return [row[0] for row in rows[1:]], np.array([row[1:] for row in rows[1:]], dtype=float)


@pytest.fixture(scope="module")
def textures():
    with np.load(ORACLES / "radiomics_images.npz") as file:
        return file["images"]


def edge_cases():
    """Images whose features hinge on conventions: single levels, lines, gaps, negative values, values on bin edges."""
    rows, columns = np.mgrid[:9, :14]
    corner = np.full((6, 6), 10)
    corner[0, 0] = 200
    return {
        "constant": np.full((8, 8), 100),
        "black": np.zeros((5, 5)),
        "line": (np.arange(9) * 67 % 256)[None],
        "corner": corner,
        "checkerboard": np.indices((6, 6)).sum(axis=0) % 2 * 200,
        "negative": 90 * np.sin(0.7 * rows) + 60 * np.cos(1.1 * columns) - 40,
        "edges": 25.0 * ((3 * rows + 5 * columns) % 7) - 75,
        "three": np.array([[0, 255, 30], [60, 61, 62], [255, 255, 1]]),
        "halves": np.where(columns < 7, 20, 240),
        "pair": np.array([[3, 200, 120]]),
    }


def column(name):
    return RADIOMICS_FEATURES.index(name)


# The same numbers as PyRadiomics


def test_uint8_textures_equal_pyradiomics_with_its_overflow(textures):
    _, expected = oracle("radiomics_images.csv")
    np.testing.assert_allclose(radiomics(textures, wrap_uint8=True), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_textures_equal_pyradiomics_whatever_their_dtype(textures, dtype):
    _, expected = oracle("radiomics_images_float64.csv")
    np.testing.assert_allclose(radiomics(textures.astype(dtype)), expected, rtol=1e-6, atol=1e-12)


def test_the_overflow_changes_wide_images_only(textures):
    wide = [0, 1, 2, 3, 5, 6]
    differs = ~np.isclose(radiomics(textures), radiomics(textures, wrap_uint8=True)).all(axis=1)
    assert np.flatnonzero(differs).tolist() == wide


@pytest.mark.parametrize("case", edge_cases())
def test_degenerate_images_equal_pyradiomics(case):
    names, expected = oracle("radiomics_edge_cases.csv")
    found = radiomics(edge_cases()[case][None])[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected[names.index(case)], rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real images are not at {REAL}: see ../shared/data/README.md")
def test_real_crops_equal_pyradiomics():
    files, expected = oracle("pyradiomics_2d_default.csv")
    images = np.stack([np.asarray(Image.open(REAL / file)) for file in files])
    np.testing.assert_allclose(radiomics(images, wrap_uint8=True), expected, rtol=1e-6, atol=1e-12)
    narrow = np.arange(len(files)) != 9  # range 0 to 212: its bins overflow
    np.testing.assert_allclose(radiomics(images)[narrow], expected[narrow], rtol=1e-6, atol=1e-12)


# Fast equals slow and literal


def test_values_worked_by_hand():
    # Levels 1 1 / 1 2: one zone of 3, one of 1; pairs along rows 11 and 12.
    values = dict(zip(RADIOMICS_FEATURES, radiomics(np.array([[[0, 10], [20, 30]]]))[0], strict=True))
    assert values["firstorder_Mean"] == 15
    assert values["firstorder_Uniformity"] == pytest.approx(0.75**2 + 0.25**2)
    assert values["glszm_ZonePercentage"] == 2 / 4
    assert values["glszm_LargeAreaEmphasis"] == (9 + 1) / 2
    assert values["glszm_HighGrayLevelZoneEmphasis"] == (1 + 4) / 2
    # Rows and columns: one pair 11, one 12; falling diagonal: 12; rising diagonal: 11.
    assert values["glcm_Contrast"] == pytest.approx((0.5 + 0.5 + 1 + 0) / 4)
    assert values["glcm_JointAverage"] == pytest.approx((1.25 + 1.25 + 1.5 + 1) / 4)
    # Runs: rows 11, 1, 2; columns the same; falling 12 crossed and two corners: four of 1; rising: 11 and two corners.
    assert values["glrlm_RunPercentage"] == pytest.approx((3 + 3 + 4 + 3) / 4 / 4)
    assert values["gldm_LargeDependenceEmphasis"] == pytest.approx((3 * 9 + 1) / 4)
    # Level 1 pixels see 1, 1, 2: difference 1/3 each; the level 2 pixel sees only 1.
    assert values["ngtdm_Coarseness"] == pytest.approx(1 / (0.75 * 1 + 0.25 * 1))


@pytest.mark.parametrize("bin_width", [25.0, 5, 0.1, 0.3, 7.5])
def test_bins_are_those_of_numpy_digitize(bin_width):
    rng = np.random.default_rng(5)
    image = np.round(rng.normal(0, 20, (1, 12, 12)) * bin_width / 4, 1)  # many values lie on an edge
    start = image.min() - image.min() % bin_width
    expected = np.digitize(image, np.arange(start, image.max() + 2 * bin_width, bin_width)) - 1
    found = module._discretised(torch.from_numpy(image), 0, bin_width, False)
    agree = found.numpy() == expected
    # numpy.arange places its edges with its own rounding: only a pixel within it may differ.
    assert (np.abs(image / bin_width - np.round(image / bin_width))[~agree] < 1e-9).all()
    assert agree.all() or bin_width < 1


# Invariances


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batch_size_does_not_matter(textures, batch):
    images = np.concatenate([textures, 255 - textures[:3]])
    np.testing.assert_allclose(radiomics(images, batch=batch), radiomics(images), rtol=1e-11, atol=1e-11)


def test_threads_keep_the_order(textures):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        np.testing.assert_array_equal(radiomics(textures, batch=1)[::-1], radiomics(textures[::-1], batch=1))
    finally:
        torch.set_num_threads(threads)


def test_many_levels_split_the_batch(monkeypatch, textures):
    expected = radiomics(textures, bin_width=1)
    monkeypatch.setattr(module, "_MATRIX_CELLS", 1)
    np.testing.assert_allclose(radiomics(textures, bin_width=1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("turn", [lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 2, 1)])
def test_flips_and_transposition_do_not_matter(textures, turn):
    images = textures[:, :40]
    np.testing.assert_allclose(radiomics(turn(images)), radiomics(images), rtol=1e-9, atol=1e-9)


def test_a_shift_by_whole_bins_moves_the_grey_values_only(textures):
    images = textures.astype(np.float32)
    first, second = radiomics(images), radiomics(images + 50)
    texture = np.arange(102) >= FIRST_ORDER.stop
    np.testing.assert_allclose(second[:, texture], first[:, texture], rtol=1e-10, atol=1e-10)
    mean = column("firstorder_Mean")
    np.testing.assert_allclose(second[:, mean], first[:, mean] + 50)


def test_read_only_memory_and_lists_are_fine(textures):
    expected = radiomics(textures[:1])
    np.testing.assert_array_equal(radiomics(np.broadcast_to(textures[0], (2, 64, 64)), batch=1)[1:], expected)
    np.testing.assert_allclose(radiomics(textures[:1].tolist()), expected, rtol=1e-9, atol=1e-9)


def test_tensors_give_tensors(textures):
    found = radiomics(torch.from_numpy(textures))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found.numpy(), radiomics(textures))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu(textures):
    found = radiomics(torch.from_numpy(textures).cuda())
    assert found.is_cuda
    np.testing.assert_allclose(found.cpu(), radiomics(textures, device="cpu"), rtol=1e-9, atol=1e-9)


def test_rows_of_a_file_are_read_a_batch_at_a_time(textures):
    class Rows:
        shape, dtype, longest = textures.shape, textures.dtype, 0

        def __getitem__(self, which):
            self.longest = max(self.longest, which.stop - which.start)
            return textures[which]

    rows = Rows()
    np.testing.assert_array_equal(radiomics(rows, batch=2), radiomics(textures, batch=2))
    assert rows.longest == 2


def test_first_order_is_a_slice_of_the_names():
    assert len(RADIOMICS_FEATURES) == 102
    assert {name.split("_")[0] for name in RADIOMICS_FEATURES[FIRST_ORDER]} == {"firstorder"}
    assert sum(name.startswith("firstorder") for name in RADIOMICS_FEATURES) == 18


# Cache


def test_cache_returns_what_was_stored_and_mends_damage(tmp_path, monkeypatch, textures):
    images = textures[:2]
    first = radiomics(images, cache=tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_of_block", None)
        np.testing.assert_array_equal(radiomics(images, cache=path.parent, batch=1), first)
        tensor = radiomics(torch.from_numpy(images), cache=path.parent)
        np.testing.assert_array_equal(tensor.numpy(), first)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], whole[:10], b"", b"not an archive", bytes(flipped)):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(radiomics(images, cache=path.parent), first)
        assert path.read_bytes() == whole


def test_cache_tells_pixels_settings_and_shapes_apart(tmp_path, textures):
    radiomics(textures[:2], cache=tmp_path)
    radiomics(textures[:2], cache=tmp_path, bin_width=10)
    radiomics(textures[:2], cache=tmp_path, wrap_uint8=True)
    radiomics(textures[:2].reshape(2, 32, 128), cache=tmp_path)
    radiomics(textures[:2].view(np.int8), cache=tmp_path)
    radiomics(255 - textures[:2], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


# Bad input


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (np.zeros((4, 4)), {}, r"shape \(4, 4\)"),
        (np.zeros((2, 1, 4, 4)), {}, r"shape \(2, 1, 4, 4\)"),
        (np.zeros((0, 4, 4)), {}, "at least one"),
        (np.zeros((2, 1, 2)), {}, "1 x 2 pixels"),
        (np.zeros((2, 4, 4), complex), {}, "complex"),
        (np.zeros((2, 4, 4), bool), {}, "bool"),
        (np.stack([np.zeros((4, 4)), np.full((4, 4), np.nan)]), {"batch": 1}, "first: image 1"),
        (np.full((1, 4, 4), np.inf), {}, "infinite"),
        (np.array([[[0.0, 1e9, 5.0]]]), {}, "wider"),
        (np.zeros((1, 4, 4)), {"bin_width": 0}, "bin_width"),
        (np.zeros((1, 4, 4)), {"bin_width": np.nan}, "bin_width"),
        (np.zeros((1, 4, 4)), {"batch": 0}, "batch"),
        (np.zeros((1, 4, 4)), {"wrap_uint8": True}, "uint8"),
        (np.array([[[0, 100, 206]]], np.uint8), {"wrap_uint8": True}, "bin edges"),
        (np.array([[[255, 255, 255]]], np.uint8), {"wrap_uint8": True}, "bin edges"),
    ],
)
def test_bad_images_raise_one_clear_sentence(images, settings, message):
    with pytest.raises(ValueError, match=message):
        radiomics(images, **settings)


# Fréchet radiomics distance


def frd(*, real, synthetic):
    """The Fréchet radiomics distance, v0."""
    real, synthetic = scaled_together(real=real, synthetic=synthetic)
    return frechet_distance(real=real, synthetic=synthetic)


def test_distance_of_a_set_to_itself_is_zero(textures):
    features = radiomics(np.concatenate([textures, textures[:, ::-1, :] // 2]))
    assert frd(real=features, synthetic=features) < 1e-3


def test_raw_radiomics_are_refused_as_features_of_a_distance(textures):
    """Energy alone is 1e7, most others near 1; scaled together, they are taken."""
    first, second = radiomics(textures[:4]), radiomics(textures[4:])
    scaled = dict(zip(("real", "synthetic"), scaled_together(real=first, synthetic=second), strict=True))
    for metric in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="real has features of unlike scales"):
            metric(real=first, synthetic=second)
        assert np.isfinite(metric(**scaled))


@pytest.mark.parametrize("columns", [slice(None), FIRST_ORDER])
def test_distance_is_symmetric(columns):
    rng = np.random.default_rng(6)
    first, second = (radiomics(rng.normal(m, 40, (30, 12, 12)))[:, columns] for m in (120, 140))
    there = frd(real=first, synthetic=second)
    assert there > 0.1
    assert there == pytest.approx(frd(real=second, synthetic=first), rel=1e-6)


def test_distance_of_two_gaussians_has_its_closed_form():
    rng = np.random.default_rng(7)
    means, deviations = np.array([[0, 5, -2], [1, 5, 3]]), np.array([[1, 2, 0.5], [2, 2, 1.5]])
    real, synthetic = (rng.normal(m, s, (50_000, 3)) for m, s in zip(means, deviations, strict=True))
    joined = np.concatenate([real, synthetic])
    unit = SCALE / np.ptp(joined, axis=0)
    expected = (unit**2 * (np.diff(means, axis=0) ** 2 + np.diff(deviations, axis=0) ** 2)).sum()
    assert frd(real=real, synthetic=synthetic) == pytest.approx(expected, rel=0.01)


def test_distance_scales_over_both_sets_joined():
    # Joined range 0 to 2: means ¼ and ¾ of the scale, variances equal.
    real, synthetic = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert frd(real=real, synthetic=synthetic) == pytest.approx((SCALE / 2) ** 2)
    assert frd(real=9 * real - 4, synthetic=9 * synthetic - 4) == pytest.approx((SCALE / 2) ** 2)


def test_constant_and_missing_values_become_the_middle():
    real, synthetic = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    flat = np.full((2, 1), 3.0)
    missing = np.full((2, 1), np.nan)
    expected = frd(real=real, synthetic=synthetic)
    for extra in (flat, missing):
        wide = frd(real=np.hstack([real, extra]), synthetic=np.hstack([synthetic, extra]))
        assert wide == pytest.approx(expected)
    # One NaN among 0, 2 and 1: it counts as 1.
    one_missing = frd(real=np.array([[0.0], [np.nan]]), synthetic=synthetic)
    assert one_missing == pytest.approx(expected)


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (np.full((3, 2), np.inf), np.zeros((3, 2)), "infinite"),
        (np.zeros((3, 2)), np.zeros((3, 3)), "same features"),
        (np.zeros(3), np.zeros(3), "same features"),
        (np.zeros((1, 2)), np.zeros((3, 2)), "row"),
    ],
)
def test_bad_features_raise_one_clear_sentence(real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        frd(real=real, synthetic=synthetic)
