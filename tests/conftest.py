"""Every test computes with one thread, as notebooks do: the same rounding whatever the machine offers."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
