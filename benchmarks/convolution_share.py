"""Every generator's training step at 64 px beside its convolutions and matrix products alone.

    python benchmarks/convolution_share.py [--narrower 1 --batch 16 --rounds 7 --threads 1 --only dcgan … --layouts]

One step is recorded: which convolutions and matrix products it calls, forward, backward to the input and to the
weights, and on which shapes. The same calls are then made on ready tensors, with nothing in between: in bf16 with the
channels last where the machine has bf16, else in float32, in the faster of both layouts. Step and calls take turns in
one process. The share is the time of the calls over that of the step; what is missing to 1 is normalisation,
activations, copies between layouts and precisions, optimisers and augmentation. The threshold, on a machine with AMX or
AVX512-bf16, is a share of at least 0.5. Channels are the published ones divided by `--narrower`, images grey. The four
updates of StyleGAN2 stand apart.

--layouts: instead, the step with contiguous weights over that with the channels last, in float32 on the CPU: what the
rule of lib/training/loop/placement.py rests on.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry

from lib.anonymise.vaegan.guidance import AuxiliaryLosses
from lib.anonymise.vaegan.masked_images import checked_cases
from lib.anonymise.vaegan.pp_vaegan import PPVAEGANTrainer, Weights
from lib.core import seeding
from lib.models.classifiers.identity import ConvClassifier
from lib.training.gan.acgan import ACGANTrainer
from lib.training.gan.autodecoder import AutoDecoderTrainer
from lib.training.gan.cyclegan import CycleGANTrainer
from lib.training.gan.dcgan import DCGANTrainer
from lib.training.gan.progan import ProGANTrainer
from lib.training.gan.stylegan2 import StyleGAN2Trainer
from lib.training.loop.dataset import DeviceDataset
from side_by_side import arguments, take_turns, verdict

SIZE = 64
THRESHOLD = 0.5
IMAGES = torch.randint(0, 256, (256, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(256) % 2


def main():
    parser = arguments(__doc__, narrower=1, batch=16, rounds=7, threads=1)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=[*STEPS])
    parser.add_argument("--layouts", action="store_true", help="contiguous weights over channels last, in float32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    precision = "bf16" if seeding.has_bf16(device) else "float32"
    print(f"{seeding.arithmetic_here(precision)}; batch {args.batch}, published channels / {args.narrower}")
    for name in args.only:
        if args.layouts:
            compare_layouts(name, args)
            continue
        step = stepping(name, args, precision, device)
        step()
        with Products() as products:
            step()
        methods = {"step": step} | products.replays(precision, device)
        timings = take_turns(methods, rounds=args.rounds, device=device)
        alone = timings.fastest("alone")
        share = timings.ratio(alone, "step")
        met = verdict(share >= THRESHOLD) if precision == "bf16" else "not measured here: no native bf16"
        print(
            f"{name:22s} {args.batch / timings.median('step'):8.1f} images/{timings.unit}, "
            f"step {1000 * timings.median('step'):8.1f} m{timings.unit}, {alone} {1000 * timings.median(alone):8.1f} "
            f"({products.flops / timings.median(alone) / 1e9:5.1f} GFLOP/s): "
            f"share {share:.2f} (threshold {THRESHOLD}): {met}",
            flush=True,
        )


def compare_layouts(name: str, args) -> None:
    device = torch.device("cpu")
    steps = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        trainer, update = STEPS[name](args.batch, args.narrower, "float32", device)
        for network in trainer.networks.values():
            network.to(memory_format=layout)
        steps[str(layout).removeprefix("torch.")] = partial(update, trainer)
    timings = take_turns(steps, rounds=args.rounds, device=device)
    ratio = timings.ratio("contiguous_format", "channels_last")
    print(f"{name:22s} contiguous / channels last = {ratio:.2f}", flush=True)


def stepping(name: str, args, precision: str, device: torch.device) -> Callable:
    """The training steps of that generator, one a call."""
    trainer, update = STEPS[name](args.batch, args.narrower, precision, device)
    return partial(update, trainer)


class Products(TorchDispatchMode):
    """Keeps which convolutions and matrix products run inside, and on which shapes; counts their operations."""

    def __init__(self):
        super().__init__()
        self.flops, self.calls = 0, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if operations := flop_registry.get(function._overloadpacket):
            self.flops += operations(*args, **(kwargs or {}), out_val=out)
            leaves, tree = tree_flatten((args, kwargs or {}))
            self.calls[function, tuple(_Shape.of(leaf) for leaf in leaves), tree] += 1
        return out

    def replays(self, precision: str, device: torch.device) -> dict[str, Callable]:
        """The calls again, by the layout of their tensors."""
        layouts = {"channels last": torch.channels_last}
        if precision == "float32":
            layouts["contiguous"] = torch.contiguous_format
        return {f"alone, {name}": self._again(precision, layout, device) for name, layout in layouts.items()}

    def _again(self, precision: str, layout: torch.memory_format, device: torch.device) -> Callable:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        calls = []
        for (function, leaves, tree), times in self.calls.items():
            made = [leaf.made(dtype, layout, device) if isinstance(leaf, _Shape) else leaf for leaf in leaves]
            args, kwargs = tree_unflatten(made, tree)
            calls.append((function, args, kwargs, times))

        @torch.no_grad()
        def again():
            for function, args, kwargs, times in calls:
                for _ in range(times):
                    function(*args, **kwargs)

        return again


class _Shape(tuple):
    """Stands for a tensor of that shape, and whether it is the transpose of one that lies row by row."""

    @classmethod
    def of(cls, leaf):
        if isinstance(leaf, torch.Tensor):
            return cls((*leaf.shape, leaf.ndim < 4 and not leaf.is_contiguous() and leaf.mT.is_contiguous()))
        return tuple(leaf) if isinstance(leaf, list) else leaf

    def made(self, dtype, layout, device) -> torch.Tensor:
        *shape, turned = self
        if len(shape) == 4:
            return torch.randn(shape, dtype=dtype, device=device).contiguous(memory_format=layout)
        if turned:
            return torch.randn(*shape[:-2], shape[-1], shape[-2], dtype=dtype, device=device).mT
        return torch.randn(shape, dtype=dtype, device=device)


def steps_from(first: int) -> Callable:
    """Step number `first` of a trainer, and at the next call the next."""
    numbers = count(first)
    return lambda trainer: trainer.step(next(numbers))


def dcgan(batch, narrower, precision, device):
    settings = {
        "image_size": SIZE, "classes": 2, "latent": 100, "width": 64 // narrower, "norm": "batch", "batch": batch,
        "learning_rate": 2e-4, "betas": (0.5, 0.999), "real_target": (0.7, 1.2), "augment": True,
        "as_published": False, "ema": 0.999, "precision": precision, "seed": 0,
    }  # fmt: skip
    return DCGANTrainer(IMAGES, CLASSES, settings, device), steps_from(0)


def acgan(batch, narrower, precision, device):
    settings = {
        "image_size": SIZE, "slices": 9, "classes": 2, "width": 128 // narrower, "noise": 100, "batch": batch,
        "alpha": 1.0, "class_weights": [1.0, 1.0], "learning_rate": 1e-4, "time_scale": 1.0, "betas": (0.5, 0.999),
        "d_steps": 1, "generator_batch_norm": True, "discriminator_batch_norm": True, "as_published": False,
        "augment": True, "precision": precision, "seed": 0,
    }  # fmt: skip
    return ACGANTrainer(IMAGES.expand(-1, 9, -1, -1), CLASSES, settings, device), steps_from(0)


def progan(batch, narrower, precision, device):
    settings = {
        "image_size": SIZE, "labels": 2, "latent": 512 // narrower, "maps": (512 // narrower, 8192 // narrower),
        "normalise": "joint", "total_images": 10**6, "level_images": 1, "fade_images": 0, "batch": [batch] * 5,
        "learning_rate": [1e-3] * 5, "label_weight": 1.0, "fake_label_weight": 0.0, "penalty": 10.0, "drift": 1e-3,
        "betas": (0.0, 0.99), "ema": 0.999, "precision": precision, "seed": 0,
    }  # fmt: skip
    trainer = ProGANTrainer(IMAGES, torch.randint(0, 2, (256, 2)).float(), settings, device)
    return trainer, steps_from(trainer.stages[-1].step - 10**4)


def stylegan2(update: str) -> Callable:
    def made(batch, narrower, precision, device):
        settings = {
            "image_size": SIZE, "classes": 2, "channels": 1, "latent": 512 // narrower,
            "maps": (512 // narrower, 16384 // narrower), "mapping_layers": 2, "batch": batch,
            "learning_rate": 2.5e-3, "gamma": 2e-4 * SIZE**2 / batch, "r1_every": 16, "path_weight": 2.0,
            "path_every": 4, "mixing": 0.9, "augment_p": 0.0, "ada_target": 0.6, "ada_kimg": 500.0, "ema_kimg": 5.0,
            "precision": precision, "seed": 0,
        }  # fmt: skip
        trainer = StyleGAN2Trainer(IMAGES, CLASSES, settings, device)
        return trainer, {
            "G": StyleGAN2Trainer.generator_step, "D": lambda trainer: trainer.discriminator_step(*trainer.batch(0)),
            "R1": lambda trainer: trainer.r1_step(*trainer.batch(0)),
            "path length": StyleGAN2Trainer.path_length_step,
        }[update]  # fmt: skip

    return made


def cyclegan(batch, narrower, precision, device):
    settings = {
        "image_size": SIZE, "channels": 1, "steps": 10**9, "batch": batch, "width": 64 // narrower,
        "blocks": 9, "critic_width": 64 // narrower, "critic_depth": 3, "cycle": 10.0, "identity": 0.5,
        "learning_rate": 2e-4, "beta1": 0.5, "constant": 0.5, "pool": 50, "load_size": None, "mirror": True,
        "precision": precision, "seed": 0,
    }  # fmt: skip
    return CycleGANTrainer(IMAGES.to(device), 255 - IMAGES.to(device), settings, device), steps_from(0)


def autodecoder(batch, narrower, precision, device):
    settings = {
        "image_size": SIZE, "channels": 1, "latent": 128, "maps": (512 // narrower, 16384 // narrower),
        "steps": 10**9, "batch": batch, "learning_rate": 1e-2, "latent_rate": 2e-2, "precision": precision, "seed": 0,
    }  # fmt: skip
    return AutoDecoderTrainer(DeviceDataset(IMAGES, None, device=device), settings, device), steps_from(0)


def vaegan(batch, narrower, precision, device):
    people = np.arange(256) % 8
    examples, regions = checked_cases(IMAGES[:, 0].numpy(), np.ones((256, SIZE, SIZE)), people, device=device)
    with seeding.initialising(0):
        classifiers = {"finding": ConvClassifier(SIZE, 2, 32), "identity": ConvClassifier(SIZE, 8, 32)}
    auxiliary = AuxiliaryLosses("posterior", examples=examples, noisy_targets=False, **classifiers)
    settings = {
        "image_size": SIZE, "kernel": 8, "width": 256 // narrower, "latent": 128, "dropout": 0.2,
        "privacy": "posterior", "weights": Weights()._asdict(), "critic_steps": 5, "penalty": 10.0,
        "generator_steps": 2, "learning_rate": 2e-5, "decay": 0.0, "betas": (0.9, 0.999), "as_published": [],
        "steps": 10**9, "batch": batch, "precision": precision, "seed": 0,
    }  # fmt: skip
    return PPVAEGANTrainer(examples, regions, auxiliary, None, settings, device), steps_from(0)


STEPS = {"dcgan": dcgan, "acgan": acgan, "progan": progan}
STEPS |= {f"stylegan2, {update}": stylegan2(update) for update in ("G", "D", "R1", "path length")}
STEPS |= {"cyclegan": cyclegan, "autodecoder": autodecoder, "vaegan": vaegan}

if __name__ == "__main__":
    main()
