"""Going on where a training stopped: a training's checkpoint, or none where nothing was asked to be kept."""

import hashlib
import time
from collections.abc import Callable

from torch import Tensor, nn

from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.course import Course, say_loaded
from lib.training.loop.inference import changing

_SAVE_SECONDS = 30.0


class Resumable:
    """The training of `network` called `name`, of `epochs`, kept in folder `path` under `settings`.

    With `path` None nothing is read or written. As a context manager it holds the folder, as `Checkpoint` does.
    `finished`: whether `load` found a completed training. progress: see `lib.training.loop.course.Course`.
    """

    def __init__(self, path, settings: dict, *, name: str, epochs: int, progress: Callable | None = None):
        self._path, self._name, self._epochs, self._progress = path, name, epochs, progress
        self._checkpoint = None if path is None else Checkpoint(path, settings)
        self._saved = time.monotonic()
        self.finished = False

    def __enter__(self):
        if self._checkpoint:
            self._checkpoint.__enter__()
        return self

    def __exit__(self, *error):
        if self._checkpoint:
            self._checkpoint.__exit__(*error)

    def load(self, network: nn.Module) -> dict | None:
        """Put the stored weights into `network` and return the stored state; None when there is nothing."""
        found = epoch = None
        if self._checkpoint and (found := self._checkpoint.load()):
            tensors, state, epoch = found
            network.load_state_dict(tensors, strict=False)
            if self._checkpoint.finished:
                self.finished = True
                say_loaded(self._path, self._checkpoint.made, self._checkpoint.origin(epoch))
                return state
        self._course = Course(
            self._name, total=self._epochs, unit="epochs", path=self._path, start=epoch or 0,
            made=self._checkpoint.made if self._checkpoint else None, progress=self._progress,
        )  # fmt: skip
        return state if found else None

    def show_within(self, epoch: int, share: float, *, images: float) -> None:
        """Show that epoch number `epoch`, from 0, is done by this share, and so many images of it are seen."""
        self._course.show_within(epoch + share, images=images)

    def save(
        self, network: nn.Module, epochs: int, state: Callable[[], dict], *, images: float, losses: dict, shown: dict
    ) -> None:
        """So many `epochs` are done, the last one with `images` and these `losses`, of which `shown` are shown.

        The weights and what `state` returns are kept, if the last time is long enough ago to be worth the disk, and
        more epochs follow.
        """
        self._course.add(epochs, images=images, losses=losses)
        self._course.show(epochs, shown)
        if self._checkpoint and epochs < self._epochs and time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._checkpoint.save(changing(network), state(), epochs, made=self._course.kept())
            self._saved = time.monotonic()

    def finish(self, network: nn.Module, epochs: int, state: dict) -> None:
        """Keep the final weights and `state`."""
        self._course.end()
        if self._checkpoint:
            self._checkpoint.save(changing(network), state, epochs, finished=True, made=self._course.kept())


def weights_digest(model: nn.Module, *, but: str = "") -> str:
    """SHA-256 of every weight and buffer, but for those of the part `but`, if it is named.

    A warm start from other weights is another training.
    """
    content = hashlib.sha256()
    for name, value in model.state_dict().items():
        if not (but and name.startswith(f"{but}.")):
            content.update(name.encode())
            content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()


def cached(path, settings: dict, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `compute` returned, kept in folder `path` under the `settings` that decide it, or computed now."""
    with Checkpoint(path, settings) as checkpoint:
        if found := checkpoint.load():
            say_loaded(path, checkpoint.made, checkpoint.origin(None))
            return found[0]
        checkpoint.save(compute(), None, 1, finished=True, made={"unit": "result"})
    return checkpoint.load()[0]
