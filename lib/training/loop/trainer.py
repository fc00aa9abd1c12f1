"""The base of all trainings by steps: a method adds its networks, its optimisers and its step.

    class DCGANTrainer(Trainer):
        stream = "gan"

        def __init__(self, images, labels, settings, device):
            super().__init__(settings, device)
            with self.initialising():
                self.networks = {"generator": Generator(...), "discriminator": Discriminator(...)}
            self.optimisers = {"generator": ..., "discriminator": ...}

        def train_step(self, step):
            return {"loss_d": self.minimise("discriminator", ...), "loss_g": self.minimise("generator", ...)}

    tensors = run_training(lambda: DCGANTrainer(...), name="DCGAN", path=folder, settings=settings, steps=steps)
    generator = restored(lambda: Generator(...), "generator", tensors, device)

The k-th step depends on the networks, the optimisers and (seed, k) alone: on the CPU, with the same number of threads,
an interrupted and resumed training equals an uninterrupted one bit for bit.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from lib.core import seeding
from lib.core.paths import trains_anew
from lib.training.loop import data_parallel, rehearsal, store
from lib.training.loop.checkpoint import Checkpoint
from lib.training.loop.course import Course, say_loaded
from lib.training.loop.placement import Network, placed


class Trainer(ABC):
    """Networks and optimisers on `device`, trained as the resolved `settings` say.

    `stream`: the first name of every random stream of the method. `shares_batches`: whether several ranks each compute
    their rows of a batch of settings["batch"] (`own`, a share of `share`); otherwise every rank computes all rows.
    `has_dropout`: whether `step` seeds torch's own generators too, which dropout draws from; it takes long enough to
    matter in small networks.
    `version`: a number to raise when the same settings come to give other weights; it stands in the settings of a
    checkpoint, so that what was trained before is trained anew. tests/training/test_fingerprints.py sees such changes.

    `networks` and `optimisers`, by name, are what a checkpoint keeps, and `values`: further tensors, by names that do
    not begin with the name of a network. `random` is a generator on the device, seeded anew at every step.
    """

    stream: ClassVar[str]
    version: ClassVar[int] = 1
    shares_batches: ClassVar[bool] = False
    has_dropout: ClassVar[bool] = False

    def __init__(self, settings: dict, device: torch.device):
        self.settings, self.device = settings, device
        self.networks: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.values: dict[str, Tensor] = {}
        self.random = torch.Generator(device)
        self.own, self.share = data_parallel.portion(settings["batch"]) if self.shares_batches else (slice(None), 1.0)
        self._passes: dict[int, Tensor] = {}

    @abstractmethod
    def train_step(self, step: int) -> dict[str, Tensor]:
        """The updates of step number `step`, from 0; the losses by name, detached and of no dimension."""

    def step(self, step: int) -> dict[str, Tensor]:
        """`train_step` with all random numbers seeded by (seed, step)."""
        names = self.settings["seed"], self.stream, "step", step
        self.random.manual_seed(seeding.seed_of(*names))
        with seeding.initialising(*names) if self.has_dropout else nullcontext():
            return self.train_step(step)

    def images_seen(self, step: int) -> float:
        """How many training images step number `step` shows to its networks: settings["batch"]."""
        return self.settings["batch"]

    def initialising(self) -> AbstractContextManager[None]:
        """Weights drawn inside come from the method's own stream."""
        return seeding.initialising(self.settings["seed"], self.stream)

    def place(self, network: Network) -> Network:
        """`network` `placed` on the device, in training mode; batch statistics are those of all ranks' rows."""
        placed(network, self.device, self.settings.get("precision", "float32")).train()
        if self.shares_batches:
            data_parallel.joined_statistics(network)
        return network

    def autocast(self) -> AbstractContextManager:
        """The precision asked for, for one pass: autocast keeps bf16 copies of weights, which an update makes stale."""
        return seeding.autocast(self.device, self.settings["precision"])

    def minimise(self, name: str, loss: Tensor) -> Tensor:
        """One step of optimiser `name` down the gradient of `loss`, for its own parameters alone; the detached loss."""
        optimiser = self.optimisers[name]
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        optimiser.zero_grad()
        if self.shares_batches:
            loss = data_parallel.backward(loss, parameters, self.share)
        else:
            loss.backward(inputs=parameters)
        optimiser.step()
        return loss.detach()

    @torch.no_grad()
    def update_ema(self, share: float) -> None:
        """Move the network "average" by `share` of the way to the network "generator"; counters are copied."""
        average, generator = self.networks["average"], self.networks["generator"]
        pairs: list[tuple[Tensor, Tensor]] = [*zip(average.parameters(), generator.parameters(), strict=True)]
        pairs += zip(average.buffers(), generator.buffers(), strict=True)
        moved = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in moved], [now for _, now in moved], share)
        for mean, now in pairs:
            if not mean.is_floating_point():
                mean.copy_(now)

    def rows(self, first: int, count: int, *, of: int) -> Tensor:
        """Rows number `first` to `first + count - 1` of endless shuffled passes over `of` rows: (count,) int64."""
        passes = range(first // of, (first + count - 1) // of + 1)
        self._passes = {k: self._passes[k] if k in self._passes else self._shuffled(k, of) for k in passes}
        start = first - of * passes[0]
        return torch.cat(list(self._passes.values()))[start : start + count]

    def _shuffled(self, number: int, of: int) -> Tensor:
        source = seeding.torch_generator(self.settings["seed"], self.stream, "order", number)
        return torch.randperm(of, generator=source).to(self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of all networks, and `values`, for a checkpoint."""
        return {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        } | self.values

    def state(self) -> dict:
        """What else continuing needs, as lib.training.loop.checkpoint stores it: the optimisers' states."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(under(name, tensors))
        self.values = {
            key: value.to(self.device) for key, value in tensors.items() if key.split(".")[0] not in self.networks
        }
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])


def run_training(
    begin: Callable[[], Trainer],
    *,
    name: str,  # in messages
    path,  # the folder of the checkpoint
    settings: dict,  # everything that decides the result
    steps: int,
    unit: str = "steps",  # what they are called
    save_seconds: float = 60.0,  # between two checkpoints
    progress: Callable | None = None,  # called as progress(steps done, **losses) after each step; None shows lines
) -> dict[str, Tensor]:
    """The tensors by name after `steps` steps of what `begin()` returns, kept in folder `path` with a learning curve.

    A finished checkpoint there with the same `settings` is returned without calling `begin`, which is said, an
    unfinished one is continued; where there is neither, what `lib.training.loop.store` has of them is fetched; other
    settings train anew. ValueError for fewer steps than one, a damaged checkpoint, or a loss that is not finite
    at a save or at the end: nothing is saved then. OSError while another process trains in that folder.
    FileNotFoundError inside `store.asking` with a command, where it would have to be begun.
    """
    if steps < 1:
        raise ValueError(f"The {name} is trained for at least one step, not {steps}.")
    with Checkpoint(path, settings) as checkpoint:
        found = checkpoint.load()
        if found and checkpoint.finished and "stored" in checkpoint.made and trains_anew():
            found = None
        if not found and store.fetch(checkpoint):
            found = checkpoint.load()
        if found and checkpoint.finished:
            say_loaded(path, checkpoint.made, checkpoint.origin(found[2]))
            return found[0]
        if not found:
            store.assert_may_train(name, checkpoint)
        training = begin()
        start = 0
        if found:
            tensors, state, start = found
            training.restore(tensors, state or {})
        course = Course(
            name, total=steps, unit=unit, path=path, start=start, made=checkpoint.made, progress=progress
        )  # fmt: skip
        saved = time.monotonic()
        for step in rehearsal.Steps(name, start, steps):
            losses = training.step(step)
            last = step + 1 == steps
            due = time.monotonic() - saved >= save_seconds
            if (last or due) and not all(torch.isfinite(loss) for loss in losses.values()):
                at = f"by step {step + 1} (a loss is not finite)"
                raise ValueError(f"The {name} diverged {at}: lower the learning rate.")
            course.add(step + 1, images=training.images_seen(step), losses=losses)
            if due and not last:
                checkpoint.save(training.tensors(), training.state(), step + 1, made=course.kept())
                saved = time.monotonic()
            course.show(step + 1, losses)
        tensors = training.tensors()
        checkpoint.save(tensors, None, steps, finished=True, made=course.kept())
        return tensors


def finished_training(path, what: str, *, model: str | None = None) -> tuple[dict[str, Tensor], dict]:
    """Tensors and settings of the finished training of `what` in folder `path`, whatever its settings.

    model: what settings["model"] must be. FileNotFoundError when nothing is there; ValueError when it is unfinished,
    of another model, or a file is damaged.
    """
    checkpoint = Checkpoint(path, None)
    found = checkpoint.load()
    if found is None or checkpoint.settings is None:
        raise FileNotFoundError(f"There is no trained {what} in {path}: run the notebook that trains it first.")
    if not checkpoint.finished:
        raise ValueError(f"The training in {path} stopped at step {found[2]}: run it again to finish it.")
    if model is not None and checkpoint.settings.get("model") != model:
        raise ValueError(f"The training in {path} is of {checkpoint.settings.get('model')!r}, not of the {what}.")
    say_loaded(path, checkpoint.made, checkpoint.origin(found[2]))
    return found[0], checkpoint.settings


def restored(build: Callable[[], Network], name: str, tensors: dict[str, Tensor], device: torch.device) -> Network:
    """The network that `build` makes, with the weights that a `Trainer` kept as `name`; on `device`, in eval mode."""
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        network = build()
    network.load_state_dict(under(name, tensors))
    return placed(network, device).eval()


def under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `name` and a point, by the rest of their names."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
