"""Slices of volumes, upright whatever the order and the direction of the stored axes."""

import importlib.util
import itertools
import sys

import numpy as np
import pytest

from tests.cohorts.io.test_user_images import opened
from tests.cohorts.toy import folder, noise

HAS_NIBABEL = importlib.util.find_spec("nibabel") is not None
needs_nibabel = pytest.mark.skipif(not HAS_NIBABEL, reason="nibabel is not installed (extra `data`)")
RAS = np.random.default_rng(0).integers(0, 200, (24, 20, 5)).astype(np.uint8)  # right, anterior, superior


def saved(path, data, affine=None, **header):
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data, np.diag([1.0, 1, 3, 1]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def shown(path):
    from lib.cohorts.io import nifti_files

    return list(nifti_files.read(path))


@needs_nibabel
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([1, -1], repeat=3)))
def test_every_stored_orientation_gives_the_same_upright_slices(tmp_path, order, flips):
    """nibabel's array as it is, is turned by 90° and mirrored, as in every transposed copy."""
    spacing, affine = np.array([1.0, 1, 3]), np.zeros((4, 4))
    affine[3, 3] = 1
    data = RAS.transpose(order)
    for axis, world in enumerate(order):
        affine[world, axis] = flips[axis] * spacing[world]
    data = data[tuple(slice(None, None, flip) for flip in flips)]
    slices = shown(saved(tmp_path / "a.nii", data, affine))
    assert len(slices) == 5
    for height, one in enumerate(slices):
        # A radiologist sees the patient from the feet: anterior at the top, the patient's right at the left.
        upright = [[RAS[right, anterior, height] for right in reversed(range(24))] for anterior in reversed(range(20))]
        np.testing.assert_array_equal(one.pixels, upright)
        assert one.is_8_bit


@needs_nibabel
@pytest.mark.parametrize(
    ("thick", "plane", "shape"), [(2, "axial", (20, 24)), (1, "coronal", (5, 24)), (0, "sagittal", (5, 20))]
)
def test_the_plane_of_the_pictures_is_that_of_the_widest_spacing(tmp_path, thick, plane, shape):
    from lib.cohorts.io import nifti_files

    spacing = [1.0, 1, 1, 1]
    spacing[thick] = 5
    path = saved(tmp_path / "a.nii.gz", RAS, np.diag(spacing))
    slices = shown(path)
    assert slices[0].rules == {f"cut into {plane} slices"}
    assert slices[0].pixels.shape == shape
    assert nifti_files.facts(path).shapes == {shape: RAS.shape[thick]}
    equal = shown(saved(tmp_path / "b.nii", RAS, np.eye(4)))
    assert equal[0].rules == {"cut into axial slices"}


@needs_nibabel
def test_scaled_numbers_pictures_and_series(tmp_path):
    from lib.cohorts.io import nifti_files

    deep = saved(tmp_path / "deep.nii", RAS.astype(np.int16), scl_slope=2, scl_inter=-100)
    assert not shown(deep)[0].is_8_bit
    flat = shown(saved(tmp_path / "flat.nii", RAS[..., 0]))
    np.testing.assert_array_equal(flat[0].pixels, RAS[::-1, ::-1, 0].T)
    assert len(flat) == 1
    assert len(shown(saved(tmp_path / "times.nii", np.stack([RAS, RAS[::-1]], -1)))) == 10
    colour = np.zeros(RAS.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"], colour["G"], colour["B"] = RAS, 10, 20
    first = shown(saved(tmp_path / "colour.nii", colour))[0]
    assert [nifti_files.facts(tmp_path / name).is_colour for name in ("deep.nii", "colour.nii")] == [False, True]
    np.testing.assert_allclose(first.pixels, (0.299 * RAS[::-1, ::-1, 0] + 5.87 + 2.28).T, atol=1e-3)


@needs_nibabel
def test_volumes_in_a_folder_are_patients_of_many_slices(tmp_path):
    for name in "ab":
        saved(tmp_path / "f" / f"{name}.nii.gz", np.kron(RAS, np.ones((2, 2, 1), np.uint8)))
    folder(tmp_path / "f", noise(2))
    saved(tmp_path / "f" / "labels.nii", RAS, intent_code=1002)
    found = opened(tmp_path / "f")
    assert len(found.images) == 12
    assert len(set(found.patients)) == 4
    assert "2 files cut into axial slices" in found.rules
    assert [tuple(note) for note in found.passed] == [("labels.nii", "a map of labels, no image of a patient")]


@needs_nibabel
@pytest.mark.parametrize("content", [b"nothing", b""])
def test_a_damaged_volume_is_named(tmp_path, content):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nii: not a readable NIfTI file; repair the file or take it out"):
        opened(tmp_path / "a.nii")
    whole = saved(tmp_path / "b.nii.gz", np.kron(RAS, np.ones((4, 4, 1), np.uint8)))
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"b\.nii\.gz: truncated or damaged"):
        opened(whole)


@needs_nibabel
def test_a_volume_of_claimed_size_is_refused_before_it_is_read(tmp_path):
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((4000, 4000, 400))
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 4)
    with pytest.raises(
        ValueError, match=r"a\.nii: 4000×4000×400 numbers of 16 bits take more than 1,073,741,824 bytes"
    ):
        opened(tmp_path / "a.nii")


def test_without_nibabel_the_command_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    (tmp_path / "a.nii").write_bytes(b"\0" * 352)
    with pytest.raises(ImportError, match=r"NIfTI images need nibabel: run `pip install -e '\.\[data\]'`"):
        opened(tmp_path / "a.nii")
