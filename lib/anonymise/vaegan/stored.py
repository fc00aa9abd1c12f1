"""Anonymisers that come with the suite: `train` looks for them in weights/, `keep` puts one there.

As with generators (`lib.training.gan.registry`), a finished training is found by its settings and by a summary of its
images, and a probe says whether today's network still does what it did: what it makes of two fixed images.
"""

from pathlib import Path

import numpy as np

from lib.anonymise.vaegan.pp_vaegan import anonymise, load_pp_vaegan, train_pp_vaegan
from lib.models.gan.vaegan import VAE
from lib.training.gan.probe import keep_probe
from lib.training.loop import store
from lib.training.loop.image_summary import summary
from lib.training.loop.trainer import finished_training

_NEEDED = {"vae", "best", "finding", "identity"}  # to anonymise, and to evaluate by what guided it; not the critic


def train(images, masks, identities, *, path, unless_stored: str | None = None, **options) -> VAE:
    """`train_pp_vaegan`, or the stored training of these images and settings in its place.

    unless_stored: the command that trains it, to be named where it is neither finished nor stored in weights/, instead
    of training it here: FileNotFoundError. ValueError also for a network that anonymises otherwise than when it was
    trained.
    """
    with store.asking(lambda: summary(images, identities), command=unless_stored):
        model = train_pp_vaegan(images, masks, identities, path=path, **options)
    store.keep_summary(path, images, identities)
    keep_probe(path, _OfPatterns(model))
    return model


def keep(folder, name: str, *, about: str, gate: dict[str, float] | None = None) -> Path:
    """Store the finished training in `folder` as weights/`name`, without its critic, in float16; that folder.

    about: of which images, and how these are made again. gate: measure -> value of how good it is. ValueError for a
    name that is taken, for a training that is not finished or of real images; the store is then as before.
    """
    finished_training(folder, "anonymisation", model="pp_vaegan")

    def add_probe(made: Path) -> None:
        keep_probe(made, _OfPatterns(load_pp_vaegan(made)))

    return store.keep(Path(folder), name, about=about, needed=_NEEDED, facts={}, gate=gate or {}, complete=add_probe)


class _OfPatterns:
    """Two fixed images with masks, as a network anonymises them."""

    def __init__(self, model: VAE):
        self._model = model
        size = model.shape["image_size"]
        at = (np.arange(size) + 0.5) * 2 / size - 1
        radius = np.hypot(at, at[:, None])
        rings, ramp = 127.5 + 100 * np.cos(9 * radius), np.broadcast_to(127.5 + 100 * at, (size, size))
        self._images = np.stack([rings, ramp]).round().astype(np.uint8)
        self._masks = np.repeat((radius < 0.5)[None], 2, axis=0).astype(np.uint8)

    def sample(self, n: int, *, labels=None, seed: int) -> np.ndarray:
        """The first `n` of them; the network knows no labels."""
        return anonymise(self._model, self._images[:n], self._masks[:n], seed=seed)
