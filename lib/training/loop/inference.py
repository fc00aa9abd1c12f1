"""Networks in use: batch by batch, their modes, what of them is frozen, and their logits."""

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lib.core.paths import rehearsal
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.rehearsal import some_rows


def in_batches(function: Callable[[slice], Tensor], rows: int, batch: int, *, kind: str = "") -> Tensor:
    """What `function` makes of `rows` rows, `batch` at a time: (rows, ...), held once however many there are.

    `function` gives a row for each of the slice that it is given. A rehearsal asks for some where all would take long;
    kind: the name of a network, where one function serves several that take more or less memory.
    """
    if rehearsal() and (some := some_rows(function, rows, batch, f"{function.__qualname__} {kind}")) is not None:
        return some
    first = function(slice(0, min(batch, rows)))
    whole = first.new_empty((rows, *first.shape[1:]))
    whole[: len(first)] = first
    for start in range(len(first), rows, batch):
        part = slice(start, min(start + batch, rows))
        whole[part] = function(part)
    return whole


def changing(network: nn.Module) -> dict[str, Tensor]:
    """The part of the state that training changes: everything but frozen parameters."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def training_mode(network: nn.Module) -> None:
    """Training mode for what is trained; parts whose parameters are all frozen stay in eval mode."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


@torch.inference_mode()
def predict_logits(
    network: nn.Module, examples: DeviceDataset, *, batch: int, batch_statistics: bool = False
) -> Tensor:
    """Logits (n, classes) float32 of the examples as they are, `batch` at a time; leaves `network` in eval mode.

    batch_statistics: batch normalisation by the mean and variance of each batch of `examples` instead of those of
    the training, so that an image's logits depend on its neighbours (Sun et al. 2021, spec §7, defect 4: the released
    code never leaves training mode). `network` itself does not change. ValueError if it has no such layer.
    """
    network.eval()
    if batch_statistics:
        network = _by_batch_statistics(network)
    kind = type(network).__name__
    return in_batches(lambda part: network(examples.inputs(part)), len(examples), batch, kind=kind).float()


def _by_batch_statistics(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)  # its running statistics are lost, not those of the original
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        raise ValueError("The model has no batch normalisation: batch_statistics would change nothing.")
    for module in norms:
        module.train()
    return network


@contextlib.contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Gradients pass through `network`, but none are computed for its own weights; afterwards for all of them."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


@contextlib.contextmanager
def frozen(*parts) -> Iterator[None]:
    """In eval mode, without gradients: the modules among `parts`, and those whose methods are; afterwards as before."""
    owners = [getattr(part, "__self__", part) for part in parts]
    modules = {module for owner in owners if isinstance(owner, nn.Module) for module in owner.modules()}
    modes = {module: module.training for module in modules}
    wanted = {p: p.requires_grad for module in modules for p in module.parameters(recurse=False)}
    try:
        for module in modules:
            module.training = False
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
