"""The layout of weights: by device, precision and network, and the values as they were."""

from importlib import import_module

import pytest
import torch

from lib.core import seeding
from lib.models.gan import dcgan, stylegan2
from lib.training.loop import placement
from lib.training.loop.placement import placed

CPU = torch.device("cpu")


def _is_last(network) -> bool:
    weights = [p for p in network.parameters() if p.ndim == 4 and min(p.shape) > 1]
    last = {p.is_contiguous(memory_format=torch.channels_last) for p in weights}
    assert len(last) == 1
    return last.pop()


@pytest.mark.parametrize("has_bf16", [False, True])
def test_channels_last_but_where_float32_on_a_cpu_is_slower_by_it(has_bf16, monkeypatch):
    """bf16 that the hardware lacks is float32, in its layout too."""
    monkeypatch.setattr(seeding, "has_bf16", lambda device: has_bf16)
    networks = [dcgan.Discriminator(16, width=4), stylegan2.Discriminator(16, maps=(8, 64))]
    before = [value.clone() for network in networks for value in network.state_dict().values()]
    for precision, expected in (("bf16", [has_bf16, True]), ("float32", [False, True])):
        assert [_is_last(placed(network, CPU, precision)) for network in networks] == expected
    after = [value for network in networks for value in network.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="unknown precision 'half': choose one of float32, bf16"):
        placed(torch.nn.Conv2d(2, 2, 3), CPU, "half")


def test_the_networks_of_the_rule_are_there():
    """A module that is renamed would silently be trained in the other layout."""
    for name in placement._CONTIGUOUS:
        assert import_module(name)
