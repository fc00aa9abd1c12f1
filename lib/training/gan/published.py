"""Generators that others trained and published, as `TrainedGenerator`: so far MCGAN of medigan.

generator = published_mcgan()                          # data/weights/1400_ckpt_train_cbis_ddsm.pt
made = generator.sample(100, labels=[0, 1] * 50, seed=1)    # uint8 (100, 128, 128); 0 malignant, 1 benign
"""

from collections.abc import Callable

import torch

from lib.core import seeding
from lib.models.pretrained.mcgan import DOI, load_mcgan
from lib.training.gan.dcgan import DCGAN

MCGAN_LABELS = ("malignant", "benign")


def published_mcgan(path=None, *, device: torch.device | None = None) -> DCGAN:
    """The generator of breast masses that medigan publishes as model 00008, from the file `path` or data/weights/.

    Its `sample` takes a label an image, 0 malignant and 1 benign. The noise is this suite's, so that no image equals a
    published one; pixels are 255 times the network's tanh, rounded, and 0 below, where the published code let them
    wrap around. `settings` has the shape of the network and where it comes from, and nothing of the training. Errors:
    `lib.models.pretrained.mcgan.load_mcgan`.
    """
    network = load_mcgan(path).to(device or seeding.device())
    settings = {
        "model": DCGAN.name, "image_size": network.image_size, "classes": network.classes, "latent": network.latent,
        "width": 64, "norm": "batch", "ema": None, "origin": f"doi:{DOI}",
    }  # fmt: skip
    return DCGAN(network, settings)


# By the name under which `lib.generators` draws from it: what opens it, and the names of its labels.
PUBLISHED: dict[str, tuple[Callable[[], DCGAN], tuple[str, ...]]] = {"mcgan-published": (published_mcgan, MCGAN_LABELS)}
