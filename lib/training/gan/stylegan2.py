"""Training of StyleGAN2 (lib.models.gan.stylegan2) with adaptive augmentation T, and drawing images from it.

Pennisi et al. 2023, spec §7 (Karras et al. 2020, arXiv 1912.04958 and 2006.06676): G then D, Adam, an
average of G's weights, and every so often one update more for each network by its regulariser::

    L_G = softplus(-D(T(G(z, c)), c))          L_path = weight (‖J_w^T y‖ - a)², y noise, a its running mean
    L_D = softplus(-D(T(x), c_x)) + softplus(D(T(G(z, c)), c))          L_R1 = gamma/2 ‖∇ D(T(x), c_x)‖²

Deviations: the penalty's gradient is taken where the discriminator sees the image, after T; J is of the w that all
layers share; the mean w that truncation goes towards is that of the class.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.stylegan2 import GROUP, SIZES, Discriminator, Generator
from lib.training.augment.ada import HIGHEST, augmented
from lib.training.gan.losses import path_lengths, squared_gradients
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.images import network_input, pixels
from lib.training.loop.trainer import finished_training, run_training

_ADA_EVERY = 4  # steps between two looks at how often D is right


def train_stylegan2(
    images, labels, *, path, seed: int, steps: int, batch: int = 16, latent: int = 512, maps: tuple = (512, 16384),
    mapping_layers: int = 2, learning_rate: float = 2.5e-3, gamma: float | None = None, r1_every: int = 16,
    path_weight: float = 2.0, path_every: int = 4, mixing: float = 0.9, augment_p: float = 0.0,
    ada_target: float | None = 0.6, ada_kimg: float = 500.0, ema_kimg: float | None = None,
    device: torch.device | None = None, save_seconds: float = 60.0, progress: Callable | None = None,
) -> Generator:  # fmt: skip
    """Train StyleGAN2, or finish or fetch the one in folder `path`; its averaged generator, frozen, in eval mode.

    images: (n, s, s) or (n, c, s, s) uint8, s one of lib.models.gan.stylegan2.SIZES. labels: (n,) integers from 0, each
    up to the largest present; one class alone trains unconditionally. steps: updates of each network, on `batch` (a
    multiple of 4) real and as many fake images; shuffled passes over the images follow one another. latent, maps,
    mapping_layers: see lib.models.gan.stylegan2. gamma: None for 0.0002 s² / batch. path_weight 0 leaves the path
    length out. mixing: share of steps with two w's. augment_p: probability of each change at the start, which moves so
    that E[sign D(real)] becomes ada_target, by 1 in ada_kimg thousand images; ada_target None keeps it. ema_kimg:
    half-life of the average, None for batch · 10 / 32; at most a twentieth of what was shown. progress, save_seconds
    and what happens to a checkpoint in `path`: see `lib.training.loop.trainer.run_training`.

    The randomness of each step depends on (seed, step) alone: on the CPU, with the same number of threads, an
    interrupted and resumed training equals an uninterrupted one bit for bit. ValueError for images, labels or options
    that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    examples, classes = _checked(images, labels)
    size = examples.values.shape[-1]
    if batch % GROUP or batch < GROUP:
        raise ValueError(f"The batch is {batch}: give a multiple of {GROUP}.")
    if not 0 <= augment_p <= HIGHEST:
        raise ValueError(f"augment_p is {augment_p}: give a probability from 0 to {HIGHEST}.")
    settings = {
        "model": "StyleGAN2", "image_size": size, "classes": classes, "channels": examples.values.shape[1],
        "latent": latent, "maps": maps, "mapping_layers": mapping_layers, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "gamma": 2e-4 * size**2 / batch if gamma is None else gamma,
        "r1_every": r1_every, "path_weight": path_weight, "path_every": path_every, "mixing": mixing,
        "augment_p": augment_p, "ada_target": ada_target, "ada_kimg": ada_kimg,
        "ema_kimg": batch * 10 / 32 if ema_kimg is None else ema_kimg, "seed": seed, "data": examples.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: Adversaries(examples.values, examples.labels, settings, device), name="StyleGAN2", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _average(tensors, settings, device)


def load_stylegan(path, *, device: torch.device | None = None) -> Generator:
    """The averaged generator of the finished training in folder `path`, whatever its settings, as `train_stylegan2`.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _average(*finished_training(path, "generator"), device or seeding.device())


@torch.inference_mode()
def generate(
    generator: Generator, labels, *, seed: int, truncation: float = 1.0, batch: int = 64,
    device: torch.device | None = None,
) -> np.ndarray:  # fmt: skip
    """One image for each of the (n,) integer `labels`: uint8 (n, s, s), or (n, c, s, s) with c > 1 channels.

    truncation: w moved towards its class's mean, 1 for not at all. The z of image i depends on seed and i alone: the
    same seed with other labels shows what the labels do. [-1, 1] is mapped to 0..255 and clipped. ValueError for an
    unknown label.
    """
    device = device or seeding.device()
    labels = known_labels(generator, labels).to(device)
    generator = generator.to(device).eval()
    # In whole blocks of 16 numbers, which torch fills one after another: row i is then the same for every n > i.
    source = seeding.torch_generator(seed, "stylegan", "images")
    z = torch.randn(-(-len(labels) // 16) * 16, generator.latent, generator=source)[: len(labels)].to(device)
    w = generator.mapping(z, labels)
    if truncation != 1:
        w = torch.lerp(class_means(generator)[0][labels], w, truncation)
    return pixels(torch.cat([generator.synthesis(part) for part in w.split(batch)]))


@torch.inference_mode()
def class_means(generator: Generator, *, samples: int = 4096) -> tuple[Tensor, float]:
    """The mean w of each class (classes, latent) over the same `samples` z, and the SD of w's numbers about it."""
    device = generator.constant.device
    z = torch.randn(samples, generator.latent, generator=seeding.torch_generator(0, "stylegan", "means")).to(device)
    w = torch.stack([generator.mapping(z, torch.full_like(z[:, 0], c, dtype=int)) for c in range(generator.classes)])
    return w.mean(dim=1), float((w - w.mean(dim=1, keepdim=True)).square().mean().sqrt())


def known_labels(generator: Generator, labels) -> Tensor:
    """The (n,) integer labels as int64; ValueError when they are not of the generator's classes."""
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu" or not ((values >= 0) & (values < generator.classes)).all():
        raise ValueError(f"Labels to generate must be (n,) integers in 0..{generator.classes - 1}.")
    return torch.from_numpy(values.astype(np.int64))


class Adversaries:
    """Generator, its average, discriminator and their optimisers on `device`, with the data beside them as uint8.

    images (n, c, s, s) uint8, labels (n,) int64, `settings` as `train_stylegan2` resolves them. `step(k)` does the
    k-th update and depends on nothing but `tensors`, `state` and (seed, k).
    """

    def __init__(self, images: Tensor, labels: Tensor, settings: dict, device: torch.device):
        self.settings, self.device = settings, device
        self.images, self.labels = images.to(device), labels.to(device)
        with seeding.initialising(settings["seed"], "stylegan"):
            self.generator = _generator(settings).to(device)
            self.discriminator = Discriminator(**_shape(settings)).to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator, "average": self.average}
        lazy = {"generator": settings["path_every"] if settings["path_weight"] else None,
                "discriminator": settings["r1_every"]}  # fmt: skip
        self.optimisers = {name: self._adam(name, every) for name, every in lazy.items()}
        start = {"p": settings["augment_p"], "signs": 0.0, "path": 0.0}
        self.running = {name: torch.tensor(value, device=device) for name, value in start.items()}
        self.random = torch.Generator(device)
        self.orders: dict[int, Tensor] = {}

    def step(self, step: int) -> dict[str, Tensor]:
        """Update G, D, and by their regularisers when it is their turn; the losses, and the augmentation's p."""
        s = self.settings
        self.random.manual_seed(seeding.seed_of(s["seed"], "stylegan", "step", step))
        losses = {"loss_g": self.generate()}
        if s["path_weight"] and step % s["path_every"] == 0:
            self.shorten()
        self._follow(step)
        losses["loss_d"] = self.discriminate(*self.batch(step))
        if step % s["r1_every"] == 0:
            self.flatten(*self.batch(step))
        self._adapt(step)
        return losses | {"p": self.running["p"].clone()}

    def generate(self) -> Tensor:
        """One update of G by L_G."""
        fake, labels = self._fake()
        with _frozen(self.discriminator):
            loss = F.softplus(-self._scores(fake, labels)).mean()
            return self._update("generator", loss)

    def discriminate(self, real: Tensor, labels: Tensor) -> Tensor:
        """One update of D by L_D, on real images in [-1, 1] and as many fake ones."""
        with torch.no_grad():
            fake, asked = self._fake()
        logits = self._scores(torch.cat([real, fake]), torch.cat([labels, asked]))
        on_real, on_fake = logits.split(len(real))
        self.running["signs"] += on_real.detach().sign().mean()
        return self._update("discriminator", F.softplus(-on_real).mean() + F.softplus(on_fake).mean())

    def flatten(self, real: Tensor, labels: Tensor) -> Tensor:
        """One update of D by L_R1, times the steps between two of them."""
        s = self.settings
        squares = squared_gradients(lambda x: self.discriminator(x, labels), self._changed(real))
        return self._update("discriminator", squares.mean() * (s["gamma"] / 2 * s["r1_every"]))

    def shorten(self) -> Tensor:
        """One update of G by L_path on half a batch, times the steps between two of them."""
        s = self.settings
        z, labels = self._ask(s["batch"] // 2)
        w = self.generator.mapping(z, labels)
        lengths = path_lengths(lambda w: self.generator.synthesis(w, self.random), w, self.random)
        self.running["path"].lerp_(lengths.detach().mean(), 0.01)
        penalty = (lengths - self.running["path"]).square().mean()
        return self._update("generator", penalty * (s["path_weight"] * s["path_every"]))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Real images in [-1, 1] and their labels: the rows that follow those of the step before."""
        size, n = self.settings["batch"], len(self.images)
        first = step * size
        epochs = range(first // n, (first + size - 1) // n + 1)
        self.orders = {epoch: self.orders[epoch] if epoch in self.orders else self._order(epoch) for epoch in epochs}
        start = first - n * epochs[0]
        rows = torch.cat(list(self.orders.values()))[start : start + size]
        return network_input(self.images[rows]), self.labels[rows]

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of the three networks, and the running numbers."""
        named = {f"running.{name}": value for name, value in self.running.items()}
        for name, network in self.networks.items():
            named |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        return named

    def state(self) -> dict:
        """The optimisers' states."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(_under(name, tensors))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        self.running = {name: value.to(self.device) for name, value in _under("running", tensors).items()}

    def _adam(self, name: str, every: int | None) -> torch.optim.Adam:
        share = every / (every + 1) if every else 1.0  # so that the lazy updates leave the sum of steps as it was
        return torch.optim.Adam(
            self.networks[name].parameters(), lr=share * self.settings["learning_rate"], betas=(0.0, 0.99**share),
            eps=1e-8, fused=True,
        )  # fmt: skip

    def _ask(self, n: int) -> tuple[Tensor, Tensor]:
        """Noise, and labels with the frequencies of the data."""
        rows = torch.randint(len(self.labels), (n,), device=self.device, generator=self.random)
        return self._normal(n), self.labels[rows]

    def _normal(self, n: int) -> Tensor:
        return torch.randn(n, self.settings["latent"], device=self.device, generator=self.random)

    def _fake(self) -> tuple[Tensor, Tensor]:
        """Fake images and their labels; in a share `mixing` of cases the upper layers follow another z."""
        n, layers = self.settings["batch"], self.generator.layers
        z, labels = self._ask(n)
        w = self.generator.mapping(z, labels)
        other = self._normal(n)
        chance, cut = torch.rand(2, device=self.device, generator=self.random)
        if chance < self.settings["mixing"]:
            below = torch.arange(layers, device=self.device) < 1 + (cut * (layers - 1)).floor()
            w = torch.where(below[:, None], w[:, None], self.generator.mapping(other, labels)[:, None])
        return self.generator.synthesis(w, self.random), labels

    def _changed(self, images: Tensor) -> Tensor:
        return augmented(images, float(self.running["p"]), self.random)

    def _scores(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.discriminator(self._changed(images), labels)

    def _update(self, name: str, loss: Tensor) -> Tensor:
        self.optimisers[name].zero_grad()
        loss.backward()
        self.optimisers[name].step()
        return loss.detach()

    def _follow(self, step: int) -> None:
        """Move the average towards the generator."""
        batch = self.settings["batch"]
        half_life = min(self.settings["ema_kimg"] * 1000, (step + 1) * batch * 0.05)
        share = 1 - 0.5 ** (batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), share)

    def _adapt(self, step: int) -> None:
        """Every few steps, more augmentation when D was right too often, less when not often enough."""
        s = self.settings
        if s["ada_target"] is None or (step + 1) % _ADA_EVERY:
            return
        excess = self.running["signs"] / _ADA_EVERY - s["ada_target"]
        self.running["p"].add_(excess.sign() * s["batch"] * _ADA_EVERY / (1000 * s["ada_kimg"])).clamp_(0, HIGHEST)
        self.running["signs"].zero_()

    def _order(self, epoch: int) -> Tensor:
        source = seeding.torch_generator(self.settings["seed"], "stylegan", "order", epoch)
        return torch.randperm(len(self.images), generator=source).to(self.device)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Nothing is computed for the network's own weights inside."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _shape(settings: dict) -> dict:
    return {key: settings[key] for key in ("image_size", "classes", "channels", "maps", "mapping_layers")}


def _generator(settings: dict) -> Generator:
    return Generator(**_shape(settings), latent=settings["latent"])


def _average(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> Generator:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        generator = _generator(settings)
    generator.load_state_dict(_under("average", tensors))
    return generator.to(device).requires_grad_(False).eval()


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _checked(images, labels) -> tuple[DeviceDataset, int]:
    """The examples on the CPU, uint8 (n, c, s, s) and int64 (n,), and the number of classes; or ValueError."""
    examples = DeviceDataset(images, labels, device="cpu")
    shape = tuple(examples.values.shape)
    if shape[2] != shape[3] or shape[2] not in SIZES:
        raise ValueError(f"The training images are {shape[2]} x {shape[3]}: give squares of {SIZES} pixels.")
    if examples.values.dtype != torch.uint8:
        raise ValueError(f"The training images are {examples.values.dtype}: give uint8, 0 to 255.")
    present = examples.labels.unique().tolist()
    if present != list(range(len(present))):
        raise ValueError(f"The labels hold the classes {present}: each from 0 to the largest must occur.")
    return examples, len(present)
