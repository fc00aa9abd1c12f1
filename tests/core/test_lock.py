"""One writer a folder: another process, thread or call is told who, and nothing is left after a kill."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from lib.core import lock
from lib.core.lock import FolderInUse, assert_free, sole_writer
from tests.paths import ROOT

HOLD = "from pathlib import Path; from lib.core.lock import sole_writer; import sys, time\n" \
       "with sole_writer(Path(sys.argv[1]), 'python train.py'): print('held', flush=True); time.sleep(60)"  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_and_since_when_until_the_first_is_killed(tmp_path, holder):
    for enter in (lambda: sole_writer(tmp_path, "me").__enter__(), lambda: assert_free(tmp_path)):
        with pytest.raises(FolderInUse) as told:
            enter()
        assert f"{tmp_path} is in use by process {holder.pid} (python train.py) since 20" in str(told.value)
        assert "\n" not in str(told.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert_free(tmp_path)
    with sole_writer(tmp_path, "me"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "null", "[" * 100_000])
def test_a_damaged_lock_names_nobody_and_still_holds(tmp_path, holder, content):
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(FolderInUse, match="is in use by another process"):
        assert_free(tmp_path)


def test_another_host_is_named(tmp_path, holder, monkeypatch):
    there = socket.gethostname()
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "here")
    with pytest.raises(FolderInUse, match=f"process {holder.pid} on {there} "):
        assert_free(tmp_path)


def test_threads_exclude_each_other(tmp_path):
    entered, refused = [], []

    def write(k):
        try:
            with sole_writer(tmp_path, f"thread {k}"):
                entered.append(k)
                barrier.wait()
        except FolderInUse as told:
            refused.append(str(told))
            barrier.wait()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1
    assert len(refused) == 3


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path):
    release, held = os.pipe()
    with sole_writer(tmp_path, "parent"):
        child = os.fork()
        if child == 0:
            os.close(held)
            os.read(release, 1)  # until the parent has let go and tried
            os._exit(0)
    with sole_writer(tmp_path, "again"):
        pass
    os.close(held)
    os.close(release)
    os.waitpid(child, 0)


def test_a_folder_made_for_nothing_is_removed(tmp_path):
    with sole_writer(tmp_path / "new", "me"):
        assert (tmp_path / "new").is_dir()
    assert list(tmp_path.iterdir()) == []
    with sole_writer(tmp_path / "new", "me"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_lock_that_its_holder_removed_is_not_taken_for_the_folders(tmp_path, monkeypatch):
    """Between our opening of the file and our taking of its lock its holder ends."""
    take = lock._take

    def late(file, kind):
        monkeypatch.setattr(lock, "_take", take)
        (tmp_path / ".lock").unlink()
        return take(file, kind)

    monkeypatch.setattr(lock, "_take", late)
    with sole_writer(tmp_path, "me"), pytest.raises(FolderInUse):
        sole_writer(tmp_path, "other").__enter__()


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def no_locks(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with sole_writer(tmp_path, "me"):
        assert_free(tmp_path)
    assert "a file system without locks: see to it that one process alone writes there" in caplog.text
