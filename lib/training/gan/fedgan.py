"""Federated training of a GAN (lib.models.gan.fedgan): clients train on their own radiographs and hand over weights
only.

Han et al. 2019, spec §4.4 and §6. A round: some clients are drawn, each copies the global generator G
and critic D, trains both on its radiographs, and returns them; the server averages. With y the labels of a radiograph
x, C those that D guesses, and x̂ uniform between a radiograph and a generated one::

    L_D = D(G(z, y)) − D(x) + 10 (‖∇D(x̂)‖ − 1)² + BCE(C(x), y)
    L_G = −D(G(z, y')) + BCE(C(G(z, y')), y'),         y' of radiographs drawn at random

`as_published` is the released code's behaviour (spec §7, D17, D18, D20): in L_D every generated radiograph is asked for
the first label alone, 10 critic updates a step, SGD of rate 1e-4 and momentum .5, and clients of every size count
alike. D19, an abort when a client with fewer radiographs than a batch is drawn, is repaired in both: it draws with
replacement.

Weights are not anonymous: nothing here hides a client's update from the server, nor bounds what it tells.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.fedgan import Discriminator, Generator
from lib.training.gan.losses import gradient_norms, label_loss
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.images import network_input
from lib.training.loop.trainer import finished_training, run_training

_PENALTY = 10.0


def train_federated(
    clients: Sequence[tuple], *, path, seed: int, rounds: int, keep: Sequence[int] = (),
    device: torch.device | None = None, save_seconds: float = 60.0, progress: Callable | None = None, **options,
) -> Generator:  # fmt: skip
    """Train a GAN by simulated rounds, or finish or fetch the one in folder `path`; its generator, in eval mode.

    clients: (images, labels) of each; images (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.gan.fedgan.SIZES;
    labels (n,) or (n, k) of 0 and 1. One client alone is central training, or that of a single site. options: what
    `resolved` takes besides. keep: after these rounds a copy of the generator stays, see `load_generator`. progress,
    save_seconds and what happens to a checkpoint in `path`: see `lib.training.loop.trainer.run_training`, a step being
    a round.

    The randomness of a visit depends on (seed, round, client) alone: on the CPU, with the same number of threads, an
    interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for a client without a
    radiograph, radiographs or labels that do not fit, more clients a round than there are, a damaged checkpoint, or
    divergence.
    """
    device = device or seeding.device()
    radiographs = [
        Radiographs(*client, name=f"client {number}", device=device) for number, client in enumerate(clients)
    ]
    if not radiographs or any(client.shape != radiographs[0].shape for client in radiographs):
        shapes = ", ".join(sorted({"{} px with {} labels".format(*client.shape) for client in radiographs}))
        raise ValueError(f"A federation needs clients of one image size and number of labels, not {shapes or 'none'}.")
    settings = resolved(shape=radiographs[0].shape, clients=len(radiographs), seed=seed, rounds=rounds, **options)
    networks = begin(settings, device)

    def visits(weights, round):
        return [
            (len(radiographs[client]), *visit(networks, weights, radiographs[client], settings, round, client))
            for client in drawn_clients(settings, round)
        ]

    data = hashlib.sha256(" ".join(client.digest for client in radiographs).encode()).hexdigest()
    return federate(
        visits, settings | {"data": data}, path=path, keep=keep, device=device, save_seconds=save_seconds,
        progress=progress,
    )  # fmt: skip


def federate(
    visits: Callable, settings: dict, *, path, keep: Sequence[int] = (), device, save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """The server: rounds as `train_federated` describes them, wherever the clients are.

    visits(weights, round) has the clients of `drawn_clients` train from `weights`, and gives (radiographs, weights,
    losses) of each, in that order. settings: of `resolved`, and what tells these clients from others.
    """
    settings = settings | {"keep": sorted(keep)}
    tensors = run_training(
        lambda: _Rounds(visits, settings, device), name="federated GAN", path=path, settings=settings,
        steps=settings["rounds"], save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _generator(tensors, settings, "generator", device)


def load_generator(path, *, after: int | None = None, device: torch.device | None = None) -> Generator:
    """The generator of the finished training in folder `path`, or the one kept `after` a round; in eval mode.

    FileNotFoundError when nothing is there; ValueError when it is unfinished, damaged, or that round was not kept.
    """
    tensors, settings = finished_training(path, "federated GAN")
    if after is not None and after not in settings["keep"]:
        raise ValueError(f"{path} keeps the generator of the rounds {settings['keep']}, not of {after}: train with it.")
    prefix = "generator" if after is None else f"round-{after}"
    return _generator(tensors, settings, prefix, device or seeding.device())


def partition(n: int, clients: int, *, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows 0..n-1 in random order, cut into `clients` parts whose sizes are a uniformly random composition of n.

    As published (spec §4.4): the sizes differ widely, the labels only by chance. ValueError unless 1 <= clients <= n.
    """
    if not 1 <= clients <= n:
        raise ValueError(f"{n} radiographs cannot be cut into {clients} clients with at least one each.")
    cuts = 1 + rng.choice(n - 1, clients - 1, replace=False)
    return np.split(rng.permutation(n), np.sort(cuts))


def resolved(
    *, shape: tuple[int, int], clients: int, seed: int, rounds: int, clients_per_round: int | None = None,
    steps: int = 10, critic_steps: int | None = None, batch: int = 32, latent: int = 128, width: int = 64,
    norm: str = "instance", learning_rate: float | None = None, weighted: bool | None = None,
    as_published: bool = False,
) -> dict:  # fmt: skip
    """Everything that decides a federated training of `clients` clients, but their radiographs; JSON-able.

    shape: (image size, number of labels). clients_per_round: drawn without replacement; None: a tenth of them, but
    one at least. norm: of the critic, see lib.models.gan.fedgan. weighted: see `aggregate`. steps, critic_steps, batch,
    learning_rate, as_published: see `local_update`. None is what `as_published` says: 10 critic steps, rate 1e-4 and
    unweighted if so, otherwise 5, 1e-3 and weighted. ValueError for what cannot be trained.
    """
    settings = {
        "model": "federated GAN", "image_size": shape[0], "labels": shape[1], "latent": latent, "width": width,
        "norm": norm, "clients": clients, "clients_per_round": clients_per_round or max(1, clients // 10),
        "rounds": rounds, "steps": steps, "critic_steps": critic_steps or (10 if as_published else 5), "batch": batch,
        "learning_rate": learning_rate or (1e-4 if as_published else 1e-3),
        "weighted": not as_published if weighted is None else weighted, "as_published": as_published, "seed": seed,
    }  # fmt: skip
    if settings["clients_per_round"] > clients:
        raise ValueError(f"{clients_per_round} of {clients} clients cannot be drawn in a round: draw fewer.")
    for name in ("rounds", "clients_per_round", "steps", "critic_steps", "batch"):
        if settings[name] < 1:
            raise ValueError(f"{name} is {settings[name]}: a federated GAN needs one at least.")
    return settings


class Radiographs:
    """A client's radiographs and labels, kept on `device`.

    images, labels: as `train_federated` takes them. `name` says in errors whose they are. `shape`: image size and
    number of labels. `digest`: SHA-256 of the content. ValueError for no radiograph, NaN, or what does not fit.
    """

    def __init__(self, images, labels, *, name: str, device):
        if len(images) == 0:
            raise ValueError(f"The {name} has no radiograph: leave it out of the federation.")
        examples = DeviceDataset(images, None, device=device, name=name)
        kind = examples.values.dtype, tuple(examples.values.shape)
        if kind[0] != torch.uint8 or kind[1][1] != 1 or kind[1][2] != kind[1][3]:
            raise ValueError(f"The {name} images are {kind[0]} of shape {kind[1]}: give square grey ones, uint8.")
        table = np.asarray(labels)
        if table.ndim not in (1, 2) or len(table) != len(examples) or not np.isin(table, (0, 1)).all():
            raise ValueError(f"The {name} labels of shape {table.shape} must be {len(examples)} rows of 0 and 1.")
        table = torch.from_numpy(table.reshape(len(examples), -1).astype(np.float32))
        self.images, self.labels, self.shape = examples.values, table.to(device), (kind[1][2], table.shape[1])
        self.digest = hashlib.sha256(examples.digest.encode() + table.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)


def begin(settings: dict, device) -> nn.ModuleDict:
    """Generator and discriminator as the server initialises them from the seed, on `device`, in training mode."""
    with seeding.initialising(settings["seed"], "federated"):
        shape = {key: settings[key] for key in ("image_size", "labels", "width")}
        generator = Generator(latent=settings["latent"], **shape)
        discriminator = Discriminator(norm=settings["norm"], **shape)
    return nn.ModuleDict({"generator": generator, "discriminator": discriminator}).to(device).train()


def drawn_clients(settings: dict, round: int) -> list[int]:
    """The numbers of the clients of a round, ascending."""
    rng = seeding.numpy_generator(settings["seed"], "federated", "draw", round)
    return sorted(rng.choice(settings["clients"], settings["clients_per_round"], replace=False).tolist())


def visit(
    networks: nn.ModuleDict,
    weights: Mapping[str, Tensor],
    radiographs: Radiographs,
    settings: dict,
    round: int,
    client: int,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What client number `client` does in a round, simulated or deployed: (its new weights, its last losses).

    `networks`, as of `begin`, are overwritten.
    """
    networks.load_state_dict(weights)
    losses = local_update(
        networks["generator"], networks["discriminator"], radiographs.images, radiographs.labels,
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
    for step in range(steps):
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
    shares = torch.tensor(sizes if weighted else [1] * len(sizes), dtype=torch.float64)
    shares = (shares / shares.sum()).tolist()
    means = {}
    for key, value in states[0].items():
        mean = sum(share * state[key].double() for share, state in zip(shares, states, strict=True))
        means[key] = (mean if value.is_floating_point() else mean.round()).to(value.dtype)
    return means


class _Rounds:
    """The server's weights, as lib.training.loop.trainer trains them."""

    def __init__(self, visits: Callable, settings: dict, device):
        self.visits, self.settings = visits, settings
        self.weights, self.kept = _copied(begin(settings, device)), {}

    def step(self, step: int) -> dict[str, Tensor]:
        sizes, states, losses = zip(*self.visits(self.weights, step), strict=True)
        self.weights = aggregate(states, sizes=sizes, weighted=self.settings["weighted"])
        if step + 1 in self.settings["keep"]:
            generator = _under("generator.", self.weights)
            self.kept |= {f"round-{step + 1}.{key}": value for key, value in generator.items()}
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def tensors(self) -> dict[str, Tensor]:
        return self.weights | self.kept

    def state(self) -> dict:
        return {}  # optimisers do not outlive a visit

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        self.weights = {key: tensors[key].to(value.device) for key, value in self.weights.items()}
        self.kept = {key: value for key, value in tensors.items() if key not in self.weights}


def _batches(radiographs: int, updates: int, batch: int, generator: torch.Generator) -> Tensor:
    """Rows of each update: (updates, batch) int64."""
    if radiographs < batch:
        return torch.randint(radiographs, (updates, batch), generator=generator)
    passes = -(-updates * batch // radiographs)
    rows = torch.cat([torch.randperm(radiographs, generator=generator) for _ in range(passes)])
    return rows[: updates * batch].view(updates, batch)


def _first_label(labels: Tensor) -> Tensor:
    no_sync = torch.zeros_like(labels)
    no_sync[:, 0] = 1
    return no_sync


def _copied(networks: nn.ModuleDict) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in networks.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _generator(tensors: dict[str, Tensor], settings: dict, name: str, device) -> Generator:
    generator = begin(settings, "cpu")["generator"]
    generator.load_state_dict(_under(f"{name}.", tensors))
    return generator.to(device).eval()
