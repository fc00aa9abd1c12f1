"""Federated training of a GAN (lib.models.gan.fedgan): clients train on their own images and share only weights.

Han et al. 2019, spec §4.4 and §6. A round: some clients are drawn, each copies the global generator G
and critic D, trains both on its radiographs, and returns them; the server averages. With y the labels of a radiograph
x, C those that D predicts, and x̂ uniform between a radiograph and a generated one::

    L_D = D(G(z, y)) − D(x) + 10 (‖∇D(x̂)‖ − 1)² + BCE(C(x), y)
    L_G = −D(G(z, y')) + BCE(C(G(z, y')), y'),         y' of radiographs drawn at random

`as_published` is the released code's behaviour (spec §7, D17, D18, D20): in L_D every generated radiograph is asked for
the first label alone, 10 critic updates a step, SGD of rate 1e-4 and momentum .5, and clients of every size count
alike. D19, an abort when a client with fewer radiographs than a batch is drawn, is repaired in both: it draws with
replacement.

Weights are not anonymous: nothing here hides a client's update from the server, nor bounds what it reveals.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.fedgan import Discriminator, Generator
from lib.training.gan.losses import gradient_norms, label_loss
from lib.training.gan.sampling import TrainedGenerator, drawn, finding_labels, normal_noise
from lib.training.loop.dataset import uint8_squares
from lib.training.loop.images import network_input
from lib.training.loop.placement import placed
from lib.training.loop.rehearsal import alike
from lib.training.loop.trainer import Trainer, restored, run_training

_PENALTY = 10.0


class FedGAN(TrainedGenerator):
    """The global generator of a federated training."""

    name = "fedgan"
    generator: Generator

    @classmethod
    def restored(
        cls, tensors: dict[str, Tensor], settings: dict, device: torch.device, *, after: int | None = None
    ) -> Self:  # fmt: skip
        """The last generator, or the one kept `after` a round; ValueError for a round that was not kept."""
        if after is not None and after not in settings["keep"]:
            raise ValueError(f"The generators of rounds {settings['keep']} were kept, not of {after}: train with it.")
        name = "generator" if after is None else f"round-{after}"
        return cls(restored(lambda: _generator(settings), name, tensors, device), settings)

    def sample(self, n: int, *, labels=None, seed: int, batch: int = 256) -> np.ndarray:
        """As `TrainedGenerator.sample`; labels: (n, k), or (n,) for k = 1, numbers in [0, 1]."""
        wanted = finding_labels(labels, n, self.generator.labels)
        noise = normal_noise(n, self.generator.latent, seed, "progan", "films")
        return drawn(self.generator, noise, wanted, batch=batch, device=self.device)


def train_fedgan(
    images,  # (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.fedgan.SIZES
    labels,  # (n,) or (n, k) of 0 and 1
    *,
    path,  # the folder of the checkpoint
    seed: int,
    rounds: int,
    clients: Sequence | None = None,  # the rows of each client, see `partition`; None: one, that is central training
    keep: Sequence[int] = (),  # after these rounds a copy of the generator stays, see `FedGAN.restored`
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
    **options,  # what `resolved` takes besides
) -> FedGAN:
    """Train a GAN by simulated rounds, or finish or fetch the one in folder `path`.

    The randomness of a visit depends on (seed, round, client) alone. Checkpoints, exact resuming, save_seconds and
    progress: see `lib.training.loop.trainer`, a step being a round. ValueError for a client without an image, images or
    labels that do not fit, more clients a round than there are, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    images, labels = np.asarray(images), np.asarray(labels)
    if len(images) != len(labels):
        raise ValueError(f"There are {len(images)} images and {len(labels)} labels: give one row of labels an image.")
    parts = [np.arange(len(images))] if clients is None else clients
    if not len(parts):
        raise ValueError("A federation needs at least one client.")
    radiographs = [
        Radiographs(images[rows], labels[rows], name=f"client {number}", device=device)
        for number, rows in enumerate(parts)
    ]
    settings = resolved(shape=radiographs[0].shape, clients=len(radiographs), seed=seed, rounds=rounds, **options)
    networks = begin(settings, device)

    def visits(weights, round):
        return [
            (len(radiographs[client]), *visit(networks, weights, radiographs[client], settings, round, client))
            for client in alike(drawn_clients(settings, round))
        ]

    data = hashlib.sha256(" ".join(client.digest for client in radiographs).encode()).hexdigest()
    return federate(
        visits, settings | {"data": data}, path=path, keep=keep, device=device, save_seconds=save_seconds,
        progress=progress,
    )  # fmt: skip


def federate(
    visits: Callable, settings: dict, *, path, keep: Sequence[int] = (), device, save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> FedGAN:  # fmt: skip
    """The server: rounds as `train_fedgan` describes them, wherever the clients are.

    visits(weights, round) has the clients of `drawn_clients` train from `weights`, and gives (images, weights, losses)
    of each, in that order. settings: of `resolved`, and what distinguishes these clients from others.
    """
    settings = settings | {"keep": sorted(keep)}
    tensors = run_training(
        lambda: FedGANTrainer(visits, settings, device), name="federated GAN", path=path, settings=settings,
        steps=settings["rounds"], unit="rounds", save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return FedGAN.restored(tensors, settings, device)


def partition(n: int, clients: int, *, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows 0..n-1 in random order, cut into `clients` parts whose sizes are a uniformly random composition of n.

    As published (spec §4.4): the sizes differ widely, the labels only by chance. ValueError unless 1 <= clients <= n.
    """
    if not 1 <= clients <= n:
        raise ValueError(f"{n} radiographs cannot be cut into {clients} clients with at least one each.")
    cuts = 1 + rng.choice(n - 1, clients - 1, replace=False)
    return np.split(rng.permutation(n), np.sort(cuts))


def resolved(
    *,
    shape: tuple[int, int],  # image size, number of labels
    clients: int,
    seed: int,
    rounds: int,
    clients_per_round: int | None = None,  # drawn without replacement; None: a tenth of them, but one at least
    steps: int = 10,  # steps, batch: see `local_update`
    critic_steps: int | None = None,  # None: 5, as_published 10
    batch: int = 32,
    latent: int = 128,
    width: int = 64,
    norm: str = "instance",  # of the critic, see lib.models.gan.fedgan
    learning_rate: float | None = None,  # None: 1e-3, as_published 1e-4
    weighted: bool | None = None,  # see `aggregate`; None: unless as_published
    as_published: bool = False,  # see `local_update`
) -> dict:
    """Everything that decides a federated training but its images; JSON-able. ValueError for what cannot be trained."""
    per_round = clients_per_round or max(1, clients // 10)
    counts = {"rounds": rounds, "clients_per_round": per_round, "steps": steps,
              "critic_steps": critic_steps or (10 if as_published else 5), "batch": batch}  # fmt: skip
    if per_round > clients:
        raise ValueError(f"{per_round} of {clients} clients cannot be drawn in a round: draw fewer.")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}: a federated GAN needs one at least.")
    return counts | {
        "model": FedGAN.name, "version": FedGANTrainer.version,
        "image_size": shape[0], "labels": shape[1], "latent": latent, "width": width,
        "norm": norm, "clients": clients, "learning_rate": learning_rate or (1e-4 if as_published else 1e-3),
        "weighted": not as_published if weighted is None else weighted, "as_published": as_published, "seed": seed,
    }  # fmt: skip


class Radiographs:
    """A client's images and labels, kept on `device`.

    images, labels: as `train_fedgan` takes them. `name` says in errors whose they are. `shape`: image size and number
    of labels. `digest`: SHA-256 of the content. ValueError for no image, or what does not fit.
    """

    def __init__(self, images, labels, *, name: str, device):
        if len(images) == 0:
            raise ValueError(f"The {name} has no image: leave it out of the federation.")
        examples = uint8_squares(images, None, device=device, channels=1, name=name)
        rows = np.asarray(labels)
        if rows.ndim not in (1, 2) or len(rows) != len(examples) or not np.isin(rows, (0, 1)).all():
            raise ValueError(f"The {name} labels of shape {rows.shape} must be {len(examples)} rows of 0 and 1.")
        table = torch.from_numpy(rows.reshape(len(examples), -1).astype(np.float32))
        self.images, self.labels = examples.values, table.to(device)
        self.shape = examples.values.shape[2], table.shape[1]
        self.digest = hashlib.sha256(examples.digest.encode() + table.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)


def begin(settings: dict, device) -> nn.ModuleDict:
    """Generator and discriminator as the server initialises them from the seed, on `device`, in training mode."""
    with seeding.initialising(settings["seed"], "federated"):
        both = _generator(settings), Discriminator(norm=settings["norm"], **_shape(settings))
    return placed(nn.ModuleDict(dict(zip(("generator", "discriminator"), both, strict=True))), device).train()


def drawn_clients(settings: dict, round: int) -> list[int]:
    """The numbers of the clients of a round, ascending."""
    rng = seeding.numpy_generator(settings["seed"], "federated", "draw", round)
    return sorted(rng.choice(settings["clients"], settings["clients_per_round"], replace=False).tolist())


def visit(
    networks: nn.ModuleDict, weights: Mapping[str, Tensor], radiographs: Radiographs, settings: dict, round: int,
    client: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """What client number `client` does in a round, simulated or deployed: (its new weights, its last losses).

    `networks`, as of `begin`, are overwritten.
    """
    networks.load_state_dict(weights)
    losses = local_update(
        cast(Generator, networks["generator"]), cast(Discriminator, networks["discriminator"]), radiographs.images,
        radiographs.labels,
        seed=seeding.seed_of(settings["seed"], "federated", "visit", round, client), steps=settings["steps"],
        critic_steps=settings["critic_steps"], batch=settings["batch"], learning_rate=settings["learning_rate"],
        as_published=settings["as_published"],
    )  # fmt: skip
    return _copied(networks), losses


def local_update(
    generator: Generator, discriminator: Discriminator, images: Tensor, labels: Tensor, *, seed: int, steps: int,
    critic_steps: int = 5, batch: int = 32, learning_rate: float = 1e-3, as_published: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Train both networks in place by `steps` generator updates on one client's radiographs; the two last losses.

    images: (n, 1, s, s) uint8, labels: (n, k) float32 of 0 and 1, on the device of the networks. Each generator update
    is followed by `critic_steps` of the critic, in the published order, each on `batch` radiographs. Shuffled passes
    over the radiographs follow one another without dropping a remainder; fewer radiographs than `batch` are drawn with
    replacement. The optimisers, Adam with betas (0, .999), are made anew. as_published: see the top of this module;
    here it decides the optimiser, and the labels asked of the generated radiographs that the critic sees.
    """
    device = images.device
    random = torch.Generator(device).manual_seed(seeding.seed_of(seed, "draws"))
    order = _batches(len(images), steps * critic_steps, batch, seeding.torch_generator(seed, "order")).to(device)

    def optimiser(network):
        if as_published:
            return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.5)
        return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.0, 0.999), fused=True)

    def update(by, network, loss):
        by.zero_grad()
        # Only this network's gradients; and not by autograd.grad, whose strides the fused Adam would not heed.
        loss.backward(inputs=list(network.parameters()))
        by.step()
        return loss.detach()

    def noise():
        return torch.randn(batch, generator.latent, device=device, generator=random)

    of_generator, of_critic = optimiser(generator), optimiser(discriminator)
    for step in alike(range(steps)):
        asked = labels[torch.randint(len(images), (batch,), device=device, generator=random)]
        score, guess = discriminator(generator(noise(), asked))
        loss_g = update(of_generator, generator, label_loss(guess, asked) - score.mean())
        for rows in order[step * critic_steps : (step + 1) * critic_steps]:
            real, present = network_input(images[rows]), labels[rows]
            with torch.no_grad():
                fake = generator(noise(), _first_label(present) if as_published else present)
            score, guess = discriminator(torch.cat([real, fake]))  # nothing in it mixes images
            mix = torch.rand(batch, 1, 1, 1, device=device, generator=random)
            norms = gradient_norms(lambda images: discriminator(images)[0], real.lerp(fake, mix))
            loss = score[batch:].mean() - score[:batch].mean() + _PENALTY * (norms - 1).square().mean()
            loss_d = update(of_critic, discriminator, loss + label_loss(guess[:batch], present))
    return {"loss_d": loss_d, "loss_g": loss_g}


def aggregate(
    states: Sequence[Mapping[str, Tensor]], *, sizes: Sequence[int], weighted: bool = True
) -> dict[str, Tensor]:
    """The mean of the clients' weights and buffers, batch-norm statistics included (FedAvg, McMahan 2017).

    sizes: radiographs of each client, which weight it. weighted=False, as published: all count alike (spec §7, D20).
    Summed in float64; counters, which are integers, are rounded. ValueError for no state, other names or shapes, or a
    size < 1.
    """
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    if not states or any(shape != shapes[0] for shape in shapes):
        raise ValueError("Only states of the same networks can be averaged, and at least one: give those.")
    if len(sizes) != len(states) or min(sizes) < 1:
        raise ValueError(
            f"The sizes {list(sizes)} must be {len(states)} positive numbers of radiographs, one a client."
        )
    counts = torch.tensor(sizes if weighted else [1] * len(sizes), dtype=torch.float64)
    shares = (counts / counts.sum()).tolist()
    means = {}
    for key, value in states[0].items():
        mean = sum(share * state[key].double() for share, state in zip(shares, states, strict=True))
        means[key] = (mean if value.is_floating_point() else mean.round()).to(value.dtype)
    return means


class FedGANTrainer(Trainer):
    """The server's networks; a step is a round. Optimisers do not outlive a visit, so that there are none here."""

    stream = "federated"

    def __init__(self, visits: Callable, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.visits = visits
        self.both = begin(settings, device)
        self.networks = dict(self.both.items())

    def train_step(self, step: int) -> dict[str, Tensor]:
        """One round; the mean losses of its clients."""
        sizes, states, losses = zip(*self.visits(_copied(self.both), step), strict=True)
        self.both.load_state_dict(aggregate(states, sizes=sizes, weighted=self.settings["weighted"]))
        kept = self.networks["generator"].state_dict()
        for after in self.settings["keep"]:  # a rehearsal skips rounds: then after several at once
            if after <= step + 1 and f"round-{after}.{next(iter(kept))}" not in self.values:
                self.values |= {f"round-{after}.{key}": value.clone() for key, value in kept.items()}
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def images_seen(self, step: int) -> float:
        return math.prod(self.settings[key] for key in ("clients_per_round", "steps", "critic_steps", "batch"))


def _batches(radiographs: int, updates: int, batch: int, generator: torch.Generator) -> Tensor:
    """Rows of each update: (updates, batch) int64."""
    if radiographs < batch:
        return torch.randint(radiographs, (updates, batch), generator=generator)
    passes = -(-updates * batch // radiographs)
    rows = torch.cat([torch.randperm(radiographs, generator=generator) for _ in range(passes)])
    return rows[: updates * batch].view(updates, batch)


def _first_label(labels: Tensor) -> Tensor:
    first = torch.zeros_like(labels)
    first[:, 0] = 1
    return first


def _copied(networks: nn.ModuleDict) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in networks.state_dict().items()}


def _generator(settings: dict) -> Generator:
    return Generator(latent=settings["latent"], **_shape(settings))


def _shape(settings: dict) -> dict:
    return {key: settings[key] for key in ("image_size", "labels", "width")}
