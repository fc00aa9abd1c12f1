"""The four updates of a StyleGAN2 training at the published layer widths, ours beside the reference operations.

    python benchmarks/stylegan_step.py [--sizes 64 256 --rounds 2 --threads 2]

G and D: one update by the adversarial loss, forward, backward, Adam and drawing the fake images included; R1 and path
length: one update by that regulariser, the latter on half a batch. RGB, two classes, channels min(16384 / px, 512), two
mapping layers; bf16 where the hardware has it, else float32. The reference operations are one kernel for each image,
grouped convolutions and torch's own second derivatives; they run in turn with ours, in the same process and precision,
from the same weights, and with bf16 ours should be twice as fast. Beside them stand the wall-clock seconds that the
specification measured for them in float32 on another machine with two cores, and the machine's own rate of large matrix
products in float32, which bounds what any direct convolution can do.
"""

import contextlib
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lib.core import seeding
from lib.models.gan import stylegan2
from lib.models.layers import convolution
from lib.training.gan.stylegan2 import StyleGAN2Trainer
from side_by_side import arguments, take_turns, verdict

TIMES = 2.0  # as fast as the reference operations, in bf16
THRESHOLDS = {(64, 8): (1.55, 1.92, 1.98, 0.90), (256, 4): (4.99, 4.85, 4.67, 2.01)}


def main():
    parser = arguments(__doc__, rounds=2, threads=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    is_bf16 = seeding.has_bf16(device)
    a, b = torch.randn(2, 4096, 4096, device=device)
    products = take_turns({"products": lambda: a @ b}, rounds=3, warm_up=0, device=device, wall=True)
    rate = 2 * 4096**3 / min(products.seconds["products"])
    print(f"matrix products of 4,096 x 4,096: {rate / 1e9:.0f} GFLOP/s, {device.type}")
    for (size, batch), thresholds in THRESHOLDS.items():
        if size not in args.sizes:
            continue
        print(f"{size} px, batch {batch}")
        ours = updates(size, batch, device, "bf16" if is_bf16 else "float32")
        for (name, update), threshold in zip(ours.items(), thresholds, strict=True):
            with Products() as products:
                update()
            methods = {"ours": update, "reference": by_reference_operations(update)}
            timings = take_turns(methods, rounds=args.rounds, device=device, wall=True)
            ours_s, peer_s = timings.median("ours"), timings.median("reference")
            met = verdict(peer_s >= TIMES * ours_s) if is_bf16 else "not measured here: no native bf16"
            images = (batch // 2 if name == "path length" else batch) / ours_s
            print(
                f"  {name:12s} {ours_s:7.3f} s, reference {peer_s:7.3f} s: {peer_s / ours_s:.2f} times faster; "
                f"{images:.1f} images/s; threshold {threshold:.2f} s: {verdict(ours_s < threshold)}, and "
                f"{products.flops / rate:.2f} s are its products at that rate; {TIMES:g} times as fast in bf16: {met}",
                flush=True,
            )


class Products(TorchDispatchMode):
    """Counts the floating-point operations of convolutions and matrix products that run inside."""

    flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def by_reference_operations(update):
    """`update` with one kernel for each image in a modulated convolution, and torch's own derivatives."""

    def updated():
        with reference_operations():
            update()

    return updated


def reference_operations():
    patches = contextlib.ExitStack()
    patches.enter_context(
        mock.patch.multiple(stylegan2, conv2d=_of(F.conv2d), conv_transpose2d=_of(F.conv_transpose2d))
    )
    patches.enter_context(mock.patch.object(stylegan2._Styled, "forward", _one_kernel_an_image))
    patches.enter_context(mock.patch.object(convolution.Filter, "same", _filtered))
    return patches


def _of(operation):
    return lambda x, weight, stride=1, padding=0, scale=1.0: operation(x, weight * scale, None, stride, padding)


def _filtered(self, x, padding):
    return F.conv2d(x, self.kernel.to(x.dtype), padding=padding, groups=len(self.kernel))


def _one_kernel_an_image(self, x, w, noise):
    style = self.style(w)
    per_input = style[:, :, None, None, None] if self.up else style[:, None, :, None, None]
    kernel = self.weight * per_input
    kernel = kernel * torch.rsqrt(
        self.share * (kernel.square().sum(dim=(1, 3, 4) if self.up else (2, 3, 4), keepdim=True) + self.epsilon)
    )
    n, height = len(x), x.shape[2]
    rows, kernel = x.reshape(1, -1, height, height), kernel.flatten(0, 1).to(x.dtype)
    if self.up:
        x = F.conv_transpose2d(rows, kernel, stride=2, groups=n)
        x = self.filter.same(x.view(n, -1, *x.shape[2:]), padding=1)
    else:
        x = F.conv2d(rows, kernel, padding=1, groups=n).view(n, -1, height, height)
    drawn = self.noise
    if noise is not None:
        drawn = torch.randn(n, *drawn.shape[1:], generator=noise, device=x.device)
    return F.leaky_relu(x + (drawn * self.strength).to(x.dtype) + self.bias.to(x.dtype), 0.2)


def updates(size: int, batch: int, device: torch.device, precision: str) -> dict:
    settings = {
        "image_size": size, "classes": 2, "channels": 3, "latent": 512, "maps": (512, 16384), "mapping_layers": 2,
        "batch": batch, "learning_rate": 2.5e-3, "gamma": 2e-4 * size**2 / batch, "r1_every": 16, "path_weight": 2.0,
        "path_every": 4, "mixing": 0.9, "augment_p": 0.0, "ada_target": 0.6, "ada_kimg": 500.0, "ema_kimg": 5.0,
        "precision": precision, "seed": 0,
    }  # fmt: skip
    images = torch.randint(0, 256, (2 * batch, 3, size, size), dtype=torch.uint8)
    trainer = StyleGAN2Trainer(images, torch.arange(2 * batch) % 2, settings, device)
    real = trainer.batch(0)
    return {
        "G": trainer.generator_step, "D": lambda: trainer.discriminator_step(*real),
        "R1": lambda: trainer.r1_step(*real), "path length": trainer.path_length_step,
    }  # fmt: skip


if __name__ == "__main__":
    main()
