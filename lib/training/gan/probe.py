"""What a trained network draws from two fixed latents, or makes of two fixed images, kept beside its weights.

Weights run in whatever network the code builds today. If that has changed since they were trained, such as a ReLU that
became a sigmoid, the tensors still fit and the images are others: the probe sees it.
"""

import json
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.core import distributed as ranks
from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.training.loop.checkpoint import Checkpoint

FILE = "probe.json"
_PIXELS = 8  # of each of the two images, evenly spread
_MEAN, _PIXEL = 1.0, 4.0  # grey values: sums round otherwise on another machine, by less


class Drawing(Protocol):
    """What a probe is taken of, such as `lib.training.gan.sampling.TrainedGenerator`."""

    def sample(self, n: int, *, labels=None, seed: int) -> np.ndarray:
        """`n` images (n, ...) uint8, the same for the same seed and labels."""


def probe(generator: Drawing, labels) -> dict[str, list[float]]:
    """Mean, SD and eight pixels of each of two images with these two `labels` (None without), in grey values."""
    images = generator.sample(2, labels=labels, seed=0).reshape(2, -1).astype(float)
    at = np.linspace(0, images.shape[1] - 1, _PIXELS).round().astype(int)
    return {
        "mean": images.mean(axis=1).tolist(),
        "sd": images.std(axis=1).tolist(),
        "pixels": images[:, at].ravel().tolist(),
    }


def keep_probe(folder: Path, generator: Drawing, *, labels=None) -> None:
    """Write the probe of the training in `folder`, or compare it with the one that is there.

    labels: those of the training, of which the first two are asked for; None without. ValueError as `check_probe`.
    """
    folder = Path(folder)
    if check_probe(folder, generator) or not ranks.is_writer():
        return
    asked = None if labels is None else np.asarray(labels)[:2].tolist()
    record = {"weights": _weights(folder), "labels": asked, **probe(generator, asked)}
    with atomic(folder / FILE) as partial:
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")


def check_probe(folder: Path, generator: Drawing) -> bool:
    """Compare the probe in `folder` with what the generator draws now; whether there is one of these weights.

    Raises ValueError where the two differ, and for a damaged probe.
    """
    file = Path(folder) / FILE
    if not file.exists():
        return False
    try:
        kept = read_object(file)
        if kept["weights"] != _weights(folder):
            return False
        expected = {name: np.asarray(kept[name], float) for name in ("mean", "sd", "pixels")}
        found = {name: np.asarray(of) for name, of in probe(generator, kept["labels"]).items()}
        apart = {name: float(np.abs(found[name] - expected[name]).max()) for name in expected}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"The probe {file} is damaged: delete it, and look at what the generator draws.") from error
    if not (apart["mean"] <= _MEAN and apart["sd"] <= _MEAN and apart["pixels"] <= _PIXEL):
        raise ValueError(
            f"The training in {folder} draws other images than when it was made (a pixel is {apart['pixels']:.0f} grey "
            "values apart): its network has changed since. Train it again, or go back to the revision that made it."
        )
    return True


def labels_of_probe(folder: Path) -> list | None:
    """The two labels that the probe in `folder` asked for; None where it asked for none, or there is no probe."""
    file = Path(folder) / FILE
    return read_object(file)["labels"] if file.exists() else None


def _weights(folder: Path) -> str:
    """The SHA-256 of the finished weights in `folder`."""
    return Checkpoint(folder, None).weights_digest()
