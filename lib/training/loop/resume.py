"""Going on where a training stopped: a training's checkpoint, or none where nothing was asked to be kept."""

import hashlib
import time
from collections.abc import Callable

from torch import Tensor, nn

from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.inference import changing

_SAVE_SECONDS = 30.0


class Resumable:
    """The checkpoint of `network` in folder `path` under `settings`; with `path` None nothing is read or written.

    `finished`: whether `load` found a completed training.
    """

    def __init__(self, path, settings: dict):
        self._checkpoint = None if path is None else Checkpoint(path, settings)
        self._saved = time.monotonic()
        self.finished = False

    def load(self, network: nn.Module) -> dict | None:
        """Put the stored weights into `network` and return the stored state; None when there is nothing."""
        if self._checkpoint is None or (found := self._checkpoint.load()) is None:
            return None
        tensors, state, _ = found
        network.load_state_dict(tensors, strict=False)
        self.finished = self._checkpoint.finished
        return state

    def save(self, network: nn.Module, step: int, state: Callable[[], dict]) -> None:
        """Keep the weights and what `state` returns, if the last time is long enough ago to be worth the disk."""
        if self._checkpoint and time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._checkpoint.save(changing(network), state(), step)
            self._saved = time.monotonic()

    def finish(self, network: nn.Module, step: int, state: dict) -> None:
        """Keep the final weights and `state`."""
        if self._checkpoint:
            self._checkpoint.save(changing(network), state, step, finished=True)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of every weight and buffer: a warm start from other weights is another training."""
    content = hashlib.sha256()
    for name, value in model.state_dict().items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()


def cached(path, settings: dict, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `compute` returned, kept in folder `path` under the `settings` that decide it, or computed now."""
    checkpoint = Checkpoint(path, settings)
    while (found := checkpoint.load()) is None:
        checkpoint.save(compute(), None, 1, finished=True)
    return found[0]
