"""Several processes that work as one: which rank this process is, whether it may write, and where all ranks meet.

`torchrun --nproc-per-node N -m lib.experiment.run NOTEBOOK` starts N ranks that execute the same cells. Rank 0 is the
writer: files of the other ranks are never put in place (lib.core.files.atomic). Without torchrun there is one rank,
which writes, and the functions of this module cost nothing. torch is imported only where there are several ranks.
"""

import contextlib
import datetime
import json
import os
from collections.abc import Iterator

_rank, _world, _alone = 0, 1, False
_PATIENCE = datetime.timedelta(days=30)  # so long may one rank train while the others wait


def begin() -> None:
    """Join the other ranks, if torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, …) name any.

    NCCL joins GPUs and gloo joins processors. A single rank joins nothing. Raises ValueError if a machine with GPUs has
    more ranks than GPUs.
    """
    global _rank, _world
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        return
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        here, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if here > there:
            raise ValueError(f"{here} ranks on a machine with {there} GPU: give --nproc-per-node {there}")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    _rank, _world = rank, world


def end() -> None:
    """Wait until every rank has called this function, then leave the group of ranks."""
    global _rank, _world
    if _world > 1:
        import torch.distributed as dist

        barrier()
        dist.destroy_process_group()
        _rank, _world = 0, 1


def rank() -> int:
    """The number of this process, counted from 0; it stays the same inside `no_sync`."""
    return _rank


def world() -> int:
    """How many processes work together now: 1 inside `no_sync` and without torchrun."""
    return 1 if _alone else _world


def is_one_of_many() -> bool:
    """Whether there are other ranks, whether or not they work together with this one now."""
    return _world > 1


def is_writer() -> bool:
    """Whether this process may put files in place."""
    return _rank == 0 or _alone


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """A context in which this rank waits for no other and may write. No two ranks may write the same file in it."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def barrier() -> None:
    """Wait until every rank has called this function. All ranks must call it, in the same order."""
    if world() > 1:
        import torch
        import torch.distributed as dist

        dist.all_reduce(torch.zeros(1))


def broadcast(value):
    """The writer's `value`, in every rank; it may be anything that JSON can hold. All ranks must call this function."""
    if world() == 1:
        return value
    import torch
    import torch.distributed as dist

    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    size = torch.tensor([len(text)])
    dist.broadcast(size, 0)
    if not is_writer():
        text = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(text, 0)
    return json.loads(text.numpy().tobytes())


def assert_equal_across_ranks(mine, what: str) -> None:
    """Raise OSError unless `mine`, which this rank has read in `what`, equals what the writer has read there."""
    if (theirs := broadcast(mine)) != mine:
        raise OSError(f"rank {_rank} reads {mine} in {what}, and rank 0 {theirs}: give all ranks the same file system")
