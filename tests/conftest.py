"""Every test computes with one thread, as notebooks do: the same rounding whatever the machine offers.

`device`: what a test that takes it runs on, the CPU and, where there is one, a GPU.
"""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["cpu", *["cuda"] * torch.cuda.is_available()])
def device(request) -> torch.device:
    return torch.device(request.param)
