"""One writer a folder."""

import re
import subprocess
import sys

import pytest

from lib.core.lock import FolderInUse, assert_free, sole_writer
from tests.paths import ROOT

HOLD = "import sys, time; from pathlib import Path; from lib.core.lock import sole_writer\n"
HOLD += "with sole_writer(Path(sys.argv[1]), 'the command'): print('held', flush=True); time.sleep(60)"


def test_the_other_is_told_who_and_since_when(tmp_path):
    assert_free(tmp_path / "none yet")
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        says = f"{re.escape(str(folder))} is in use by process {process.pid} "
        says += r"\(the command\) since \d{4}-\d\d-\d\dT[\d:+-]+; wait, or stop it"
        with pytest.raises(FolderInUse, match=says), sole_writer(folder, "another"):
            pass
        with pytest.raises(FolderInUse, match=says):
            assert_free(folder)
        process.kill()
    assert_free(folder)
    with sole_writer(folder, "next"):  # nothing stale is left by kill -9
        pass
    assert_free(folder)


@pytest.mark.parametrize("left", ["", "4711", "[]", "{", "\0"])
def test_what_an_earlier_holder_wrote_does_no_harm(tmp_path, left):
    (tmp_path / ".lock").write_text(left)
    with sole_writer(tmp_path, "a"), pytest.raises(FolderInUse, match="in use by process"):
        assert_free(tmp_path)
