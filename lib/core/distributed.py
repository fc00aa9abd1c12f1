"""Several processes as one: who this one is, who may write, and where all of them meet.

`torchrun --nproc-per-node N -m lib.experiment.run NOTEBOOK` starts N ranks that execute the same cells. Rank 0 is the
writer: files of the others are never put in place (lib.core.files.atomic). Everywhere else there is one rank, which
writes, and nothing here costs anything. torch is imported only where there are several.
"""

import contextlib
import datetime
import json
import os
from collections.abc import Iterator

_rank, _world, _alone = 0, 1, False
_PATIENCE = datetime.timedelta(days=30)  # a rank may train alone for so long while the others wait


def begin() -> None:
    """Join the other ranks, where torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, …) tell of some.

    NCCL joins GPUs, gloo joins processors. Does nothing for one rank. ValueError for more ranks than GPUs on a machine
    that has some.
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
    """Leave the other ranks, after all have come to here."""
    global _rank, _world
    if _world > 1:
        import torch.distributed as dist

        barrier()
        dist.destroy_process_group()
        _rank, _world = 0, 1


def rank() -> int:
    """The number of this process, from 0; also inside `no_sync`."""
    return _rank


def world() -> int:
    """How many processes work together now: 1 inside `no_sync`, and wherever torchrun started none."""
    return 1 if _alone else _world


def is_one_of_many() -> bool:
    """Whether there are other ranks, together with this one now or not."""
    return _world > 1


def is_writer() -> bool:
    """Whether this process may put files in place."""
    return _rank == 0 or _alone


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """Inside, this rank works for itself: it waits for nobody, and writes. No two ranks may write the same file."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def barrier() -> None:
    """Wait until every rank has come to here. Every rank must come, in the same order."""
    if world() > 1:
        import torch
        import torch.distributed as dist

        dist.all_reduce(torch.zeros(1))


def broadcast(value):
    """The writer's `value`, in every rank; anything that JSON can hold. The others come to here, and wait for it."""
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
    """OSError unless `mine`, what this rank has read of `what`, is what the writer has read."""
    if (theirs := broadcast(mine)) != mine:
        raise OSError(f"rank {_rank} reads {mine} in {what}, and rank 0 {theirs}: give all ranks the same file system")
