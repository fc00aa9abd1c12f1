"""A file is written whole or not at all."""

import errno

import pytest

from lib.core.files import atomic, is_partial


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fill_the_disk():
        with atomic(path) as partial:
            partial.write_text("half of the new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"a\.txt: could not be written \(No space left on device\)"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.txt", "gan", "of 1.5 and 2.5", "a.tar.gz", ".hidden"])
def test_a_temporary_path_is_known(tmp_path, name):
    with atomic(tmp_path / name) as partial:
        partial.write_text("")
        assert is_partial(partial)
        assert not is_partial(tmp_path / name)
