"""Federated training of a GAN (lib.models.fedgan): clients train on their own films and hand over weights only.

Han et al. 2019, §4.4 and §6 of the specification. A round: some clients are drawn, each copies the global generator
G and critic D, trains both on its films, and returns them; the server averages. With y the findings of a film x,
C the findings that D guesses, and x̂ uniform between a film and a generated one::

    L_D = D(G(z, y)) − D(x) + 10 (‖∇D(x̂)‖ − 1)² + BCE(C(x), y)
    L_G = −D(G(z, y)) + BCE(C(G(z, y)), y),            y of films drawn afresh

`as_published` is the released code's behaviour (§7, D17, D18, D20): in L_D every generated film is asked for the
first finding alone, 10 critic updates a step, SGD of rate 1e-4 and momentum .5, and clients of every size count
alike. D19, an abort when a client with fewer films than a batch is drawn, is repaired in both: it draws films with
replacement.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib import seeding
from lib.models.fedgan import Discriminator, Generator
from lib.training.batches import Examples, network_input
from lib.training.stepwise import finished_training, train_stepwise

_PENALTY = 10.0


def train_federated(
    clients: Sequence[tuple], *, path, seed: int, rounds: int, clients_per_round: int | None = None, steps: int = 10,
    critic_steps: int | None = None, batch: int = 32, latent: int = 128, width: int = 64,
    learning_rate: float | None = None, weighted: bool | None = None, as_published: bool = False,
    keep: Sequence[int] = (), device: torch.device | None = None, save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """Train a GAN by simulated rounds, or finish or fetch the one in folder `path`; its generator, in eval mode.

    clients: (images, findings) of each; images (n, s, s) or (n, 1, s, s) uint8, s one of lib.models.fedgan.SIZES;
    findings (n,) or (n, k) of 0 and 1. One client alone is central training, or that of a single site. For the other
    arguments see `resolved` and `local_update`. keep: after these rounds a copy of the generator stays, see
    `load_generator`. progress, save_seconds and what happens to a checkpoint in `path`: see
    `lib.training.stepwise.train_stepwise`, one step being one round.

    The randomness of a visit depends on (seed, round, client) alone: on the CPU, with the same number of threads, an
    interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for a client without a film,
    films or findings that do not fit, more clients a round than there are, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    films = [Films(*client, name=f"client {number}", device=device) for number, client in enumerate(clients)]
    if not films or any(client.shape != films[0].shape for client in films):
        shapes = ", ".join(sorted({"{} px with {} findings".format(*client.shape) for client in films}))
        raise ValueError(f"A federation needs clients of one image size and number of findings, not {shapes or 'none'}.")
    settings = resolved(
        shape=films[0].shape, clients=len(films), seed=seed, rounds=rounds, clients_per_round=clients_per_round,
        steps=steps, critic_steps=critic_steps, batch=batch, latent=latent, width=width, learning_rate=learning_rate,
        weighted=weighted, as_published=as_published,
    )  # fmt: skip
    data = hashlib.sha256(" ".join(client.digest for client in films).encode()).hexdigest()
    tensors = train_stepwise(
        lambda: Federation(films, settings, keep, device), name="federated GAN", path=path,
        settings=settings | {"keep": list(keep), "data": data}, steps=rounds, save_seconds=save_seconds,
        progress=progress,
    )  # fmt: skip
    return _generator(tensors, settings, "generator", device)


def load_generator(path, *, after: int | None = None, device: torch.device | None = None) -> Generator:
    """The generator of the finished training in folder `path`, or the one kept `after` a round; in eval mode.

    FileNotFoundError when nothing is there; ValueError when it is unfinished, damaged, or that round was not kept.
    """
    tensors, settings = finished_training(path, "federated GAN")
    if after is not None and after not in settings["keep"]:
        raise ValueError(f"No generator of round {after} was kept in {path}, but of {settings['keep']}: train with it.")
    prefix = "generator" if after is None else f"round-{after}"
    return _generator(tensors, settings, prefix, device or seeding.device())


@torch.inference_mode()
def generate(
    generator: Generator, findings, *, seed: int, batch: int = 256, device: torch.device | None = None
) -> np.ndarray:
    """One film for each row of `findings`, (n,) or (n, k) of 0 and 1: (n, s, s) uint8, [-1, 1] mapped to 0..255.

    Film i depends on seed, i and row i, neither on `batch` nor on n. ValueError for other findings.
    """
    device = device or seeding.device()
    findings = _findings(findings, len(findings), "the films to generate")
    if findings.shape[1] != generator.findings:
        raise ValueError(f"The generator knows {generator.findings} findings, not {findings.shape[1]}: give those.")
    # In whole blocks of 16 numbers, which torch fills one after another: row i is then the same for every n > i.
    rows = -(-len(findings) // 16) * 16
    noise = torch.randn(rows, generator.latent, generator=seeding.torch_generator(seed, "federated", "generate"))
    generator = generator.to(device).eval()
    out = np.empty((len(findings), generator.image_size, generator.image_size), np.uint8)
    for part in (slice(i, i + batch) for i in range(0, len(findings), batch)):
        wanted = findings[part].to(device)
        images = generator(noise[: len(findings)][part].to(device), wanted)[:, 0]
        out[part] = ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return out


def partition(n: int, clients: int, *, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows 0..n-1 in random order, cut into `clients` parts whose sizes are a uniformly random composition of n.

    As published (§4.4): the sizes differ widely, the findings only by chance. ValueError unless 1 <= clients <= n.
    """
    if not 1 <= clients <= n:
        raise ValueError(f"{n} films cannot be cut into {clients} clients with at least one each.")
    cuts = 1 + rng.choice(n - 1, clients - 1, replace=False)
    return np.split(rng.permutation(n), np.sort(cuts))


def resolved(
    *, shape: tuple[int, int], clients: int, seed: int, rounds: int, clients_per_round: int | None = None,
    steps: int = 10, critic_steps: int | None = None, batch: int = 32, latent: int = 128, width: int = 64,
    learning_rate: float | None = None, weighted: bool | None = None, as_published: bool = False,
) -> dict:  # fmt: skip
    """Everything that decides a federated training of `clients` clients, but their films; JSON-able.

    shape: (image size, number of findings). clients_per_round: drawn without replacement; None: a tenth of them, but
    one at least. weighted: see `aggregate`. steps, critic_steps, batch, learning_rate, as_published: see
    `local_update`; None, and weighted=None, is what `as_published` says: 10 critic steps, 1e-4 and unweighted if so,
    otherwise 5, 1e-3 and weighted. ValueError for what cannot be trained.
    """
    settings = {
        "model": "federated GAN", "image_size": shape[0], "findings": shape[1], "latent": latent, "width": width,
        "clients": clients, "clients_per_round": clients_per_round or max(1, clients // 10), "rounds": rounds,
        "steps": steps, "critic_steps": critic_steps or (10 if as_published else 5), "batch": batch,
        "learning_rate": learning_rate or (1e-4 if as_published else 1e-3),
        "weighted": not as_published if weighted is None else weighted, "as_published": as_published, "seed": seed,
    }  # fmt: skip
    if settings["clients_per_round"] > clients:
        raise ValueError(f"{clients_per_round} of {clients} clients cannot be drawn in a round: draw fewer.")
    for name in ("rounds", "steps", "critic_steps", "batch"):
        if settings[name] < 1:
            raise ValueError(f"{name} is {settings[name]}: a federated GAN is trained with one at least.")
    return settings


class Films:
    """A client's films and findings, kept on `device`; they never leave this object's process.

    images, findings: as `train_federated` takes them. `name` says in errors whose they are. `shape`: image size and
    number of findings. `digest`: SHA-256 of the content. ValueError for no film, NaN, or what does not fit.
    """

    def __init__(self, images, findings, *, name: str, device):
        if len(images) == 0:
            raise ValueError(f"The {name} has no film: leave it out of the federation.")
        examples = Examples(images, None, device=device, name=name)
        high, wide = examples.values.shape[-2:]
        if examples.values.shape[1] != 1 or high != wide or examples.values.dtype != torch.uint8:
            kind = f"{examples.values.dtype} of shape {tuple(examples.values.shape)}"
            raise ValueError(f"The {name} images are {kind}: give square grey ones, uint8 (n, s, s).")
        table = _findings(findings, len(examples), name)
        self.images, self.findings, self.shape = examples.values, table.to(device), (high, table.shape[1])
        self.digest = hashlib.sha256(examples.digest.encode() + table.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.images)


class Federation:
    """The server's weights and the clients it visits; `step(k)` is round k and depends on these and (seed, k) alone.

    films: every client's `Films`. settings: of `resolved`. keep: see `train_federated`.
    """

    def __init__(self, films: Sequence[Films], settings: dict, keep: Sequence[int], device):
        self.films, self.settings, self.keep = films, settings, set(keep)
        self.networks = begin(settings, device)
        self.weights, self.kept = weights_of(self.networks), {}

    def step(self, step: int) -> dict[str, Tensor]:
        """One round; the clients' last losses, averaged."""
        drawn = drawn_clients(self.settings, step)
        states, losses = [], []
        for client in drawn:
            state, loss = visit(self.networks, self.weights, self.films[client], self.settings, step, client)
            states.append(state)
            losses.append(loss)
        sizes = [len(self.films[client]) for client in drawn]
        self.weights = aggregate(states, sizes=sizes, weighted=self.settings["weighted"])
        if step + 1 in self.keep:
            generator = (item for item in self.weights.items() if item[0].startswith("generator."))
            self.kept |= {key.replace("generator", f"round-{step + 1}", 1): value for key, value in generator}
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def tensors(self) -> dict[str, Tensor]:
        """The global weights, and the kept ones."""
        return self.weights | self.kept

    def state(self) -> dict:
        """Nothing: optimisers do not outlive a visit."""
        return {}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` gave."""
        self.weights = {key: tensors[key].to(value.device) for key, value in self.weights.items()}
        self.kept = {key: value for key, value in tensors.items() if key not in self.weights}


def begin(settings: dict, device) -> torch.nn.ModuleDict:
    """Generator and discriminator as the server initialises them from the seed, on `device`, in training mode."""
    with seeding.initialising(settings["seed"], "federated"):
        shape = {key: settings[key] for key in ("image_size", "findings", "width")}
        networks = {"generator": Generator(latent=settings["latent"], **shape), "discriminator": Discriminator(**shape)}
    return torch.nn.ModuleDict(networks).to(device).train()


def weights_of(networks: torch.nn.ModuleDict) -> dict[str, Tensor]:
    """A copy of every weight and buffer."""
    return {key: value.clone() for key, value in networks.state_dict().items()}


def drawn_clients(settings: dict, round: int) -> list[int]:
    """The numbers of the clients of a round, ascending."""
    rng = seeding.numpy_generator(settings["seed"], "federated", "draw", round)
    return sorted(rng.choice(settings["clients"], settings["clients_per_round"], replace=False).tolist())


def visit(
    networks: torch.nn.ModuleDict, weights: Mapping[str, Tensor], films: Films, settings: dict, round: int, client: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What client number `client` does in a round, in the simulation as in a deployment: (new weights, last losses).

    `networks` of `begin` are overwritten.
    """
    networks.load_state_dict(weights)
    names = ("steps", "critic_steps", "batch", "learning_rate", "as_published")
    losses = local_update(
        networks["generator"], networks["discriminator"], films.images, films.findings,
        seed=seeding.seed_of(settings["seed"], "federated", "visit", round, client),
        **{name: settings[name] for name in names},
    )  # fmt: skip
    return weights_of(networks), losses


def local_update(
    generator: Generator, discriminator: Discriminator, images: Tensor, findings: Tensor, *, seed: int, steps: int,
    critic_steps: int = 5, batch: int = 32, learning_rate: float = 1e-3, as_published: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Train both networks in place by `steps` generator updates on one client's films; the two last losses.

    images: (n, 1, s, s) uint8, findings: (n, k) float32 of 0 and 1, on the device of the networks. Each generator
    update is followed by `critic_steps` of the critic, in the published order, with `batch` films each. Shuffled
    passes over the films follow one another without dropping a remainder; fewer films than `batch` are drawn with
    replacement. The optimisers, Adam with betas (0, .9), are made anew. as_published: see the top of this module;
    only the optimiser (SGD) and the findings asked of the critic's generated films differ here.
    """
    device = images.device
    random = torch.Generator(device).manual_seed(seeding.seed_of(seed, "draws"))
    order = _batches(len(images), steps * critic_steps, batch, seeding.torch_generator(seed, "order")).to(device)

    def optimiser(network):
        if as_published:
            return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.5)
        return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.0, 0.9), fused=True)

    def update(by, network, loss):
        gradients = torch.autograd.grad(loss, list(network.parameters()))  # of this network alone
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        by.step()
        return loss.detach()

    def noise():
        return torch.randn(batch, generator.latent, device=device, generator=random)

    of_generator, of_critic = optimiser(generator), optimiser(discriminator)
    for step in range(steps):
        asked = findings[torch.randint(len(images), (batch,), device=device, generator=random)]
        score, guess = discriminator(generator(noise(), asked))
        loss_g = update(of_generator, generator, F.binary_cross_entropy_with_logits(guess, asked) - score.mean())
        for rows in order[step * critic_steps : (step + 1) * critic_steps]:
            real, present = network_input(images[rows]), findings[rows]
            asked = _first_finding(present) if as_published else present
            with torch.no_grad():
                fake = generator(noise(), asked)
            score, guess = discriminator(torch.cat([real, fake]))  # its instance norm keeps the images apart
            mix = torch.rand(batch, 1, 1, 1, device=device, generator=random)
            loss_d = score[batch:].mean() - score[:batch].mean()
            loss_d = loss_d + F.binary_cross_entropy_with_logits(guess[:batch], present)
            loss_d = loss_d + _PENALTY * gradient_penalty(discriminator, real.lerp(fake, mix))
            loss_d = update(of_critic, discriminator, loss_d)
    return {"loss_d": loss_d, "loss_g": loss_g}


def gradient_penalty(discriminator: Callable, images: Tensor) -> Tensor:
    """Mean of (‖∇D(x)‖₂ − 1)² over the (n, ...) images x, D the scores, differentiable once more (Gulrajani 2017)."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images)[0].sum(), images, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def aggregate(
    states: Sequence[Mapping[str, Tensor]], *, sizes: Sequence[int], weighted: bool = True
) -> dict[str, Tensor]:
    """The mean of the clients' weights and buffers, batch-norm statistics included (FedAvg, McMahan 2017).

    sizes: films of each client, which weight it. weighted=False, as published: all count alike (§7, D20). Summed in
    float64; counters, which are integers, are rounded. ValueError for no state, other names or shapes, or a size < 1.
    """
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    if not states or any(shape != shapes[0] for shape in shapes):
        raise ValueError("Only states of the same networks can be averaged, and at least one: give those.")
    if len(sizes) != len(states) or min(sizes) < 1:
        raise ValueError(f"The sizes {list(sizes)} must be {len(states)} positive numbers of films, one a client.")
    shares = torch.tensor(sizes if weighted else [1] * len(sizes), dtype=torch.float64)
    shares = (shares / shares.sum()).tolist()
    means = {}
    for key, value in states[0].items():
        mean = sum(share * state[key].double() for share, state in zip(shares, states, strict=True))
        means[key] = (mean if value.is_floating_point() else mean.round()).to(value.dtype)
    return means


def _batches(films: int, updates: int, batch: int, generator: torch.Generator) -> Tensor:
    """Rows of each update: (updates, batch) int64."""
    if films < batch:
        return torch.randint(films, (updates, batch), generator=generator)
    passes = -(-updates * batch // films)
    rows = torch.cat([torch.randperm(films, generator=generator) for _ in range(passes)])
    return rows[: updates * batch].view(updates, batch)


def _first_finding(findings: Tensor) -> Tensor:
    alone = torch.zeros_like(findings)
    alone[:, 0] = 1
    return alone


def _findings(findings, n: int, name: str) -> Tensor:
    """(n, k) float32 of 0 and 1, or ValueError."""
    values = findings.cpu().numpy() if isinstance(findings, Tensor) else np.asarray(findings)
    if values.shape[:1] != (n,) or values.ndim > 2 or not np.isin(values, (0, 1)).all():
        raise ValueError(f"The findings of {name} have shape {values.shape}: give {n} rows of 0 and 1.")
    return torch.from_numpy(values.reshape(n, -1).astype(np.float32))


def _generator(tensors: dict[str, Tensor], settings: dict, prefix: str, device: torch.device) -> Generator:
    generator = begin(settings, "cpu")["generator"]
    named = (item for item in tensors.items() if item[0].startswith(f"{prefix}."))
    generator.load_state_dict({key.removeprefix(f"{prefix}."): value for key, value in named})
    return generator.to(device).eval()
