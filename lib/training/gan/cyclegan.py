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
from torch import Tensor, nn

from lib.core import seeding
from lib.models.gan.cyclegan import PatchCritic, Translator
from lib.training.loop.dataset import DeviceDataset, uint8_squares
from lib.training.loop.images import network_input, to_uint8
from lib.training.loop.placement import placed
from lib.training.loop.trainer import Trainer, finished_training, restored, run_training


def train_cyclegan(
    source,  # (n, s, s) or (n, c, s, s) uint8, s a multiple of 4
    target,  # uint8 of the same c and s
    *,
    path,  # the folder of the checkpoint
    seed: int,
    steps: int,  # each takes `batch` images of either domain, drawn with replacement
    batch: int = 1,
    width: int = 64,  # width, blocks, critic_width, critic_depth: see lib.models.gan.cyclegan
    blocks: int = 9,
    critic_width: int = 64,
    critic_depth: int = 3,
    cycle: float = 10.0,  # λ above
    identity: float = 0.5,  # ι above
    learning_rate: float = 2e-4,
    beta1: float = 0.5,
    constant: float = 0.5,  # share of the steps before the learning rate falls
    pool: int = 50,  # images that each pool holds, 0 for none
    load_size: int | None = None,  # enlarge to this side, crop s at a random place; published: 286 for s = 256
    mirror: bool = True,  # and mirror left-right with chance 1/2
    precision: str = "float32",  # see lib.core.seeding.autocast
    device: torch.device | None = None,
    save_seconds: float = 60.0,
    progress: Callable | None = None,
) -> tuple[Translator, Translator]:
    """Train a CycleGAN, or finish or fetch the one in folder `path`: (to the target, to the source), in eval mode.

    Checkpoints, exact resuming, save_seconds and progress: see `lib.training.loop.trainer`. ValueError for images that
    do not fit, a damaged checkpoint, or divergence.
    """
    device = device or seeding.device()
    domains = [
        uint8_squares(images, None, device=device, name=name)
        for name, images in (("source", source), ("target", target))
    ]
    shapes = [list(domain.values.shape[1:]) for domain in domains]
    channels, side = shapes[0][:2]
    if shapes[0] != shapes[1] or side % 4:
        raise ValueError(
            f"Source images are {shapes[0]} and target images {shapes[1]}: "
            "give squares of one size, a multiple of 4 pixels."
        )
    if not (pool == 0 or batch <= pool) or batch < 1:
        raise ValueError(f"A batch of {batch} does not fit a pool of {pool}: take at least 1 image, at most the pool.")
    if load_size is not None and load_size < side:
        raise ValueError(f"Images of {side} pixels cannot be cropped from {load_size}: raise load_size.")
    settings = {
        "model": "cyclegan", "version": CycleGANTrainer.version,
        "image_size": side, "channels": channels, "steps": steps, "batch": batch,
        "width": width, "blocks": blocks, "critic_width": critic_width, "critic_depth": critic_depth, "cycle": cycle,
        "identity": identity, "learning_rate": learning_rate, "beta1": beta1, "constant": constant, "pool": pool,
        "load_size": load_size, "mirror": mirror, "precision": precision, "seed": seed,
        "source": domains[0].digest, "target": domains[1].digest,
    }  # fmt: skip
    tensors = run_training(
        lambda: CycleGANTrainer(domains[0].values, domains[1].values, settings, device), name="CycleGAN", path=path,
        settings=settings, steps=steps, save_seconds=save_seconds, progress=progress,
    )  # fmt: skip
    return _translators(tensors, settings, device)


def load_translators(path, *, device: torch.device | None = None) -> tuple[Translator, Translator]:
    """Both translators of the finished training in folder `path`: (to the target, to the source), in eval mode.

    FileNotFoundError when nothing is there; ValueError when the training is unfinished or a file is damaged.
    """
    return _translators(*finished_training(path, "translator", model="cyclegan"), device or seeding.device())


@torch.inference_mode()
def translate(translator: Translator, images, *, batch: int = 32, device: torch.device | None = None) -> np.ndarray:
    """`images` (n, h, w) or (n, c, h, w) uint8, an array or unread rows, in the other domain: uint8 of the same shape.

    Sides must be multiples of 4, and may differ from those of the training. ValueError for images that do not fit.
    """
    device = device or seeding.device()
    translator = placed(translator, device).eval()
    there = np.empty(np.shape(images), np.uint8)
    for start in range(0, max(1, len(images)), batch):
        part = images[start : start + batch]
        values = DeviceDataset(part, None, device=device, name="given").values
        if values.dtype != torch.uint8 or values.shape[1] != translator.channels:
            kind = f"{values.dtype} with {values.shape[1]} channels"
            raise ValueError(f"The images are {kind}: give uint8 with {translator.channels}, as the translator takes.")
        translated = to_uint8(translator(network_input(values))).cpu().numpy()
        there[start : start + batch] = translated.reshape(np.shape(part))
    return there


class ImagePool:
    """The critics' memory: up to `capacity` translated images, so that they do not forget what they saw before.

    A batch in is a batch out. While there is room, images are stored and given back; then each, with chance 1/2,
    takes the place of a stored one, drawn at random, which is given instead of it.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.images: Tensor | None = None

    def exchange(self, fresh: Tensor, random: torch.Generator) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w); n must not exceed the capacity unless that is 0."""
        if self.capacity == 0:
            return fresh
        stored = fresh[:0] if self.images is None else self.images
        room = min(self.capacity - len(stored), len(fresh))
        self.images = stored = torch.cat([stored, fresh[:room]])
        if room == len(fresh):
            return fresh
        late = fresh[room:]
        draws = torch.rand(self.capacity, device=fresh.device, generator=random)
        places = draws.argsort()[: len(late)]
        taken = torch.rand(len(late), 1, 1, 1, device=fresh.device, generator=random) < 0.5
        old = stored[places]
        stored[places] = torch.where(taken, late, old)
        return torch.cat([fresh[:room], torch.where(taken, old, late)])


class CycleGANTrainer(Trainer):
    """Both translators, both critics, their optimisers and pools.

    source and target (n, c, s, s) uint8; settings as `train_cyclegan` resolves them.
    """

    stream = "cyclegan"

    def __init__(self, source: Tensor, target: Tensor, settings: dict, device: torch.device):
        super().__init__(settings, device)
        self.source, self.target = source, target
        with self.initialising():
            self.to_target, self.to_source = self.place(_translator(settings)), self.place(_translator(settings))
            self.target_critic, self.source_critic = self.place(_critic(settings)), self.place(_critic(settings))
        self.networks = {
            "to_target": self.to_target, "to_source": self.to_source,
            "target_critic": self.target_critic, "source_critic": self.source_critic,
        }  # fmt: skip
        self.optimisers = {
            "translators": self._adam(self.to_target, self.to_source),
            "critics": self._adam(self.target_critic, self.source_critic),
        }
        self.pools = {"target": ImagePool(settings["pool"]), "source": ImagePool(settings["pool"])}

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Update both translators, then both critics; their losses."""
        steps, rate = self.settings["steps"], self.settings["learning_rate"]
        falling = steps - self.settings["constant"] * steps  # the steps of the linear fall
        for optimiser in self.optimisers.values():
            optimiser.param_groups[0]["lr"] = rate * min(1.0, (steps - step) / max(falling, 1.0))
        source, target = self._drawn(self.source), self._drawn(self.target)
        with self.autocast():
            loss, fake_target, fake_source = self._translate(source, target)
        losses = {"loss_g": self.minimise("translators", loss)}
        with self.autocast():
            loss = self._criticise(self.target_critic, target, self.pools["target"].exchange(fake_target, self.random))
            loss += self._criticise(self.source_critic, source, self.pools["source"].exchange(fake_source, self.random))
        return losses | {"loss_c": self.minimise("critics", loss)}

    def state(self) -> dict:
        """The optimisers' states and the pools."""
        return super().state() | {"pools": {name: pool.images for name, pool in self.pools.items()}}

    def restore(self, tensors: dict[str, Tensor], state: dict) -> None:
        """Continue from what `tensors` and `state` gave."""
        super().restore(tensors, state)
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

    def _adam(self, *networks: nn.Module) -> torch.optim.Adam:
        parameters = [parameter for network in networks for parameter in network.parameters()]
        betas = self.settings["beta1"], 0.999
        return torch.optim.Adam(parameters, lr=self.settings["learning_rate"], betas=betas, fused=True)


def _translator(settings: dict) -> Translator:
    return Translator(settings["channels"], settings["width"], settings["blocks"])


def _critic(settings: dict) -> PatchCritic:
    return PatchCritic(settings["channels"], settings["critic_width"], settings["critic_depth"])


def _translators(tensors: dict[str, Tensor], settings: dict, device: torch.device) -> tuple[Translator, Translator]:
    to_target = restored(lambda: _translator(settings), "to_target", tensors, device)
    return to_target, restored(lambda: _translator(settings), "to_source", tensors, device)


def _squared(scores: Tensor, target: float) -> Tensor:
    return (scores.float() - target).square().mean()
