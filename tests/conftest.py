"""Every test computes with one thread, as notebooks do: the same rounding whatever the machine offers.

Nor do two workers of pytest-xdist on two cores then wait for each other's threads, which made some tests ten times as
long. `device`: what a test that takes it runs on, the CPU and, where there is one, a GPU.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when NumPy and PyTorch are loaded

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["cpu", *["cuda"] * torch.cuda.is_available()])
def device(request) -> torch.device:
    return torch.device(request.param)
