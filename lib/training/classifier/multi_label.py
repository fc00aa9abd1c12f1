"""Training a classifier of radiographs that may show several findings at once, and its predictions.

Han et al. 2019, spec §4.2: binary cross-entropy, the mean over findings; SGD with momentum, and a learning rate that
falls when the validation loss rises; or Adam for a fixed number of steps, as in the pilot (spec §8.2).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.training.classifier.model_selection import History
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import changing, predict_logits, training_mode
from lib.training.loop.placement import placed
from lib.training.loop.rehearsal import Epochs
from lib.training.loop.resume import Resumable, weights_digest

OPTIMISERS = ("sgd", "adam")
_VALIDATED = 64  # validation images at a time


def train_findings(
    model: nn.Module,  # images -> (n, k) logits
    *,
    images,  # (n, h, w) or (n, c, h, w), as `lib.training.loop.dataset.DeviceDataset` takes them
    findings,  # (n, k) numbers in [0, 1], 1 where the radiograph shows the finding
    validation: tuple | None,  # (images, findings); None keeps the last weights, and needs `patience` None
    epochs: int | None = 100,  # every radiograph is seen once an epoch
    steps: int | None = None,  # instead of epochs (then None): so many updates
    batch: int = 16,  # the last one of an epoch may be smaller
    learning_rate: float = 0.01,
    weight_decay: float = 1e-4,
    optimiser: str = "sgd",  # with momentum 0.9, or "adam"
    patience: int | None = 3,  # see below
    mirror: bool = True,  # half the radiographs of each epoch, left-right
    seed: int,
    checkpoint=None,  # a folder; None keeps nothing
    device: torch.device | None = None,
    precision: str = "float32",  # see lib.core.seeding.autocast; validation is always float32
    progress: Callable | None = None,  # called as progress(epochs done, loss=, validation_loss=)
) -> History:
    """Train `model` in place; it ends with the weights of the epoch of least validation loss. Defaults: as published.

    With patience, after each epoch whose validation loss exceeds the least so far the learning rate is divided by 10
    and the optimiser made anew, so that its momentum is forgotten; after so many epochs without a new least loss the
    training ends. A training finished in `checkpoint` with the same settings, data and initial weights is returned, an
    unfinished one continued. The randomness of each epoch depends on (seed, epoch) alone: on the CPU, with the same
    number of threads, an interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for input
    that does not fit, a finding that no training radiograph shows or all show, or divergence.
    """
    if optimiser not in OPTIMISERS:
        raise ValueError(f"unknown optimiser {optimiser!r}: choose one of {', '.join(OPTIMISERS)}")
    if (epochs is None) == (steps is None):
        raise ValueError("Give either epochs or steps (and epochs=None): one of them ends the training.")
    if patience is not None and validation is None:
        raise ValueError("Without validation images there is no validation loss to watch: give patience=None.")
    device = device or seeding.device()
    radiographs = _Radiographs(images, findings, device=device, mirror=mirror)
    held_out = None if validation is None else _Radiographs(*validation, device=device, name="validation")
    settings = {
        "algorithm": "findings", "model": type(model).__name__, "epochs": epochs, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "optimiser": optimiser, "patience": patience,
        "mirror": mirror, "precision": precision, "seed": seed, "data": radiographs.digest,
        "validation": held_out and held_out.digest, "weights": weights_digest(model),
    }  # fmt: skip
    placed(model, device, precision)
    _check_findings(model, radiographs, held_out)
    per_epoch = math.ceil(len(radiographs) / batch)
    is_by_epochs = steps is None
    steps = (epochs or 0) * per_epoch if steps is None else steps
    epochs = math.ceil(steps / per_epoch)
    with Resumable(checkpoint, settings, name="findings", epochs=epochs, progress=progress) as saved:
        found = saved.load(model)
        history = History(**found["history"]) if found else History()
        if saved.finished:
            return history
        best = {name: value.to(device) for name, value in found["best"].items()} if found else {}

        def begin() -> torch.optim.Optimizer:
            rate = learning_rate * (0.1 ** drops(history.validation_loss) if patience else 1)
            if optimiser == "sgd":
                return torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=weight_decay, fused=True)
            return torch.optim.Adam(model.parameters(), rate, weight_decay=weight_decay, fused=True)

        updates = begin()
        if found:
            updates.load_state_dict(found["optimiser"])
        start, images = len(history.loss), len(radiographs)
        passes = Epochs("findings", start, epochs, network=model, images=images, by_image=is_by_epochs)
        for epoch in passes:
            if patience and epochs_since_best(history.validation_loss) >= patience:
                break
            seen = min(len(radiographs), (steps - epoch * per_epoch) * batch)
            report = partial(saved.show_within, epoch)
            parts = passes.batches(seen, batch)
            mean = _epoch(model, radiographs, updates, parts, seen, seed, epoch, precision, report)
            history.loss.append(mean)
            values = {"loss": history.loss[-1]}
            if held_out:
                values["validation_loss"] = _validate(model, held_out)
                before = drops(history.validation_loss)
                history.validation_loss.append(values["validation_loss"])
                if epochs_since_best(history.validation_loss) == 0:
                    history.selected = epoch + 1
                    best = {name: value.detach().clone() for name, value in changing(model).items()}
                if patience and drops(history.validation_loss) > before:
                    updates = begin()
            if not all(map(math.isfinite, values.values())):
                raise ValueError(f"The training diverged in epoch {epoch + 1}: lower the learning rate.")
            state: Callable[[], dict] = partial(
                dict, history=asdict(history), optimiser=updates.state_dict(), best=best
            )
            saved.save(model, epoch + 1, state, images=seen, losses=values, shown=values)
        if held_out:
            model.load_state_dict(best, strict=False)
        else:
            history.selected = len(history.loss)
        saved.finish(model, len(history.loss), {"history": asdict(history)})
        model.eval()
        return history


def predict_findings(model: nn.Module, images, *, batch: int = 256, device: torch.device | None = None) -> np.ndarray:
    """The probability of each finding, (n, k) float32, of images as `train_findings` takes them; eval mode after."""
    device = device or seeding.device()
    examples = DeviceDataset(images, None, device=device, name="given")
    return predict_logits(placed(model, device), examples, batch=batch).sigmoid().cpu().numpy()


def drops(losses: list[float]) -> int:
    """How many epochs' validation loss exceeded the least before it: so often the learning rate is divided by 10."""
    return sum(after > min(losses[:epoch]) for epoch, after in enumerate(losses) if epoch)


def epochs_since_best(losses: list[float]) -> int:
    """Epochs after the (first) least validation loss."""
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


class _Radiographs(DeviceDataset):
    """A dataset whose labels are (n, k) float32 findings, mirrored left-right only."""

    def __init__(self, images, findings, *, device, mirror: bool = False, name: str = "training"):
        super().__init__(images, None, device=device, name=name, augment="flips" if mirror else "none")
        values = np.asarray(findings.cpu() if isinstance(findings, Tensor) else findings)
        if values.ndim != 2 or len(values) != len(self) or values.dtype.kind not in "biuf":
            raise ValueError(
                f"The {name} findings are {values.dtype} of shape {values.shape}: give ({len(self)}, k) numbers."
            )
        values = values.astype(np.float32)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"The {name} findings are not all in [0, 1]: decide what uncertain and blank labels mean.")
        self._labels = torch.from_numpy(values).to(device)
        self.digest = hashlib.sha256(f"{self.digest} {values.shape}".encode() + values.tobytes()).hexdigest()

    def draw_flips(self, n: int, generator: torch.Generator) -> Tensor | None:
        flips = super().draw_flips(n, generator)
        return None if flips is None else flips & torch.tensor([True, False], device=flips.device)


def _epoch(model, radiographs, updates, parts, seen, seed, epoch, precision, report) -> float:
    """One pass over the radiographs, or the first `seen` of it, in batches `parts`; the mean loss."""
    training_mode(model)
    device = radiographs.values.device
    generator = seeding.torch_generator(seed, "findings", "epoch", epoch)
    order = torch.randperm(len(radiographs), generator=generator).to(device)
    flips = radiographs.draw_flips(len(radiographs), generator)
    total = torch.zeros((), device=device)
    with seeding.initialising(seed, "findings", "dropout", epoch):
        for part in parts:
            rows = order[part]
            with seeding.autocast(device, precision):
                logits = model(radiographs.inputs(rows, None if flips is None else flips[part]))
            loss = F.binary_cross_entropy_with_logits(logits.float(), radiographs.labels[rows])
            updates.zero_grad()
            loss.backward()
            updates.step()
            total += loss.detach() * len(rows)
            report(part.stop / seen, images=part.stop)
    return float(total) / seen


def _validate(model: nn.Module, radiographs: _Radiographs) -> float:
    return float(
        F.binary_cross_entropy_with_logits(predict_logits(model, radiographs, batch=_VALIDATED), radiographs.labels)
    )


@torch.no_grad()
def _check_findings(model: nn.Module, radiographs: _Radiographs, held_out: _Radiographs | None) -> None:
    outputs = model.eval()(radiographs.inputs(slice(0, 1))).shape[1]
    for part in (radiographs, held_out):
        if part and part.labels.shape[1] != outputs:
            found = part.labels.shape[1]
            raise ValueError(f"The {part.name} findings are {found}, but the model has {outputs} outputs.")
    for constant, words in (
        (radiographs.labels.amax(0) == 0, "No training radiograph shows"),
        (radiographs.labels.amin(0) == 1, "Every training radiograph shows"),
    ):
        if constant.any():
            which = constant.nonzero().flatten().tolist()
            raise ValueError(f"{words} finding {which}: leave it out, or add radiographs.")
