"""A copy of the runner, and one fork server, for all its tests."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    """A copy of the runner and of lib, which nobody edits while the tests run."""
    folder = tmp_path_factory.mktemp("code")
    for name in ("run_all.sh", "Snakefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "lib", folder / "lib")
    return folder


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """One fork server for the tests, without torch, so that a notebook costs no import."""
    path = str(tmp_path_factory.mktemp("fork server") / "s")
    code = "import sys; from lib.runner.fork_server.server import PRELOADED, serve; "
    code += "serve(sys.argv[1], int(sys.argv[2]), PRELOADED[:-1], ())"
    with subprocess.Popen([sys.executable, "-c", code, path, str(os.getpid())], cwd=ROOT) as process:
        while not os.path.exists(path):
            assert process.poll() is None
            time.sleep(0.02)
        yield path
        process.kill()
