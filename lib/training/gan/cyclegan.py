"""Training of a CycleGAN (lib.models.gan.cyclegan): two domains of unpaired images, a translator for each direction.

Zhu et al. 2017 with the defaults in spec §4.3 of Han et al. 2019: with G from the source s to the
target t, F back, and critics C_S, C_T that should give 1 to real and 0 to translated images (least squares)::

    L_G = [C_T(G(s)) − 1]² + [C_S(F(t)) − 1]² + λ (|F(G(s)) − s| + |G(F(t)) − t|) + λ ι (|G(t) − t| + |F(s) − s|)
    L_C = ½ [C(real) − 1]² + ½ C(pooled)², for each critic

each term a mean; λ = 10, ι = 0.5. `pooled` are translated images of now and of before (`ImagePool`). Adam at 2e-4 with
β₁ = 0.5 for half the steps, then falling linearly to 0.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.core import seeding
from lib.models.gan.cyclegan import PatchCritic, Translator
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.images import network_input
from lib.training.loop.trainer import finished_training, run_training


def train_cyclegan(
    source, target, *, path, seed: int, steps: int, batch: int = 1, width: int = 64, blocks: int = 9,
    critic_width: int = 64, critic_depth: int = 3, cycle: float = 10.0, identity: float = 0.5,
    learning_rate: float = 2e-4, beta1: float = 0.5, constant: float = 0.5, pool: int = 50,
    load_size: int | None = None, mirror: bool = True, precision: str = "float32",
    device: torch.device | None = None, save_seconds: float = 60.0, progress: Callable | None = None,
) -> tuple[Translator, Translator]:  # fmt: skip
    """Train a CycleGAN, or finish or fetch the one in folder `path`: (to the target, to the source), in eval mode.

    source (n, s, s) or (n, c, s, s) and target, of the same c and s: uint8, s a multiple of 4. Each step takes
    `batch` images of either domain, drawn with replacement. cycle, identity: λ and ι above. constant: the share of
    the steps before the learning rate falls. pool: the images that each pool holds, 0 for none. load_size: every
    image drawn is enlarged to this side and cropped to s at a random place (published: 286 for s = 256). mirror: and
    mirrored left-right with chance 1/2. width, blocks, critic_width, critic_depth: see lib.models.gan.cyclegan.
    precision: see lib.core.seeding.autocast. progress, save_seconds and what happens to a checkpoint in `path`: see
    `lib.training.loop.trainer.run_training`.

    On the CPU, with the same number of threads, an interrupted and resumed training equals an uninterrupted one bit
    for bit. ValueError for images that do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    source, target = _domain(source, "source", device), _domain(target, "target", device)
    shape = list(source.values.shape[1:])
    if shape != list(target.values.shape[1:]) or shape[1] != shape[2] or shape[1] % 4:
        raise ValueError(
            f"Source images are {shape} and target images {list(target.values.shape[1:])}: "
            "give squares of one size, a multiple of 4 pixels."
        )
    if not (pool == 0 or batch <= pool) or batch < 1:
        raise ValueError(f"A batch of {batch} does not fit a pool of {pool}: take at least 1 image, at most the pool.")
    if load_size is not None and load_size < shape[1]:
        raise ValueError(f"Images of {shape[1]} pixels cannot be cropped from {load_size}: raise load_size.")
    settings = {
        "model": "CycleGAN", "image_size": shape[1], "channels": shape[0], "steps": steps, "batch": batch,
        "width": width, "blocks": blocks, "critic_width": critic_width, "critic_depth": critic_depth, "cycle": cycle,
        "identity": identity, "learning_rate": learning_rate, "beta1": beta1, "constant": constant, "pool": pool,
        "load_size": load_size, "mirror": mirror, "precision": precision, "seed": seed,
        "source": source.digest, "target": target.digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: Cycle(source.values, target.values, settings, device), name="CycleGAN", path=path, settings=settings,
        steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _translators(tensors, settings, device)


def load_translators(path, *, device: torch.device | None = None) -> tuple[Translator, Translator]:
    """Both translators of the finished training in folder `path`: (to the target, to the source), in eval mode.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _translators(*finished_training(path, "translator"), device or seeding.device())


@torch.inference_mode()
def translate(translator: Translator, images, *, batch: int = 32, device: torch.device | None = None) -> np.ndarray:
    """`images` (n, h, w) or (n, c, h, w) uint8 as `translator` anonymises them: uint8 of the same shape.

    Sides must be multiples of 4, and may differ from those of the training. ValueError for images that do not fit.
    """
    device = device or seeding.device()
    translator = translator.to(device).eval()
    values = _domain(images, "given", torch.device("cpu")).values
    if values.shape[1] != translator.channels:
        raise ValueError(f"The images have {values.shape[1]} channels, the translator {translator.channels}.")
    parts = [translator(network_input(part.to(device))) for part in values.split(batch)]
    anonymised = torch.cat([((part + 1) * 127.5).round().clamp(0, 255).byte().cpu() for part in parts])
    return anonymised.numpy().reshape(np.shape(images))


class ImagePool:
    """The critics' memory: up to `capacity` translated images, so that they do not forget what they saw before.

    A batch in is a batch out. While there is room, images are stored and given back; then each, with chance 1/2,
    takes the place of a stored one, drawn at random, which is given instead of it.
    """

    def __init__(self, capacity: int):
        self.capacity, self.images = capacity, None

    def exchange(self, fresh: Tensor, random: torch.Generator) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w); n must not exceed the capacity unless that is 0."""
        if self.capacity == 0:
            return fresh
        stored = fresh[:0] if self.images is None else self.images
        room = min(self.capacity - len(stored), len(fresh))
        self.images = torch.cat([stored, fresh[:room]])
        if room == len(fresh):
            return fresh
        late = fresh[room:]
        draws = torch.rand(self.capacity, device=fresh.device, generator=random)
        places = draws.argsort()[: len(late)]
        taken = torch.rand(len(late), 1, 1, 1, device=fresh.device, generator=random) < 0.5
        old = self.images[places]
        self.images[places] = torch.where(taken, late, old)
        return torch.cat([fresh[:room], torch.where(taken, old, late)])


class Cycle:
    """Both translators, both critics, their optimisers and pools on `device`, with the data beside them as uint8.

    source and target (n, c, s, s) uint8; `settings` as `train_cyclegan` resolves them. See
    lib.training.loop.trainer.Steps.
    """

    def __init__(self, source: Tensor, target: Tensor, settings: dict, device: torch.device):
        self.settings, self.device = settings, device
        self.source, self.target = source, target
        with seeding.initialising(settings["seed"], "cyclegan"):
            networks = [_translator(settings), _translator(settings), _critic(settings), _critic(settings)]
        names = ("to_target", "to_source", "target_critic", "source_critic")
        self.networks = dict(zip(names, (network.to(device).train() for network in networks), strict=True))
        self.to_target, self.to_source, self.target_critic, self.source_critic = self.networks.values()
        self.parameters = {
            "translators": [*self.to_target.parameters(), *self.to_source.parameters()],
            "critics": [*self.target_critic.parameters(), *self.source_critic.parameters()],
        }
        options = {"lr": settings["learning_rate"], "betas": (settings["beta1"], 0.999), "fused": True}
        self.optimisers = {name: torch.optim.Adam(parts, **options) for name, parts in self.parameters.items()}
        self.pools = {"target": ImagePool(settings["pool"]), "source": ImagePool(settings["pool"])}
        self.random = torch.Generator(device)

    def step(self, step: int) -> dict[str, Tensor]:
        """Update both translators, then both critics; their losses."""
        self.random.manual_seed(seeding.seed_of(self.settings["seed"], "cyclegan", "step", step))
        source, target = self._drawn(self.source), self._drawn(self.target)
        with self._precision():
            loss, fake_target, fake_source = self._translate(source, target)
        losses = {"loss_g": self._update("translators", loss, step)}
        with self._precision():
            loss = self._criticise(self.target_critic, target, self.pools["target"].exchange(fake_target, self.random))
            loss += self._criticise(self.source_critic, source, self.pools["source"].exchange(fake_source, self.random))
        return losses | {"loss_c": self._update("critics", loss, step)}

    def tensors(self) -> dict[str, Tensor]:
        """Weights of all four networks."""
        return {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }

    def state(self) -> dict:
        """The optimisers' states and the pools."""
        pools = {name: pool.images for name, pool in self.pools.items()}
        return {"optimisers": {name: part.state_dict() for name, part in self.optimisers.items()}, "pools": pools}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(_under(name, tensors))
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, pool in self.pools.items():
            pool.images = None if state["pools"][name] is None else state["pools"][name].to(self.device)

    def _translate(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The translators' loss, G(s) and F(t). No statistic mixes images, so that one pass serves two terms."""
        n, settings = len(source), self.settings
        fake_target, same_target = self.to_target(torch.cat([source, target])).split(n)
        fake_source, same_source = self.to_source(torch.cat([target, source])).split(n)
        fooled = _squared(self.target_critic(fake_target), 1) + _squared(self.source_critic(fake_source), 1)
        returned = F.l1_loss(self.to_source(fake_target), source) + F.l1_loss(self.to_target(fake_source), target)
        kept = F.l1_loss(same_target, target) + F.l1_loss(same_source, source)
        loss = fooled + settings["cycle"] * (returned + settings["identity"] * kept)
        return loss, fake_target.detach().float(), fake_source.detach().float()

    def _criticise(self, critic: PatchCritic, real: Tensor, fake: Tensor) -> Tensor:
        real_score, fake_score = critic(torch.cat([real, fake])).chunk(2)
        return (_squared(real_score, 1) + _squared(fake_score, 0)) / 2

    def _drawn(self, images: Tensor) -> Tensor:
        """A batch of `images` in [-1, 1], enlarged, cropped and mirrored as asked for."""
        batch, side = self.settings["batch"], images.shape[-1]
        rows = torch.randint(len(images), (batch,), device=self.device, generator=self.random)
        drawn = network_input(images[rows])
        if load_size := self.settings["load_size"]:
            drawn = F.interpolate(drawn, size=(load_size, load_size), mode="bilinear")
            at = torch.arange(side, device=self.device)
            corners = torch.randint(load_size - side + 1, (2, batch, 1), device=self.device, generator=self.random)
            y, x = corners + at
            image = torch.arange(batch, device=self.device)[:, None, None]
            drawn = drawn.permute(0, 2, 3, 1)[image, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        if self.settings["mirror"]:
            across = torch.rand(batch, 1, 1, 1, device=self.device, generator=self.random) < 0.5
            drawn = torch.where(across, drawn.flip(3), drawn)
        return drawn

    def _update(self, name: str, loss: Tensor, step: int) -> Tensor:
        steps = self.settings["steps"]
        falling = steps - self.settings["constant"] * steps  # the steps of the linear fall
        optimiser = self.optimisers[name]
        optimiser.param_groups[0]["lr"] = self.settings["learning_rate"] * min(1.0, (steps - step) / max(falling, 1.0))
        optimiser.zero_grad()
        # Only these networks' gradients: the critics' are not computed for the translators' update.
        loss.backward(inputs=self.parameters[name])
        optimiser.step()
        return loss.detach()

    def _precision(self):
        return seeding.autocast(self.device, self.settings["precision"])


def _translator(settings: dict) -> Translator:
    return Translator(settings["channels"], settings["width"], settings["blocks"])


def _critic(settings: dict) -> PatchCritic:
    return PatchCritic(settings["channels"], settings["critic_width"], settings["critic_depth"])


def _translators(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> tuple[Translator, Translator]:
    with seeding.initialising(0):  # the weights drawn here are overwritten; the global generator is left alone
        both = _translator(settings), _translator(settings)
    for name, network in zip(("to_target", "to_source"), both, strict=True):
        network.load_state_dict(_under(name, tensors))
    return tuple(network.to(device).eval() for network in both)


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _squared(scores: Tensor, target: float) -> Tensor:
    return (scores.float() - target).square().mean()


def _domain(images, name: str, device: torch.device) -> DeviceDataset:
    examples = DeviceDataset(images, None, device=device, name=name)
    if examples.values.dtype != torch.uint8:
        raise ValueError(f"The {name} images are {examples.values.dtype}: give uint8, 0 to 255.")
    return examples
