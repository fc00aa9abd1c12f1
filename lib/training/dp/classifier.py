"""DP-SGD: training an image classifier under differential privacy, with Opacus as the engine.

At each step every training image enters with probability q = 1/ceil(n/batch), independently (Poisson sampling); its
loss gradient is clipped to norm C; the clipped gradients are summed, Gaussian noise of SD σC is added, the sum is
divided by the expected batch nq and handed to AdamW (Abadi et al. 2016; Osuala et al. 2024, spec §5).
Clipping, noise and accounting are Opacus' own (`DPOptimizer`, its accountants). The per-sample gradients come from
`lib.training.dp.per_sample_gradients`, the batches from masks drawn on the data that already lie on the device.

What the (ε, δ) covers: one training IMAGE, added or removed; whatever is computed from the weights of all epochs.
What it does not: patients, who have several images (`lib.training.dp.accounting.group_epsilon`); the number of training
images; the validation images that choose the epoch; public images; and initial weights that saw the same patients.
The noise is pseudo-random, in float32, from `seed`: whoever knows the seed can subtract it. A seed that is published
for reproduction voids the guarantee of that run; a model meant to be released needs a secret seed.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.core.paths import rehearsal
from lib.training.classifier.model_selection import History, Selection
from lib.training.classifier.single_label import check_classes, seen_by, trained_part
from lib.training.dp import accounting
from lib.training.dp.per_sample_gradients import FlatParameters, check_engine, per_sample_gradients
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import training_mode
from lib.training.loop.placement import placed
from lib.training.loop.rehearsal import Epochs
from lib.training.loop.resume import Resumable, weights_digest

WINDOW = (0.75, 1.05)  # of the target ε: only epochs inside are eligible


@dataclass
class PrivateHistory(History):
    """A `History`, and the mechanism: ε at `delta` after each epoch, and which epochs the ε-window let be selected.

    The ε to quote is `epsilon[-1]`, not that of the selected epoch: choosing among epochs looks at all of them.
    `loss` is the mean over the images drawn; `drawn` counts them.
    """

    epsilon: list[float] = field(default_factory=list)
    eligible: list[bool] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    noise_multiplier: float = 0.0
    sample_rate: float = 0.0
    steps: int = 0
    delta: float = 0.0
    max_grad_norm: float = 0.0
    accountant: str = "rdp"


def train_private(
    model: nn.Module,  # model, images, labels, validation: as for `train_classifier`
    *,
    images,
    labels,
    validation: tuple,
    epsilon: float,  # infinite: clipping without noise, all epochs eligible
    delta: float,
    epochs: int,  # each of ceil(n/batch) steps
    batch: int,  # the expected one
    learning_rate: float,
    seed: int,
    max_grad_norm: float = 1.0,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    augment: str = "flips",  # augment, select: as for `train_classifier`
    select: str = "auprc",
    accountant: str = "rdp",  # as published, or "prv"
    public: tuple | None = None,  # (images, labels) outside the guarantee, for instance synthetic ones
    public_weight: float | None = None,  # w below; None: the share of public ones among all images
    chunk: int | None = None,  # at most so many per-sample gradients in memory at once
    engine: str = "layers",  # see lib.training.dp.per_sample_gradients
    checkpoint=None,  # checkpoint, progress: as for `train_classifier`
    device: torch.device | None = None,
    progress: Callable | None = None,
) -> PrivateHistory:
    """Train the parameters of `model` that require gradients under (epsilon, delta), in place, in float32.

    The model ends with the weights of the selected epoch: the best by `select` on `validation` among those whose ε
    lies in `WINDOW` of the target (as published). The noise multiplier is the smallest whose ε after all epochs is
    within 1 % below `epsilon`, by `accountant`. At each step a plain batch of public images, `batch` at most, adds its
    un-noised mean gradient: (1 - w) g_private + w g_public, so that by default each image weighs the same, as in a
    mixed set; neither q nor σ changes. A training resumes exactly, as one of
    `lib.training.classifier.single_label.train_classifier`. ValueError for input that does not fit, values outside
    their range, a layer without per-sample gradients, an empty ε-window, or divergence.
    """
    device = device or seeding.device()
    if not 0 < max_grad_norm < math.inf:
        raise ValueError(f"max_grad_norm is {max_grad_norm}: give a positive finite clipping norm.")
    examples = DeviceDataset(images, labels, device=device, augment=augment)
    held_out = DeviceDataset(*validation, device=device, name="validation")
    free = None if public is None else DeviceDataset(*public, device=device, augment=augment, name="public")
    share = 0.0 if free is None else len(free) / (len(free) + len(examples))
    share = share if public_weight is None else public_weight
    if not 0 <= share <= 1:
        raise ValueError(f"public_weight is {share}: give the share of the public gradient, from 0 to 1.")
    settings = {
        "algorithm": "private", "model": type(model).__name__, "epsilon": str(epsilon), "delta": delta,
        "accountant": accountant, "max_grad_norm": max_grad_norm, "epochs": epochs, "batch": batch,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "label_smoothing": label_smoothing,
        "augment": augment, "select": select, "public_weight": share, "seed": seed, "data": examples.digest,
        "validation": held_out.digest, "public": free and free.digest, "weights": weights_digest(model),
    }  # fmt: skip
    placed(model, device)
    check_classes(model, examples)
    network = trained_part(model)
    with Resumable(checkpoint, settings, name="private classifier", epochs=epochs, progress=progress) as saved:
        found = saved.load(network)
        if found and saved.finished:
            return PrivateHistory(**found["history"])
        examples, held_out = (seen_by(network, model, part, batch=batch) for part in (examples, held_out))
        free = free and seen_by(network, model, free, batch=batch)
        selection = Selection(select, held_out, batch=batch, label_smoothing=label_smoothing)
        per_epoch = math.ceil(len(examples) / batch)
        rate, steps = 1 / per_epoch, epochs * per_epoch
        sigma = accounting.noise_multiplier(
            epsilon=epsilon, delta=delta, sample_rate=rate, steps=steps, accountant=accountant
        )  # fmt: skip
        history = PrivateHistory(
            noise_multiplier=sigma, sample_rate=rate, steps=steps, delta=delta, max_grad_norm=max_grad_norm,
            accountant=accountant,
        )  # fmt: skip
        if found:
            history = PrivateHistory(**found["history"])
        flat = FlatParameters(network)
        try:
            mechanism = Mechanism(
                flat, history, seed=seed, size=len(examples), label_smoothing=label_smoothing, chunk=chunk,
                engine=engine,
                optimiser=torch.optim.AdamW([flat.vector], lr=learning_rate, weight_decay=weight_decay, fused=True),
            )  # fmt: skip
            if found:
                mechanism.load_state_dict(found["mechanism"])
                selection.weights = {name: value.to(device) for name, value in found["best"].items()}
            start, images = len(history.epsilon), len(examples)
            passes = Epochs("private classifier", start, epochs, network=network, images=images)
            for epoch in passes:
                training_mode(network)
                total, drawn = torch.zeros((), device=device), 0
                with seeding.initialising(seed, "private", "dropout", epoch):
                    for part in passes.batches(per_epoch, 1):
                        step = epoch * per_epoch + part.start
                        losses = mechanism.step(step, examples, free, share, batch, most=passes.most)
                        total += losses.sum()
                        drawn += len(losses)
                        saved.show_within(epoch, part.stop / per_epoch, images=drawn)
                history.loss.append(float(total) / max(drawn, 1))
                history.drawn.append(drawn)
                history.epsilon.append(accounting.epsilon_of(mechanism.history, delta=delta, accountant=accountant))
                history.eligible.append(in_window(history.epsilon[-1], epsilon) or bool(rehearsal()))
                selection.evaluate(network, history, eligible=history.eligible[-1])
                shown = {"loss": history.loss[-1], "epsilon": history.epsilon[-1]}
                shown[selection.measure] = selection.scores(history)[-1]
                saved.save(
                    network, epoch + 1, lambda: {
                        "history": asdict(history), "mechanism": mechanism.state_dict(), "best": selection.weights,
                    },
                    images=drawn, losses=shown | {"validation_loss": history.validation_loss[-1]}, shown=shown,
                )  # fmt: skip
        finally:
            flat.release()
        if not history.selected:
            raise ValueError(
                f"No epoch ends with an ε between {WINDOW[0]} and {WINDOW[1]} of {epsilon}: train for more epochs."
            )
        network.load_state_dict(selection.weights, strict=False)
        saved.finish(network, epochs, {"history": asdict(history)})
        network.eval()
        return history


def in_window(spent: float, target: float) -> bool:
    """Whether an epoch at ε = `spent` may be selected under `target`: inside `WINDOW`, both ends excluded."""
    return math.isinf(target) or WINDOW[0] * target < spent < WINDOW[1] * target


def poisson_rows(n: int, sample_rate: float, generator: torch.Generator) -> Tensor:
    """Indices of the images drawn, each of n independently with probability `sample_rate`: (m,) int64 on the CPU."""
    # float64: a float32 uniform has 2^-24 steps, which would shift the rate.
    return (torch.rand(n, generator=generator, dtype=torch.float64) < sample_rate).nonzero().flatten()


class Mechanism:
    """One optimiser step of DP-SGD on flat parameters; its randomness depends on (seed, step) alone."""

    def __init__(self, flat, history, *, seed, size, label_smoothing, chunk, engine, optimiser):
        from opacus.accountants import create_accountant  # imported late: it takes seconds
        from opacus.optimizers import DPOptimizer

        self.flat, self.seed, self.chunk, self.engine, self.rate = flat, seed, chunk, engine, history.sample_rate
        self.smoothing = label_smoothing
        self.noise = torch.Generator(flat.vector.device)
        self.optimiser = DPOptimizer(
            optimiser, noise_multiplier=history.noise_multiplier, max_grad_norm=history.max_grad_norm,
            expected_batch_size=size * self.rate, generator=self.noise,
        )  # fmt: skip
        self.accountant = create_accountant(history.accountant)
        self.optimiser.attach_step_hook(self.accountant.get_optimizer_hook_fn(self.rate))
        self.checked = False

    @property
    def history(self) -> list:
        """(noise multiplier, sample rate, steps) of the steps taken, as the optimiser reported them."""
        return self.accountant.history

    def step(
        self, step: int, examples: DeviceDataset, free: DeviceDataset | None, share: float, batch: int,
        most: int | None = None,
    ) -> Tensor:  # fmt: skip
        """One update; the losses of the images drawn. most: of a rehearsal, which has no privacy: so many of them."""
        generator = seeding.torch_generator(self.seed, "private", "sample", step)
        rows = poisson_rows(len(examples), self.rate, generator)[:most]
        flips = examples.draw_flips(len(rows), generator)
        rows = rows.to(self.flat.vector.device)
        inputs, labels = examples.inputs(rows, flips), examples.labels[rows]
        if not self.checked:
            check_engine(self.flat, inputs[:4], labels[:4], loss=self.losses, engine=self.engine)
            self.checked = True
        self.noise.manual_seed(seeding.seed_of(self.seed, "private", "noise", step))
        losses = self._clip_and_noise(inputs, labels)
        if free is not None:
            self._mix(free, share, min(batch, len(free)), seeding.torch_generator(self.seed, "private", "public", step))
        self.optimiser.original_optimizer.step()
        self.optimiser.zero_grad()
        return losses

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each image, (n,)."""
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing, reduction="none")

    def _clip_and_noise(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Opacus' first half of a step, in chunks: afterwards the vector's gradient is the noisy mean."""
        size = self.chunk or max(len(inputs), 1)
        starts = range(0, max(len(inputs), 1), size)
        losses = []
        for i in starts:
            part = slice(i, i + size)
            self.flat.vector.grad_sample, loss = per_sample_gradients(
                self.flat, inputs[part], labels[part], loss=self.losses, engine=self.engine
            )
            losses.append(loss)
            if i != starts[-1]:
                self.optimiser.signal_skip_step()
                self.optimiser.pre_step()
                self.optimiser.zero_grad()
        self.optimiser.pre_step()
        return torch.cat(losses)

    def _mix(self, free: DeviceDataset, share: float, size: int, generator: torch.Generator) -> None:
        rows = torch.randperm(len(free), generator=generator)[:size]
        flips = free.draw_flips(size, generator)
        rows = rows.to(self.flat.vector.device)
        loss = self.losses(self.flat.model(free.inputs(rows, flips)), free.labels[rows]).mean()
        gradients = torch.autograd.grad(loss, self.flat.parameters, allow_unused=True)
        self.flat.vector.grad.lerp_(self.flat.flatten(list(gradients)), share)

    def state_dict(self) -> dict:
        """The optimiser's moments and the accountant's history."""
        return {"optimiser": self.optimiser.state_dict(), "accountant": [list(entry) for entry in self.history]}

    def load_state_dict(self, state: dict) -> None:
        """Continue from what `state_dict` gave."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.accountant.history = [tuple(entry) for entry in state["accountant"]]
