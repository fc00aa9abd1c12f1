"""A manifest: what was changed since is named, and nothing outside its folder is read."""

import os

import pytest

from lib.core.manifest import damaged, damages, describe


@pytest.fixture
def described(tmp_path):
    for name in ("same", "touched", "emptied", "edited", "gone", "replaced"):
        (tmp_path / name).write_text("content")
    files = describe([path for path in tmp_path.iterdir()], tmp_path)
    (tmp_path / "emptied").write_text("")
    (tmp_path / "edited").write_text("contend")
    (tmp_path / "gone").unlink()
    (tmp_path / "replaced").unlink()
    (tmp_path / "replaced").mkdir()
    for name in ("touched", "edited"):
        os.utime(tmp_path / name, ns=(1, 1))
    return files, tmp_path


def test_each_change_is_named(described):
    assert dict(damaged(*described)) == {
        "edited": "edited is damaged (its content has changed)",
        "emptied": "emptied is damaged (0 bytes of 7)",
        "gone": "gone is absent",
        "replaced": "replaced is no file: move it away",
    }


@pytest.mark.parametrize("name", ["/dev/zero", "../same", "a/../../same"])
def test_a_file_outside_is_not_read(tmp_path, name):
    with pytest.raises(ValueError, match="is no file of"):
        list(damages({name: {"size": 0, "mtime_ns": 0, "sha256": "x"}}, tmp_path))


def test_a_device_is_not_read(tmp_path):
    os.symlink("/dev/zero", tmp_path / "zero")
    told = {"zero": {"size": 0, "mtime_ns": 0, "sha256": "x"}}
    assert list(damages(told, tmp_path)) == ["zero is no file: move it away"]
