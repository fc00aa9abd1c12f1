"""One training step of anonymisation (critic updates, then VAE updates): ours against plain PyTorch transcriptions.

    python benchmarks/anonymiser_step.py [--size 32 --kernel 4 --width 32 --latent 32 --people 12 --batch 32
        --critic-steps 5 --generator-steps 2 --privacy distance --rounds 7 --threads 1]

The plain steps are the same arithmetic (Montenegro et al. 2021, spec §5.1 and §5.4) as it reads, with
torch's own layers and second derivatives. "textbook": anonymised images anew for each critic update, a pass each for
real, anonymised and mixed ones, one pass of the embedding for each person's anchor, originals evaluated in every step,
the critic's gradients computed and dropped in the VAE's update, Adam not fused. "tuned": real and anonymised in one
pass, all anchors in one pass, a frozen critic, fused Adam. Both contiguous and channels last. All take turns in one
process; the threshold is ours <= 0.9 of the fastest plain one.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from lib.anonymise.vaegan.guidance import AuxiliaryLosses
from lib.anonymise.vaegan.masked_images import checked_cases
from lib.anonymise.vaegan.pp_vaegan import PPVAEGANTrainer, Weights
from lib.core import seeding
from lib.models.classifiers.identity import ConvClassifier, Embedding, paired_distances
from lib.models.gan.vaegan import VAE, Critic
from side_by_side import arguments, as_torch_has_it, take_turns

THRESHOLD = 0.9
WEIGHTS = Weights(source=0.5)


def main():
    parser = arguments(
        __doc__, size=32, kernel=4, width=32, latent=32, people=12, batch=32, critic_steps=5, generator_steps=2,
        rounds=7, threads=1,
    )  # fmt: skip
    parser.add_argument("--privacy", choices=("posterior", "distance"), default="distance")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (28 * args.people, args.size, args.size)).astype(np.uint8)
    masks = np.zeros_like(images)
    masks[:, args.size // 4 : -args.size // 4, args.size // 4 : -args.size // 4] = 1
    people = np.repeat(np.arange(args.people), 28)
    with seeding.initialising(0):
        distance = args.privacy == "distance"
        identity = Embedding(16, 64) if distance else ConvClassifier(args.size, args.people, 16)
        classifiers = {"finding": ConvClassifier(args.size, 2, 16).to(device), "identity": identity.to(device)}
    steps = {"ours": ours(args, device, images, masks, people, classifiers)}
    for layout in (torch.contiguous_format, torch.channels_last):
        for tuned in (False, True):
            name = f"plain {'tuned' if tuned else 'textbook'}, {str(layout).removeprefix('torch.')}"
            steps[name] = plain(args, device, images, masks, people, classifiers, layout, tuned)
    timings = take_turns(steps, rounds=args.rounds, device=device, repeats=3)
    timings.print(images=args.batch)
    timings.hold("ours", "plain textbook, contiguous_format", at_most=1.0)
    timings.hold("ours", timings.fastest("plain"), at_most=THRESHOLD)


def ours(args, device, images, masks, people, classifiers):
    examples, regions = checked_cases(images, masks, people, device=device)
    auxiliary = AuxiliaryLosses(args.privacy, examples=examples, noisy_targets=False, **classifiers)
    settings = {
        "image_size": args.size, "kernel": args.kernel, "width": args.width, "latent": args.latent, "dropout": 0.2,
        "privacy": args.privacy, "weights": WEIGHTS._asdict(), "critic_steps": args.critic_steps, "penalty": 10.0,
        "generator_steps": args.generator_steps, "learning_rate": 1e-3, "decay": 0.0, "betas": (0.5, 0.9),
        "as_published": [], "steps": 1000, "batch": args.batch, "precision": "float32", "seed": 0,
    }  # fmt: skip
    trainer = PPVAEGANTrainer(examples, regions, auxiliary, None, settings, device)
    numbers = iter(range(1000))
    return lambda: trainer.step(next(numbers))


def plain(args, device, images, masks, people, classifiers, layout, tuned):
    shape = args.size, args.kernel, args.width
    vae = as_torch_has_it(VAE(*shape, args.latent)).to(device).to(memory_format=layout)
    critic = as_torch_has_it(Critic(*shape)).to(device).to(memory_format=layout)
    finding, identity = (
        copy.deepcopy(classifiers[name]).eval().requires_grad_(False).to(memory_format=layout)
        for name in ("finding", "identity")
    )
    options = {"lr": 1e-3, "betas": (0.5, 0.9), "fused": tuned}
    adam_vae, adam_critic = (torch.optim.Adam(network.parameters(), **options) for network in (vae, critic))
    pixels = (torch.from_numpy(images)[:, None].float() / 127.5 - 1).to(device)
    regions = torch.from_numpy(masks)[:, None].float().to(device)
    owners, n = torch.from_numpy(people), args.batch

    def batch():
        rows = torch.randperm(len(pixels))[:n]
        return pixels[rows].contiguous(memory_format=layout), regions[rows].contiguous(memory_format=layout)

    def noise():
        return torch.randn(n, args.latent, device=device)

    def update_critic():
        real, mask = batch()
        vae.eval()
        with torch.no_grad():
            drawn = vae(real, mask, noise())
        vae.train()
        adam_critic.zero_grad()
        if tuned:
            of_real, of_drawn = critic(torch.cat([real, drawn])).chunk(2)
        else:
            of_real, of_drawn = critic(real), critic(drawn)
        mixed = torch.lerp(drawn, real, torch.rand(n, 1, 1, 1, device=device)).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        penalty = (1 - gradient.flatten(1).norm(dim=1)).square().mean()
        (of_drawn.mean() - of_real.mean() + 10 * penalty).backward()
        adam_critic.step()

    def privacy(drawn, real):
        if args.privacy == "posterior":
            return -identity(drawn).log_softmax(dim=1).mean()
        anchors = [int(torch.randint(len(pixels), ()) % 28) + 28 * person for person in range(int(owners.max()) + 1)]
        point = identity(drawn)
        if tuned:
            those = identity(pixels[anchors])
            apart = ((point[:, None] - those).square().sum(dim=2) + 1e-8).sqrt()
        else:  # a pass for each person
            each = [paired_distances(point, identity(pixels[a : a + 1])) for a in anchors]
            apart = torch.stack(each, dim=1)
        own = paired_distances(point, identity(real))
        return (1 - apart).clamp_min(0).square().mean() + WEIGHTS.source * (1 - own).clamp_min(0).square().mean()

    def update_vae():
        real, mask = batch()
        mean, s = vae.encoder(real, mask)
        drawn = vae.decoder(mean + (s / 2).exp() * noise())
        if tuned:
            critic.requires_grad_(False)
        loss = -WEIGHTS.realism * critic(drawn).mean()
        critic.requires_grad_(True)
        loss = loss + WEIGHTS.divergence * (s.exp() + mean.square() - 1 - s).sum(dim=1).mean() / 2
        with torch.no_grad():
            target = finding(real).softmax(dim=1)
        loss = loss + WEIGHTS.finding * F.cross_entropy(finding(drawn), target) + privacy(drawn, real)
        loss = loss + WEIGHTS.evidence * (mask * (real - drawn)).square().sum() / mask.sum()
        adam_vae.zero_grad()
        if not tuned:
            adam_critic.zero_grad()
        loss.backward()
        adam_vae.step()

    def step():
        for _ in range(args.critic_steps):
            update_critic()
        for _ in range(args.generator_steps):
            update_vae()

    return step


if __name__ == "__main__":
    main()
