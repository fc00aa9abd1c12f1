"""One DP-SGD step of the small CNN: ours against every mode of Opacus, vmap and one image at a time.

    python benchmarks/dpsgd_step.py [--size 32 --images 1104 --batch 128 --rounds 15 --threads 2]

A step: per-sample gradients, clipping, noise, AdamW. Ours also draws the Poisson batch, flips and scales it; the others
get ready-made float batches of the expected size, Opacus' or our per-sample gradients, Opacus' optimiser and fused
AdamW, and no data loader. The variants take turns in one process. The fastest plain one is the reference; the threshold
is ours <= 1.05 of it. The non-private step of the same network is there for scale, and does not count.
"""

import copy
import warnings

import torch
import torch.nn.functional as F
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleExpandedWeights, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch.func import functional_call, grad, vmap

from lib.core import seeding
from lib.models.classifiers.small_cnn import SmallCNN
from lib.training.dp.classifier import Mechanism, PrivateHistory
from lib.training.dp.per_sample_gradients import FlatParameters
from lib.training.loop.dataset import DeviceDataset
from side_by_side import arguments, take_turns

THRESHOLD, SIGMA, CLIP, SMOOTHING = 1.05, 1.24, 1.0, 0.1


def main():
    args = arguments(__doc__, size=32, images=1104, batch=128, rounds=15, threads=2).parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    device = seeding.device()
    rate = 1 / -(-args.images // args.batch)
    expected = round(args.images * rate)
    with seeding.initialising(0):
        model = SmallCNN()
        peer = copy.deepcopy(model)
        peer.layers[0] = torch.nn.Conv2d(1, 16, 5, 2, 2)  # Opacus' rules go by the exact type of a layer
        images = torch.randn(expected, 1, args.size, args.size).to(device)
    peer.load_state_dict(model.state_dict())
    labels = torch.arange(expected, device=device) % 2
    steps = {"ours": ours(model, args, rate, device)}
    for name, make in PLAIN.items():
        steps[name] = make(copy.deepcopy(peer).to(device), images, labels)
    timings = take_turns(steps, rounds=args.rounds, warm_up=2, device=device)
    timings.print(images=expected)
    timings.hold("ours", timings.fastest(but={"ours", "not private"}), at_most=THRESHOLD)


def ours(model, args, rate, device):
    pixels = torch.randint(0, 256, (args.images, 1, args.size, args.size), dtype=torch.uint8)
    examples = DeviceDataset(pixels, torch.arange(args.images) % 2, device=device, augment="flips")
    flat = FlatParameters(copy.deepcopy(model).to(device, memory_format=torch.channels_last))
    history = PrivateHistory(noise_multiplier=SIGMA, sample_rate=rate, max_grad_norm=CLIP)
    mechanism = Mechanism(
        flat, history, optimiser=adamw([flat.vector]), seed=0, size=args.images, label_smoothing=SMOOTHING,
        chunk=None, engine="layers",
    )  # fmt: skip
    numbers = iter(range(10**9))
    return lambda: mechanism.step(next(numbers), examples, None, 0.0, args.batch)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4, fused=True)


def loss_of(logits, labels, reduction="mean"):
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction=reduction)


def private(optimiser, n, kind=DPOptimizer):
    return kind(optimiser, noise_multiplier=SIGMA, max_grad_norm=CLIP, expected_batch_size=n)


def not_private(model, images, labels):
    optimiser = adamw(model.parameters())

    def step():
        optimiser.zero_grad()
        loss_of(model(images), labels).backward()
        optimiser.step()

    return step


def opacus(wrap):
    def make(model, images, labels):
        wrapped = wrap(model)
        optimiser = private(adamw(wrapped.parameters()), len(images))

        def step():
            optimiser.zero_grad()
            loss_of(wrapped(images), labels).backward()
            optimiser.step()

        return step

    return make


def ghost(model, images, labels):
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=CLIP, use_ghost_clipping=True)
    optimiser = private(adamw(wrapped.parameters()), len(images), DPOptimizerFastGradientClipping)
    criterion = DPLossFastGradientClipping(wrapped, optimiser, torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING))

    def step():
        optimiser.zero_grad()
        criterion(wrapped(images), labels).backward()
        optimiser.step()

    return step


def by_vmap(model, images, labels):
    def single(parameters, image, label):
        return loss_of(functional_call(model, parameters, (image[None],)), label[None])

    per_sample = vmap(grad(single), in_dims=(None, 0, 0))
    return from_gradients(model, images, lambda named: per_sample(named, images, labels))


def one_by_one(model, images, labels):
    def gradients(named):
        rows = [
            torch.autograd.grad(loss_of(model(images[i : i + 1]), labels[i : i + 1]), list(model.parameters()))
            for i in range(len(images))
        ]
        return dict(zip(named, map(torch.stack, zip(*rows, strict=True)), strict=True))

    return from_gradients(model, images, gradients)


def from_gradients(model, images, gradients):
    optimiser = private(adamw(model.parameters()), len(images))

    def step():
        optimiser.zero_grad()
        found = gradients({name: p.detach() for name, p in model.named_parameters()})
        for name, parameter in model.named_parameters():
            parameter.grad_sample = found[name]
        optimiser.step()

    return step


PLAIN = {
    "not private": not_private,
    "Opacus, hooks": opacus(GradSampleModule),
    "Opacus, functorch": opacus(lambda model: GradSampleModule(model, force_functorch=True)),
    "Opacus, expanded weights": opacus(GradSampleModuleExpandedWeights),
    "Opacus, ghost clipping": ghost,
    "vmap": by_vmap,
    "one image at a time": one_by_one,
}

if __name__ == "__main__":
    main()
