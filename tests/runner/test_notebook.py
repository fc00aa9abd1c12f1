"""One notebook, executed by its name; parameters that it does not set are refused."""

import subprocess
import sys
import time

import pytest

from lib.runner.notebook import _Memory, check_parameters
from tests.paths import ROOT
from tests.runner.toy import Suite, write_notebook


@pytest.mark.slow
class TestOneNotebook:
    def execute(self, tmp_path, *words: str, **environment):
        suite = Suite(tmp_path, {"01_p": {"01_train": ((), "print('done', scale)\nraise KeyError('no\\nmore')")}}, None)
        command = [sys.executable, "-m", "lib.runner", "01_p", *words]
        made = subprocess.run(command, cwd=ROOT, env=suite.env | environment, capture_output=True, text=True)
        return made.returncode, made.stdout, made.stderr

    def test_without_a_fork_server(self, tmp_path):
        gone = str(tmp_path / "none")
        code, output, errors = self.execute(tmp_path, "01_train", "--scale", "smoke", SUITE_FORK_SERVER=gone)
        assert code == 1
        assert "no fork server here" in output
        assert "done smoke" in output
        assert "01_p/01_train, cell [3]: KeyError: 'no\\nmore'" in errors

    def test_its_kernel_finds_lib_by_itself(self, tmp_path):
        """The kernel works in the notebook's folder, and the caller need not name lib in PYTHONPATH."""
        suite = Suite(tmp_path, {"01_p": {"01_train": ((), "import lib\nprint(lib.__file__)")}}, None)
        suite.env.pop("PYTHONPATH", None)
        command = [sys.executable, "-m", "lib.runner", "01_p", "01_train", "--scale", "smoke"]
        made = subprocess.run(command, cwd=ROOT, env=suite.env, capture_output=True, text=True)
        assert (made.returncode, made.stderr) == (0, "")
        assert str(ROOT / "lib" / "__init__.py") in made.stdout

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["02_nope"], "01_p has no notebook '02_nope': choose one of 01_train"),
            (["01_train", "-p", "epochs", "3"], "no parameter epochs; its parameters cell sets scale, cohort, seed"),
            (["01_train", "--cohort", "public"], "01_p has no public cohort"),
        ],
    )
    def test_refuses_what_is_not_known(self, tmp_path, fork_server, words, says):
        code, _, errors = self.execute(tmp_path, *words, SUITE_FORK_SERVER=fork_server)
        assert code == 2
        assert says in errors
        assert len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [('scale = ""\nseed: int = 0', "no parameter cohort; its parameters cell sets scale, seed"), (None, "has 0")],
)
def test_check_parameters(tmp_path, source, says):
    write_notebook(tmp_path / "n.ipynb", parameters=source or "")
    if source is None:
        (tmp_path / "n.ipynb").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=says):
        check_parameters(tmp_path / "n.ipynb", {"scale": 1, "seed": 2, "cohort": 3})


def test_what_a_kernel_held_in_the_end_is_known_though_it_has_ended():
    class Manager:
        pid = 0

    with _Memory(Manager) as memory:
        held = "held = bytearray(b'1' * 10**8); import time; time.sleep(2)"
        kernel = subprocess.Popen([sys.executable, "-c", held])
        Manager.pid = kernel.pid
        time.sleep(3)  # it has ended, and is not waited for
    kernel.wait()
    assert 1e8 < memory.last <= memory.peak
