"""A file is written whole or not at all."""

import errno
import os
import re
import subprocess
import sys
import time

import pytest

from lib.core import files
from lib.core.files import atomic, is_partial, machine, scratch_name, sweep, sweep_scratch
from tests.paths import ROOT


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


@pytest.mark.parametrize(
    ("number", "helps"),
    [
        (errno.ENOSPC, "; free some space and run again"),
        (errno.EDQUOT, "; free some space and run again"),
        (errno.EACCES, "; allow writing to {folder} and run again"),
        (errno.EROFS, "; allow writing to {folder} and run again"),
        (errno.EIO, ""),
    ],
)
def test_advice_fits_what_is_wrong(tmp_path, number, helps):
    says = f"{tmp_path}/a: could not be written ({os.strerror(number)}){helps.format(folder=tmp_path)}"
    with pytest.raises(OSError, match=f"{re.escape(says)}$"), atomic(tmp_path / "a"):
        raise OSError(number, os.strerror(number))


def test_file_and_folder_are_synced_around_the_renaming(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    with atomic(tmp_path / "a") as partial:
        partial.write_text("1")
    assert done == [str(partial), "renamed", str(tmp_path)]


class TestSweep:
    """What killed writers leave goes; what a living one writes, here or elsewhere, stays."""

    def ended(self) -> int:
        return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)

    def left(self, folder, pid: int, *, of: str | None = None, days: float = 0):
        path = folder / "deeper" / f".table of 1.5.{of or machine()}.0.{pid}.partial.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        os.utime(path, 2 * (time.time() - 86400 * days,))
        return path

    def test_of_this_machine(self, tmp_path):
        dead, alive, reused = self.left(tmp_path, self.ended()), self.left(tmp_path, os.getpid()), None
        (tmp_path / "other").mkdir()
        reused = self.left(tmp_path / "other", os.getpid(), days=1)  # written before this process began
        assert sorted(sweep(tmp_path)) == sorted([dead, reused])
        assert alive.exists()

    def test_of_another_machine(self, tmp_path):
        alive = self.left(tmp_path, self.ended(), of="01234567", days=6)
        assert sweep(tmp_path) == []
        os.utime(alive, 2 * (time.time() - 86400 * 8,))
        assert sweep(tmp_path) == [alive]

    def test_a_killed_writer(self, tmp_path):
        code = "import os, sys; from lib.core.files import atomic\nwith atomic(sys.argv[1]) as partial:\n"
        code += "    partial.write_text('half'); os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.h5"], cwd=ROOT)
        (left,) = tmp_path.iterdir()
        assert is_partial(left)
        assert sweep(tmp_path) == [left]

    @pytest.mark.parametrize("name", [".gitignore", ".lock", ".a.partial", "a.0.7.partial.csv", ".b.partial.0.7", "é"])
    def test_other_files_stay(self, tmp_path, name):
        (tmp_path / name).write_text("")
        assert sweep(tmp_path) == []

    def test_files_of_older_code_count_by_their_age(self, tmp_path):
        path = tmp_path / f".a.0.{self.ended()}.partial.csv"
        path.write_text("")
        assert sweep(tmp_path) == []
        os.utime(path, (1, 1))
        assert sweep(tmp_path) == [path]

    def test_temporary_folders(self, tmp_path):
        mine, dead = tmp_path / f"{scratch_name()}x", tmp_path / f"suite-{machine()}-{self.ended()}-x"
        for folder in (mine, dead, tmp_path / "suite-of another-1-2"):
            (folder / "deeper").mkdir(parents=True)
        sweep_scratch(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "suite-of another-1-2"])


def test_a_living_process_that_is_not_ours(tmp_path):
    path = tmp_path / f".a.{machine()}.0.1.partial"
    path.write_text("")
    assert sweep(tmp_path) == []  # process 1 lives
