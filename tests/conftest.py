"""Every test computes with one thread, as notebooks do: the same rounding whatever the machine offers.

Nor do two workers of pytest-xdist on two cores then wait for each other's threads, which made some tests ten times as
long. `device`: what a test that takes it runs on, the CPU and, where there is one, a GPU.
"""

import collections
import os
import subprocess
import sys
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when NumPy and PyTorch are loaded

import pytest  # noqa: E402
import torch  # noqa: E402

from tests.paths import ROOT  # noqa: E402
from tests.preloaded import preloading  # noqa: E402


def pytest_collection_modifyitems(config, items):
    """Of workers that take a file at a time, the files with most slow tests first: then they end at the same time."""
    if hasattr(config, "workerinput"):
        slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["cpu", *["cuda"] * torch.cuda.is_available()])
def device(request) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="session")
def preloaded():
    """Starts fresh processes that need not import the libraries (`Preloaded.run`)."""
    with preloading() as parent:
        yield parent


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """One fork server for the tests, so that a notebook costs no import.

    With torch and scipy.stats, which Run imports: without them each notebook takes seconds more.
    """
    path = str(tmp_path_factory.mktemp("fork server") / "s")
    code = "import sys; from lib.runner.fork_server.server import serve; "
    code += "serve(sys.argv[1], int(sys.argv[2]), when_idle=('scipy.stats', 'sklearn.metrics'))"
    with subprocess.Popen([sys.executable, "-c", code, path, str(os.getpid())], cwd=ROOT) as process:
        while not os.path.exists(path):
            assert process.poll() is None
            time.sleep(0.02)
        yield path
        process.kill()
