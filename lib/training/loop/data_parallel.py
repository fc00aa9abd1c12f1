"""One training by several ranks: each takes its part of every batch, and their gradients are added up.

Every rank draws the random numbers of the whole batch and keeps its rows, so that N ranks do the updates of one, but
for the order of the sums (about 1e-6). Batch normalisation takes its statistics over all ranks. Dropout alone differs:
each rank draws masks for its own rows, so that such networks agree in distribution only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.core import distributed as ranks


def portion(n: int) -> tuple[slice, float]:
    """The rows of a batch of n that are this rank's, and its share of the batch.

    Equal parts, the first n % world of them larger by one row. A batch of fewer rows than ranks is computed whole by
    every rank, each with an equal share.
    """
    rank, world = ranks.rank(), ranks.world()
    if world == 1:
        return slice(0, n), 1.0
    if n < world:
        return slice(0, n), 1 / world
    size, larger = divmod(n, world)
    start = rank * size + min(rank, larger)
    stop = start + size + (rank < larger)
    return slice(start, stop), (stop - start) / n


def own_stream() -> tuple[int, ...]:
    """A name for the random stream that each rank draws for its own rows; none for rank 0, as for one rank."""
    return (ranks.rank(),) if ranks.world() > 1 and ranks.rank() else ()


def backward(loss: Tensor, parameters: Sequence[Tensor], share: float) -> Tensor:
    """Put the gradient of the whole batch's mean loss into the `parameters`, and return that loss, detached.

    loss: the mean over this rank's portion, of no dimension; share: of `portion`. One message for all gradients, sent
    when the last is computed: simpler than overlapping the two, and slower where the network is large.
    """
    parameters = list(parameters)
    if ranks.world() == 1:
        loss.backward(inputs=parameters)
        return loss.detach()
    part = loss * share
    part.backward(inputs=parameters)
    parts = [p.grad for p in parameters if p.grad is not None] + [part.detach()]
    message = torch.cat([part.flatten() for part in parts])
    torch.distributed.all_reduce(message)
    for own, whole in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        own.copy_(whole.view_as(own))
    return parts[-1]


@torch.no_grad()
def same_weights(network: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0."""
    if ranks.world() > 1:
        for value in network.state_dict().values():
            plain = value.contiguous()
            torch.distributed.broadcast(plain, 0)
            value.copy_(plain)


def joined_statistics(network: nn.Module) -> None:
    """Let batch normalisation in `network` use the mean and variance over all ranks' rows; without effect for one rank.

    torch's own SyncBatchNorm needs GPUs, and gives the same.
    """
    if ranks.world() > 1:
        for module in network.modules():
            if type(module) in _JOINED:
                module.__class__ = _JOINED[type(module)]  # names and values of the weights stay


class _JoinedNorm(nn.modules.batchnorm._BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training or ranks.world() == 1:
            return super().forward(input)
        values = input.float().transpose(0, 1).flatten(1)  # (channels, rows and positions)
        sums = _Sum.apply(torch.cat([values.sum(1), values.new_tensor([values.shape[1]])]))
        n, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        variance = _Sum.apply((values - mean[:, None]).square().sum(1)) / n
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(variance * n / (n - 1), weight)
        return _affine(input, mean, variance, self)


class _BatchNorm1d(_JoinedNorm, nn.BatchNorm1d):
    pass


class _BatchNorm2d(_JoinedNorm, nn.BatchNorm2d):
    pass


_JOINED: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm1d: _BatchNorm1d, nn.BatchNorm2d: _BatchNorm2d}


class _Sum(torch.autograd.Function):
    """The sum over all ranks; its gradient is that of the sum of all ranks' losses."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        values = values.clone()
        torch.distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient.contiguous())


def _affine(x: Tensor, mean: Tensor, variance: Tensor, module: _JoinedNorm) -> Tensor:
    scale = (variance + module.eps).rsqrt()
    shift = -mean * scale
    if module.affine:
        scale, shift = scale * module.weight, shift * module.weight + module.bias
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)
