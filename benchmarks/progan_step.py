"""One training step of the progressive GAN (D, then G and its average): ours against a plain PyTorch transcription.

    python benchmarks/progan_step.py [--size 32 --largest 48 --base 256 --latent 32 --labels 5 --batch 16 --rounds 7
                                      --threads 1 --levels]

The plain step is the same arithmetic (spec §4.1 of Han et al. 2019) written down as it reads: nearest up-sampling and 3
x 3 convolution, convolution and averaging, pixel norm by its formula, a pass each for real, generated and mixed
radiographs, torch's own second derivatives. "tuned" evaluates real and generated radiographs in one pass and computes
no gradient of D in the step of G. Both with fused Adam, contiguous and channels last, on ready-made float radiographs
without a schedule. All take turns in one process; the fastest plain one is the reference; the threshold is ours <= 0.9
of it at the last level.
"""

import torch
import torch.nn.functional as F

from lib.core import seeding
from lib.models.gan.progan import Discriminator, Generator
from lib.training.gan.progan import ProGANTrainer
from side_by_side import arguments, take_turns

THRESHOLD = 0.9


def main():
    parser = arguments(__doc__, size=32, largest=48, base=256, latent=32, labels=5, batch=16, rounds=7, threads=1)
    parser.add_argument("--levels", action="store_true", help="each level from 4 px up, not the last alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    first = 2 if args.levels else args.size.bit_length() - 1
    for size in (2**level for level in range(first, args.size.bit_length())):
        compare(args, size, device)


def compare(args, size, device):
    steps = {"ours, float32": ours(args, size, device, "float32")}
    if seeding.has_bf16(device):
        steps["ours, bf16"] = ours(args, size, device, "bf16")
    for layout in (torch.contiguous_format, torch.channels_last):
        for tuned in (False, True):
            name = f"plain {'tuned' if tuned else 'textbook'}, {str(layout).removeprefix('torch.')}"
            steps[name] = plain(args, size, device, layout, tuned)
    timings = take_turns(steps, rounds=args.rounds, device=device, repeats=3)
    print(f"{size} px")
    timings.print(images=args.batch)
    timings.hold(timings.fastest("ours"), timings.fastest("plain"), at_most=THRESHOLD)


def ours(args, size, device, precision):
    settings = {
        "image_size": size, "labels": args.labels, "latent": args.latent, "maps": (args.largest, args.base),
        "normalise": "latent", "total_images": 10**6, "level_images": 1, "fade_images": 0,
        "batch": [args.batch] * 9, "learning_rate": [1e-3] * 9, "label_weight": 1.0, "fake_label_weight": 0.0,
        "penalty": 10.0, "drift": 1e-3, "betas": (0.0, 0.99), "ema": 0.999, "precision": precision, "seed": 0,
    }  # fmt: skip
    images = torch.randint(0, 256, (256, 1, size, size), dtype=torch.uint8)
    trainer = ProGANTrainer(images, torch.randint(0, 2, (256, args.labels)).float(), settings, device)
    last = trainer.stages[-1].step - 1
    numbers = iter(range(last - 10**4, last))
    return lambda: trainer.step(next(numbers))


def plain(args, size, device, layout, tuned):
    shape = {"image_size": size, "labels": args.labels, "maps": (args.largest, args.base)}
    generator = Generator(latent=args.latent, normalise="latent", **shape).to(device)
    discriminator = Discriminator(**shape).to(device)
    average = Generator(latent=args.latent, normalise="latent", **shape).to(device)
    options = {"lr": 1e-3, "betas": (0.0, 0.99), "fused": True}
    adam_g = torch.optim.Adam(generator.parameters(), **options)
    adam_d = torch.optim.Adam(discriminator.parameters(), **options)
    n = args.batch
    real = (torch.rand(n, 1, size, size, device=device) * 2 - 1).contiguous(memory_format=layout)
    table = torch.randint(0, 2, (256, args.labels), device=device).float()

    def step():
        labels = table[torch.randint(256, (n,))]
        with torch.no_grad():
            fake = generated(generator, torch.randn(n, args.latent, device=device), labels, layout)
        adam_d.zero_grad()
        if tuned:
            discriminator.requires_grad_(True)
            scores, logits = evaluated(discriminator, torch.cat([real, fake]), layout)
            (real_scores, fake_scores), real_logits = scores.chunk(2), logits.chunk(2)[0]
        else:
            real_scores, real_logits = evaluated(discriminator, real, layout)
            fake_scores, _ = evaluated(discriminator, fake, layout)
        mixed = torch.lerp(real, fake, torch.rand(n, 1, 1, 1, device=device)).requires_grad_()
        scores, _ = evaluated(discriminator, mixed, layout)
        (gradient,) = torch.autograd.grad(scores.sum(), mixed, create_graph=True)
        penalty = (gradient.square().sum(dim=(1, 2, 3)).sqrt() - 1).square()
        loss = (fake_scores - real_scores + 10 * penalty + 1e-3 * real_scores.square()).mean()
        (loss + F.binary_cross_entropy_with_logits(real_logits, labels, reduction="sum") / n).backward()
        adam_d.step()
        if tuned:
            discriminator.requires_grad_(False)
        adam_g.zero_grad()
        labels = table[torch.randint(256, (n,))]
        fake = generated(generator, torch.randn(n, args.latent, device=device), labels, layout)
        scores, logits = evaluated(discriminator, fake, layout)
        loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / n - scores.mean()
        loss.backward()
        adam_g.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 0.001)

    return step


def generated(network, noise, labels, layout=torch.contiguous_format):
    """What the generator gives at full size, written as spec §4.1 reads (noise normalised alone)."""
    first = network.first
    x = F.linear(torch.cat([unit(noise), labels], dim=1), first.weight * first.scale)
    x = x.view(len(x), 4, 4, -1).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    x = unit(F.leaky_relu(x + network.bias, 0.2))
    for number, level in enumerate(network.levels):
        if number:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            kernel = level[0].weight.transpose(0, 1).flip(2, 3) * level[0].scale
            x = unit(F.leaky_relu(F.conv2d(x, kernel, level[0].bias, padding=1), 0.2))
        x = unit(F.leaky_relu(F.conv2d(x, level[-1].weight * level[-1].scale, level[-1].bias, padding=1), 0.2))
    grey = network.to_grey[-1]
    return F.conv2d(x, (grey.weight * grey.scale)[:, :, None, None], grey.bias)


def evaluated(network, images, layout=torch.contiguous_format):
    """What the discriminator gives at full size, written as spec §4.1 reads."""
    grey = network.from_grey[-1]
    x = F.leaky_relu(F.conv2d(images, (grey.weight * grey.scale)[:, :, None, None], grey.bias), 0.2)
    x = x.contiguous(memory_format=layout)
    for level in reversed(list(network.levels)[1:]):
        x = F.leaky_relu(F.conv2d(x, level[0].weight * level[0].scale, level[0].bias, padding=1), 0.2)
        x = F.conv2d(x, level[1].weight * level[1].scale, None, padding=1)
        x = F.leaky_relu(F.avg_pool2d(x, 2) + level[1].bias[:, None, None], 0.2)
    groups = x.view(-1, 4, *x.shape[1:])
    spread = ((groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    x = torch.cat([x, spread.repeat_interleave(4).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)], dim=1)
    last = network.levels[0][0]
    x = F.leaky_relu(F.conv2d(x, last.weight * last.scale, last.bias, padding=1), 0.2).flatten(1)
    x = F.leaky_relu(F.linear(x, network.dense.weight * network.dense.scale, network.dense.bias), 0.2)
    heads = F.linear(x, network.heads.weight * network.heads.scale, network.heads.bias)
    return heads[:, 0], heads[:, 1:]


def unit(x):
    return x / torch.sqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


if __name__ == "__main__":
    main()
