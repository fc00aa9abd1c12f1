"""Training an image classifier without privacy, and its predictions.

Osuala et al. 2024, spec §5: AdamW, cross-entropy with label smoothing, horizontal and vertical flips, no schedule, no
early stopping, the epoch chosen on validation images. Sun et al. 2021, spec §5: SGD with momentum, plain cross-entropy
of three classes, no flips.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.training.classifier.model_selection import History, Selection
from lib.training.loop import data_parallel as parallel
from lib.training.loop.dataset import DeviceDataset, Features
from lib.training.loop.images import flipped, network_input
from lib.training.loop.inference import in_batches, predict_logits, training_mode
from lib.training.loop.placement import placed
from lib.training.loop.rehearsal import Epochs
from lib.training.loop.resume import Resumable, weights_digest
from lib.training.loop.trainer import finished_training

_KEPT = 8  # sets whose features are kept, some 50 MB each where a study is largest
_kept_features: dict[tuple, Tensor] = {}
OPTIMISERS = ("adamw", "sgd")


def train_classifier(
    model: nn.Module,  # images -> (n, classes) logits
    *,
    images,  # (n, h, w) or (n, c, h, w), as `lib.training.loop.dataset.DeviceDataset` takes them
    labels,  # (n,) integers from 0
    validation: tuple,  # (images, labels)
    epochs: int,  # every image is seen once an epoch
    batch: int,  # the last one of an epoch may be smaller
    learning_rate: float,
    seed: int,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    augment: str = "flips",  # or "none"
    select: str = "auprc",  # see lib.training.classifier.model_selection
    optimiser: str = "adamw",  # or "sgd", with momentum 0.9
    batch_statistics: bool = False,  # in the validation: see `lib.training.loop.inference.predict_logits`
    checkpoint=None,  # a folder; None keeps nothing
    device: torch.device | None = None,
    precision: str = "float32",  # see lib.core.seeding.autocast; validation is always float32
    progress: Callable | None = None,  # called as progress(epochs done, loss=, auprc= or balanced_accuracy=)
) -> History:
    """Train the parameters of `model` that require gradients, in place; it ends with the selected epoch's weights.

    A training finished in `checkpoint` with the same settings, data and initial weights is returned, an unfinished one
    continued. The randomness of each epoch depends on (seed, epoch) alone: on the CPU, with the same number of threads,
    an interrupted and resumed training equals an uninterrupted one bit for bit. Where only `model.head` is trainable,
    the features of the frozen rest are computed once (`frozen_features`). Several ranks share each batch out
    (lib.training.loop.data_parallel), and each evaluates all validation images. ValueError for input that does not fit,
    a class without training images, a validation set of one class, or divergence.
    """
    if optimiser not in OPTIMISERS:
        raise ValueError(f"unknown optimiser {optimiser!r}: choose one of {', '.join(OPTIMISERS)}")
    device = device or seeding.device()
    examples = DeviceDataset(images, labels, device=device, augment=augment)
    held_out = DeviceDataset(*validation, device=device, name="validation")
    placed(model, device, precision)
    parallel.same_weights(model)
    parallel.joined_statistics(model)
    settings = {
        "algorithm": "classifier", "model": type(model).__name__, "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "label_smoothing": label_smoothing,
        "augment": augment, "select": select, "optimiser": optimiser, "batch_statistics": batch_statistics,
        "precision": precision, "seed": seed, "data": examples.digest,
        "validation": held_out.digest, "weights": weights_digest(model),
    }  # fmt: skip
    check_classes(model, examples)
    network = trained_part(model)
    with Resumable(checkpoint, settings, name="classifier", epochs=epochs, progress=progress) as saved:
        found = saved.load(network)
        history = History(**found["history"]) if found else History()
        if saved.finished:
            return history
        examples, held_out = (seen_by(network, model, part, batch=batch) for part in (examples, held_out))
        selection = Selection(
            select, held_out, batch=batch, label_smoothing=label_smoothing, batch_statistics=batch_statistics
        )
        parameters = [p for p in network.parameters() if p.requires_grad]
        updates: torch.optim.Optimizer
        if optimiser == "sgd":
            updates = torch.optim.SGD(parameters, learning_rate, momentum=0.9, weight_decay=weight_decay, fused=True)
        else:
            updates = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay, fused=True)
        if found:
            updates.load_state_dict(found["optimiser"])
            selection.weights = {name: value.to(device) for name, value in found["best"].items()}
        passes = Epochs("classifier", len(history.loss), epochs, network=network, images=len(examples))
        for epoch in passes:
            training_mode(network)
            generator = seeding.torch_generator(seed, "classifier", "epoch", epoch)
            order = torch.randperm(len(examples), generator=generator).to(device)
            flips = examples.draw_flips(len(examples), generator)
            total = torch.zeros((), device=device)
            with seeding.initialising(seed, "classifier", "dropout", epoch, *parallel.own_stream()):
                for part in passes.batches(len(order), batch):
                    whole = order[part]
                    own, share = parallel.portion(len(whole))
                    rows = whole[own]
                    with seeding.autocast(device, precision):
                        logits = network(examples.inputs(rows, None if flips is None else flips[part][own]))
                    loss = F.cross_entropy(logits.float(), examples.labels[rows], label_smoothing=label_smoothing)
                    updates.zero_grad()
                    loss = parallel.backward(loss, parameters, share)
                    updates.step()
                    total += loss * len(whole)
                    saved.show_within(epoch, part.stop / len(order), images=part.stop)
            history.loss.append(float(total) / len(examples))
            selection.evaluate(network, history)
            shown = {"loss": history.loss[-1], selection.measure: selection.scores(history)[-1]}
            saved.save(
                network, epoch + 1, lambda: {
                    "history": asdict(history), "optimiser": updates.state_dict(), "best": selection.weights,
                },
                images=len(examples), losses=shown | {"validation_loss": history.validation_loss[-1]}, shown=shown,
            )  # fmt: skip
        network.load_state_dict(selection.weights, strict=False)
        saved.finish(network, epochs, {"history": asdict(history)})
        network.eval()
        return history


def predict(
    model: nn.Module, images, *, batch: int = 256, batch_statistics: bool = False, device: torch.device | None = None
) -> np.ndarray:
    """Class probabilities (n, classes) float32 of images as `train_classifier` takes them; `model` ends in eval mode.

    batch_statistics: see `lib.training.loop.inference.predict_logits`; the result then depends on `batch` and on the
    order of the images. ValueError for images that do not fit.
    """
    device = device or seeding.device()
    examples = DeviceDataset(images, None, device=device, name="given")
    placed(model, device)
    is_trained = any(parameter.requires_grad for parameter in model.parameters())
    network = trained_part(model) if is_trained and not batch_statistics else model
    examples = seen_by(network, model, examples, batch=batch)
    logits = predict_logits(network, examples, batch=batch, batch_statistics=batch_statistics)
    model.eval()
    return logits.softmax(1).cpu().numpy()


def load_classifier(model: nn.Module, path, *, device: torch.device | None = None) -> nn.Module:
    """`model` with the weights of the finished training of it in folder `path`, whatever its settings; in eval mode.

    For a network of which every weight was trained. FileNotFoundError when nothing is there; ValueError when the
    training is unfinished, a file is damaged, or the weights are those of another network.
    """
    tensors, _ = finished_training(path, "classifier")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {path} are not those of this {type(model).__name__}: give its sizes."
        ) from error
    return placed(model, device or seeding.device()).eval()


@torch.no_grad()
def frozen_features(model: nn.Module, examples: DeviceDataset, *, batch: int, most: int | None = None) -> Tensor:
    """What `model.head` receives: (4, n, d) float32 under no, left-right, upside-down and both flips, or (1, n, d).

    Of all n examples, or the first `most`. Exact, since the frozen part of the model, in eval mode, maps an image to
    the same features in every epoch. ValueError unless the model's output is its head's output.
    """
    model.eval()
    caught = []
    hook = model.get_submodule("head").register_forward_hook(lambda _, args, output: caught.append((args[0], output)))
    variants = [(False, False), (True, False), (False, True), (True, True)]
    found = []
    try:
        for across, down in variants if examples.augment == "flips" else variants[:1]:

            def received(part: slice, flip=(across, down)) -> Tensor:
                images = examples.values[:most][part]
                flips = torch.tensor([flip], device=images.device).expand(len(images), 2)
                logits = model(network_input(flipped(images, flips)))
                features, output = caught.pop()
                if caught or output is not logits:
                    raise ValueError("The model does more than its head after its features: unfreeze it or move that.")
                return features

            found.append(in_batches(received, len(examples.values[:most]), batch, kind=type(model).__name__))
    finally:
        hook.remove()
    return torch.stack(found).float()


def trained_part(model: nn.Module) -> nn.Module:
    """`model.head` where all else is frozen, or `model`. ValueError when nothing is trainable."""
    trainable = {p for p in model.parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("The model has no trainable parameter: set requires_grad on the part to train.")
    head = getattr(model, "head", None)
    return head if isinstance(head, nn.Module) and trainable <= set(head.parameters()) else model


def seen_by(network: nn.Module, model: nn.Module, examples: DeviceDataset, *, batch: int) -> DeviceDataset:
    """`examples` as `network`, the `trained_part` of `model`, takes them: images, or features where it is the head.

    Features are kept for the next network with the same frozen part: of a few sets, those that were asked for last.
    """
    if network is model:
        return examples
    key = (type(model).__name__, weights_digest(model, but="head"), examples.digest, examples.augment, batch)
    found = _kept_features.pop(key, None)
    # Whether it is so for the first image is seen anew: weights do not tell what a model does with them.
    if found is None or not _are_near(found[:, :1], frozen_features(model, examples, batch=batch, most=1)):
        found = frozen_features(model, examples, batch=batch)
    _kept_features[key] = found
    while len(_kept_features) > _KEPT:
        del _kept_features[next(iter(_kept_features))]
    return Features(found, examples)


def _are_near(first: Tensor, second: Tensor) -> bool:
    return first.device == second.device and first.shape == second.shape and torch.allclose(first, second, atol=1e-4)


@torch.no_grad()
def check_classes(model: nn.Module, examples: DeviceDataset) -> None:
    """ValueError unless every output of `model` is the class of some example, and every label an output."""
    classes = model.eval()(examples.inputs(slice(0, 1))).shape[1]
    counts = torch.bincount(examples.labels, minlength=classes)
    if len(counts) > classes:
        raise ValueError(f"The labels reach {len(counts) - 1}, but the model has {classes} outputs, counted from 0.")
    if (counts == 0).any():
        empty = counts.eq(0).nonzero().flatten().tolist()
        raise ValueError(f"No training image is of class {empty}: every class of the model must occur.")
