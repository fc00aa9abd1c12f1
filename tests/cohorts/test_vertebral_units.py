"""Units cut out of made volumes: where they lie, how they are turned and scaled, and what is refused."""

import numpy as np
import pytest

from lib.cohorts.phantoms import vertebra
from lib.cohorts.vertebral_units import Frame, Scan, cohort_of, cut

SHAPE, SPACING = (15, 120, 160), (4.0, 1.0, 0.5)


def made(value):
    """A volume of `value(z, y, x)`, in mm."""
    return value(*np.meshgrid(*(np.arange(n) * d for n, d in zip(SHAPE, SPACING, strict=True)), indexing="ij"))


def scan(volume, *frames, **changed):
    of = {"volume": volume, "spacing": SPACING, "patient": 7, "frames": frames, "name": "scan 7"}
    return Scan(**(of | changed))


def frame(**changed):
    of = {"centre": (7, 60, 80), "width": 40.0, "degrees": 0.0, "region": 2, "level": "L2/3"}
    return Frame(**(of | changed))


@pytest.mark.parametrize("degrees", [0.0, 25.0, -40.0])
@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_a_ramp_comes_out_as_its_formula_turned_and_scaled(degrees, size):
    volume = made(lambda z, y, x: 3 * z + 2 * y + x)
    found = cut(scan(volume, frame(degrees=degrees)), size=size)[0].astype(float)
    low, high = np.percentile(volume, (0.5, 99.5))
    down = 20 * ((np.arange(size[0]) + 0.5) / size[0] - 0.5)[:, None]
    along = 40 * ((np.arange(size[1]) + 0.5) / size[1] - 0.5)
    turn = np.radians(degrees)
    y = 60 + np.cos(turn) * down + np.sin(turn) * along
    x = 40 + np.cos(turn) * along - np.sin(turn) * down
    z = 4.0 * (7 + np.arange(9) - 4)[:, None, None]
    np.testing.assert_allclose(found, 255 * (3 * z + 2 * y + x - low) / (high - low), atol=0.51)


def test_a_tilted_disc_comes_out_level():
    turn = np.radians(20)
    volume = made(lambda z, y, x: abs((y - 60) * np.cos(turn) - (x - 40) * np.sin(turn)) < 3)
    level, tilted = (cut(scan(volume, frame(degrees=of)))[0, 4].astype(float) for of in (20.0, 0.0))
    middle = [(np.arange(64) @ of) / of.sum(axis=0) for of in (level, tilted)]  # of the disc, in rows
    slopes = [np.polyfit(np.arange(64), of, 1)[0] for of in middle]
    assert abs(slopes[0]) < 0.01 < 0.3 < abs(slopes[1])
    assert np.mean(level[:, ::8] > 128) == pytest.approx(6 / 20, abs=0.03)  # 6 mm of a frame that is 20 mm high


def test_half_the_width_magnifies_twice():
    volume = made(lambda z, y, x: (np.hypot(y - 60, x - 40) < 4) | (x < 8))
    wide, narrow = (np.mean(cut(scan(volume, frame(width=of)))[0, 4] > 128) for of in (40.0, 20.0))
    assert narrow == pytest.approx(4 * wide, rel=0.05)


def test_slices_are_the_scans_own_from_right_to_left():
    volume = made(lambda z, y, x: z + 0 * y + 0 * x)
    means = cut(scan(volume, frame(centre=(6, 60, 80))))[0].mean(axis=(1, 2))
    assert (np.diff(means) > 0).all()
    between = cut(scan(volume, frame(centre=(6.5, 60, 80))))[0].mean(axis=(1, 2))
    np.testing.assert_allclose(between[:-1], (means[:-1] + means[1:]) / 2, atol=1)


def test_a_drawn_unit_that_fills_its_volume_is_the_same_unit_squeezed():
    unit = vertebra.draw(patients=3, image_size=(112, 224), rng=np.random.default_rng(0)).images[0]
    of = Frame(centre=(4, 55.5, 111.5), width=224.0, degrees=0.0, region=0, level="C4/5")
    found = cut(Scan(unit, (4.0, 1.0, 1.0), 0, [of], "drawn"))[0].astype(float)
    low, high = np.percentile(unit, (0.5, 99.5))
    small = vertebra.draw(patients=3, image_size=64, rng=np.random.default_rng(0)).images[0]
    expected = 255 * np.clip((small - low) / (high - low), 0, 1)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98
    assert np.abs(found - expected).mean() < 8


def test_scans_become_one_cohort():
    volume = made(lambda z, y, x: y + x)
    scans = [scan(volume, frame(), frame(region=1, level="T5/6")), scan(volume, frame(), patient=8, name="scan 8")]
    found = cohort_of(scans, split=[0, 2], name="own spines", licence="own", source="made")
    assert found.images.shape == (3, 9, 64, 64)
    np.testing.assert_array_equal(found.patient, [7, 7, 8])
    np.testing.assert_array_equal(found.region, [2, 1, 2])
    np.testing.assert_array_equal(found.split, [0, 0, 2])
    assert list(found.source_name) == ["scan 7_L2/3", "scan 7_T5/6", "scan 8_L2/3"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"volume": np.zeros(SHAPE)}, "scan 7: the volume is constant"),
        ({"volume": np.full(SHAPE, np.nan)}, "scan 7: give a volume of finite numbers"),
        ({"volume": np.zeros((4, 4))}, r"not \(4, 4\)"),
        ({"spacing": (4.0, 0.0, 1.0)}, "scan 7: the spacing is"),
        ({"frames": [frame(region=3)]}, "scan 7, L2/3: region 3: 0 is cervical"),
        ({"frames": [frame(width=0.0)]}, "scan 7, L2/3: centre, width and angle"),
        ({"frames": [frame(centre=(7, 5, 80))]}, r"the frame needs rows -4.9 to 14.9 of 120"),
        ({"frames": [frame(centre=(2, 60, 80))]}, r"the frame needs slices -2.0 to 6.0 of 15: move it"),
        ({"frames": [frame(width=100.0)]}, "the frame needs columns"),
    ],
)
def test_a_bad_scan_is_refused_in_one_sentence(change, sentence):
    of = scan(made(lambda z, y, x: y + x), frame())
    with pytest.raises(ValueError, match=sentence) as caught:
        cut(of._replace(**change))
    assert "\n" not in str(caught.value)


def test_as_many_split_codes_as_scans():
    with pytest.raises(ValueError, match="1 scans and 2 split codes"):
        cohort_of([scan(made(lambda z, y, x: y + x), frame())], split=[0, 1], name="own")
