"""Every generator: `train` it by name, `load` it from a folder or the store, and `sample` from what they return.

    generator = train("dcgan", images, labels, path="data/runs/gan", seed=0, steps=1000)
    generator = load("data/runs/gan")
    made = generator.sample(100, labels=wanted, seed=1)    # uint8 (100, s, s)

`names()` are those that lib.training.gan.registry knows; what each is trained by, its module there says.
`published_mcgan` is one that others trained: its weights are downloaded by hand (data/README.md).
"""

from lib.training.gan.published import published_mcgan
from lib.training.gan.registry import load, names, register, train
from lib.training.gan.sampling import TrainedGenerator

__all__ = ["TrainedGenerator", "load", "names", "published_mcgan", "register", "train"]
