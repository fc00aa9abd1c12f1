"""Privacy-preserving walks, per pair: all pairs at once against a literal transcription of the published loop.

    python benchmarks/plan.py [--size 32 --points 50 --pairs 8 --steps 5 --rounds 5 --threads 2 --network small_cnn]

The published loop, from the description in the specification: one pair at a time, one pass of the generator, the
classifiers in chunks of four, one backward pass that also computes the gradients of every weight. Both walk the same
ends with the same StyleGAN2 and classifiers and take turns in one process. The time is that of a step of one pair.
Thresholds: >= 2 times faster, and latents that differ by less than 1e-6 of their distance from the straight walk,
compared in float64: in float32 Adam's first steps turn the rounding of gradients near zero into whole steps.
`--network wide_resnet --size 256 --pairs 2` is the paper's scale, for a GPU.
"""

import torch
import torch.nn.functional as F

from lib.anonymise.latent_walk import plan as walk
from lib.core import seeding
from lib.models.classifiers.small_cnn import SmallCNN
from lib.models.classifiers.wide_resnet import WideResNet50
from lib.models.gan.stylegan2 import Generator
from side_by_side import arguments, take_turns, verdict

FASTER, SAME = 2, 1e-6
CLASSIFIERS = {"small_cnn": SmallCNN, "wide_resnet": WideResNet50}


def main():
    parser = arguments(__doc__, size=32, points=50, pairs=8, steps=5, rounds=5, threads=2, identities=64)
    parser.add_argument("--network", choices=CLASSIFIERS, default="small_cnn")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device, small = seeding.device(), args.network == "small_cnn"
    with seeding.initialising(0):
        shape = {"latent": 64, "maps": (32, 16 * args.size)} if small else {}
        generator = Generator(args.size, 2, 1, **shape).to(device).eval()
        identity, diagnosis = (CLASSIFIERS[args.network](n).to(device).eval() for n in (args.identities, 2))
        first, last = torch.randn(2, args.pairs, generator.latent).to(device)
    networks = {"identity": identity, "diagnosis": diagnosis}

    def ours():
        labels = torch.ones(len(first), dtype=torch.long)
        options = {"labels": labels, "points": args.points, "steps": args.steps, "as_published": True}
        return walk.plan(generator.synthesis, **networks, first=first, last=last, **options).latents

    def theirs():
        options = {"label": 1, "points": args.points, "steps": args.steps}
        ends = zip(first[:, None], last[:, None], strict=True)
        return torch.stack([published_walk(generator.synthesis, **networks, ends=pair, **options) for pair in ends])

    timings = take_turns({"ours": ours, "published": theirs}, rounds=args.rounds, device=device, repeats=1)
    for network in (generator, identity, diagnosis):
        network.double()
    first, last = first[:2].double(), last[:2].double()
    published, straight = theirs(), walk.linear(first, last, points=args.points)
    difference = float((ours() - published).norm() / (published - straight).norm())
    for name in timings.seconds:
        each = 1000 * timings.median(name) / args.pairs / args.steps
        print(f"{name:9s} {each:8.2f} m{timings.unit} a step of one pair")
    ratio = timings.ratio("published", "ours")
    met = ratio >= FASTER and difference <= SAME
    print(f"{args.network}, {args.size} px: {ratio:.2f} times faster (threshold {FASTER}), ", end="")
    print(f"{difference:.0e} apart: {verdict(met)}")


def published_walk(synthesis, *, identity, diagnosis, ends, label: int, points: int, steps: int, chunk: int = 4):
    """The published optimisation of one pair `ends` (1, d) twice, line by line; (points, d)."""
    first, last = ends
    path = torch.cat([first + i / (points - 1) * (last - first) for i in range(points)])
    inner = path[1:-1].clone().requires_grad_()
    optimiser = torch.optim.Adam([inner], lr=0.1)
    for _ in range(steps):
        images = synthesis(inner).clamp(-1, 1)
        identity_loss = class_loss = 0.0
        for some in images.split(chunk):
            log_q = identity(some).log_softmax(dim=1)
            uniform = torch.full_like(log_q, 1 / log_q.shape[1])
            identity_loss = identity_loss + F.kl_div(log_q, uniform, reduction="batchmean")
            labels = torch.full((len(some),), label, device=some.device)
            class_loss = class_loss + F.cross_entropy(diagnosis(some), labels)
        whole = torch.cat([first, inner, last])
        distance = (F.pairwise_distance(whole[1:], whole[:-1], eps=1e-6) ** 2).sum()
        total = distance + 0.1 * identity_loss + class_loss
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return torch.cat([first, inner, last]).detach()


if __name__ == "__main__":
    main()
