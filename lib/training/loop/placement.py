"""On which device and in which memory layout a network is trained and used: decided here for every trainer.

The layout follows from the precision, which `lib.core.seeding.arithmetic` decides. Channels last is the faster one in
bf16 and on a GPU. In float32 on a CPU it is kept to the networks written for it; the others would lose by it: a
step with contiguous weights takes 0.86 of the time in DCGAN, 0.95 in CycleGAN (AVX2, 32 and 8 channels, batch 16;
benchmarks/convolution_share.py --layouts).
"""

from typing import TypeVar

import torch
from torch import nn

from lib.core import seeding

Network = TypeVar("Network", bound=nn.Module)
# Modules whose networks keep contiguous weights in float32 on a CPU: measured of DCGAN and CycleGAN; the federated GAN
# and ProGAN are as they were.
_CONTIGUOUS = frozenset(f"lib.models.gan.{name}" for name in ("cyclegan", "dcgan", "fedgan", "progan"))


def placed(network: Network, device: torch.device | str, precision: str = "float32") -> Network:
    """`network` itself on `device`, its weights in the layout that is the faster there in `precision`.

    To be called before optimisers are made. ValueError for any precision but "float32" and "bf16".
    """
    device = torch.device(device)
    is_exact = seeding.arithmetic(device, precision) == "float32"
    is_theirs = any(type(module).__module__ in _CONTIGUOUS for module in network.modules())
    contiguous = is_exact and device.type == "cpu" and is_theirs
    layout = torch.contiguous_format if contiguous else torch.channels_last
    return network.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
