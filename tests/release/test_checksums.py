"""Checksums: what sha256sum reads, and every kind of damage."""

import shutil
import subprocess

import pytest

from lib.core.manifest import sha256
from lib.release.checksums import damages, listing, write_checksums


@pytest.fixture
def folder(tmp_path):
    for name in ("a.txt", "below/b c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path)
    return tmp_path


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_agrees(folder):
    told = subprocess.run(["sha256sum", "--check", "CHECKSUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert told.stdout == "a.txt: OK\nbelow/b c.txt: OK\n"
    assert damages(folder) == []


def test_the_listing_has_every_file_its_size_and_how_its_checksum_begins(folder):
    rows = listing(folder)
    assert [(row["file"], row["bytes"]) for row in rows] == [("a.txt", 5), ("below/b c.txt", 13)]
    assert [row["SHA-256"] for row in rows] == [f"{sha256(folder / row['file'])[:16]}…" for row in rows]


def test_what_is_absent_changed_or_new_is_told(folder):
    (folder / "a.txt").write_text("b.txt")
    (folder / "below/b c.txt").unlink()
    (folder / "new.txt").touch()
    assert damages(folder) == ["below/b c.txt is absent", "new.txt is not listed", "a.txt has changed"]


@pytest.mark.parametrize("line", ["nothing", f"{'0' * 64}  ../outside", f"{'0' * 64}  /etc/passwd", "0  a.txt"])
def test_a_line_that_is_no_checksum_is_refused(folder, line):
    (folder / "CHECKSUMS").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="no checksum in .*; take the release again"):
        damages(folder)
