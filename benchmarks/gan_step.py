"""One training step of the conditional DCGAN (D and G update): ours against plain PyTorch loops.

    python benchmarks/gan_step.py [--size 128 --width 64 --batch 8 --rounds 7 --threads 2 --compile]

Plain loops: the textbook one (two passes of D, whose gradients the G step computes and drops) and a tuned one (one
pass over real and fake, D frozen in the G step), contiguous and channels last, float32 and, where the hardware has
it, bf16; all with fused Adam, instance norm and ready-made float batches, so they neither sample nor augment. The
variants take turns in one process. The fastest plain one is the reference; the threshold is ours <= 1.05 of it.
"""

import torch
import torch.nn.functional as F

from lib.core import seeding
from lib.models.gan.dcgan import Discriminator, Generator
from lib.training.gan.dcgan import DCGANTrainer
from side_by_side import arguments, as_torch_has_it, take_turns

THRESHOLD = 1.05


def main():
    parser = arguments(__doc__, size=128, width=64, batch=8, rounds=7, threads=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile ours and the plain ones (CUDA only)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    precisions = ("float32", "bf16") if seeding.has_bf16(device) else ("float32",)

    steps = {f"ours, {precision}": ours(args, device, precision) for precision in precisions}
    for precision in precisions:
        for layout in (torch.contiguous_format, torch.channels_last):
            for tuned in (False, True):
                loop = "tuned" if tuned else "textbook"
                name = f"plain {loop}, {precision}, {str(layout).removeprefix('torch.')}"
                steps[name] = plain(args, device, precision, layout, tuned)

    timings = take_turns(steps, rounds=args.rounds, device=device)
    timings.print(images=args.batch)
    timings.hold(timings.fastest("ours"), timings.fastest("plain"), at_most=THRESHOLD)


def ours(args, device, precision):
    settings = {
        "image_size": args.size, "classes": 2, "latent": 100, "width": args.width, "norm": "instance",
        "batch": args.batch, "learning_rate": 1e-4, "betas": (0.5, 0.999), "real_target": (0.7, 1.2),
        "augment": True, "as_published": False, "ema": None, "precision": precision, "seed": 0,
    }  # fmt: skip
    images = torch.randint(0, 256, (64, 1, args.size, args.size), dtype=torch.uint8)
    trainer = DCGANTrainer(images, torch.arange(64) % 2, settings, device, compile=args.compile)
    numbers = iter(range(10**9))
    return lambda: trainer.step(next(numbers))


def plain(args, device, precision, layout, tuned):
    generator = as_torch_has_it(Generator(args.size, width=args.width)).to(device, memory_format=layout)
    discriminator = as_torch_has_it(Discriminator(args.size, width=args.width)).to(device, memory_format=layout)
    options = {"lr": 1e-4, "betas": (0.5, 0.999), "fused": True}
    adam_g = torch.optim.Adam(generator.parameters(), **options)
    adam_d = torch.optim.Adam(discriminator.parameters(), **options)
    if args.compile and device.type == "cuda":
        generator.compile()
        discriminator.compile()
    n = args.batch
    real = (torch.rand(n, 1, args.size, args.size, device=device) * 2 - 1).contiguous(memory_format=layout)
    labels = torch.randint(0, 2, (n,), device=device)
    ones, zeros = torch.ones(n, device=device), torch.zeros(n, device=device)

    def evaluated(images, classes, target):
        with seeding.autocast(device, precision):
            logits = discriminator(images, classes)
        return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="sum") / n

    def step():
        noise, classes = torch.randn(n, 100, device=device), torch.randint(0, 2, (n,), device=device)
        target = torch.empty(n, device=device).uniform_(0.7, 1.2)
        with seeding.autocast(device, precision):
            fake = generator(noise, classes)
        adam_d.zero_grad()
        if tuned:
            discriminator.requires_grad_(True)
            images, both = torch.cat([real, fake.detach()]), torch.cat([labels, classes])
            evaluated(images, both, torch.cat([target, zeros])).backward()
        else:
            evaluated(real, labels, target).backward()
            evaluated(fake.detach(), classes, zeros).backward()
        adam_d.step()
        if tuned:
            discriminator.requires_grad_(False)
        adam_g.zero_grad()
        evaluated(fake, classes, ones).backward()
        adam_g.step()

    return step


if __name__ == "__main__":
    main()
