"""The perceptual distance by which nearness to a real image is evaluated: LPIPS, or the network that stands in for it.

Whatever is optimised must not have seen it (spec §6 and §9 of Pennisi et al. 2023).
"""

import torch
from torch import Tensor

from lib.core.seeding import device, initialising
from lib.models.pretrained.lpips import Lpips, RotationCNN, load_lpips, rotations
from lib.training.classifier.single_label import train_classifier
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.inference import in_batches
from lib.training.loop.trainer import finished_training

NETWORKS = ("rotation", "lpips_alex", "lpips_vgg")


def train_rotations(images, *, held_out, path, seed: int, epochs: int = 6, batch: int = 32) -> RotationCNN:
    """Train the substitute to tell the quarter turns of `images` (n, s, s) uint8, or fetch it from folder `path`.

    `held_out` (m, s, s): other images, on whose turns the epoch is chosen. The images should be none of those whose
    distances are asked for. ValueError for images that do not fit.
    """
    with initialising(seed, "rotations"):
        model = RotationCNN(DeviceDataset(images, None, device="cpu").values.shape[1])
    parts = [rotations(DeviceDataset(part, None, device="cpu").values) for part in (images, held_out)]
    train_classifier(
        model, images=parts[0][0], labels=parts[0][1], validation=parts[1], epochs=epochs, batch=batch,
        learning_rate=2e-3, augment="none", select="balanced_accuracy", seed=seed, checkpoint=path,
    )  # fmt: skip
    return model.requires_grad_(False).eval()


def require_weights(name: str) -> None:
    """Raise FileNotFoundError where published weights of the network `name` are absent, ValueError for another name.

    To be asked before anything is trained: what LPIPS measures is measured last. "rotation" needs none.
    """
    if _known(name) != "rotation":
        load_lpips(name.removeprefix("lpips_"))


def load_perceptual(name: str, path) -> Lpips | RotationCNN:
    """The network `name`, frozen: "rotation" as `train_rotations` left it in folder `path`, or LPIPS as published.

    ValueError for another name, FileNotFoundError where its weights are absent.
    """
    if _known(name) != "rotation":
        return load_lpips(name.removeprefix("lpips_")).to(device())
    tensors: dict[str, Tensor] = finished_training(path, "perceptual network")[0]
    with initialising(0):
        model = RotationCNN(tensors["layers.0.weight"].shape[1])
    model.load_state_dict(tensors)
    return model.to(device()).requires_grad_(False).eval()


@torch.inference_mode()
def described(network: Lpips | RotationCNN, images, *, pooled: bool = False, batch: int = 256) -> Tensor:
    """What distances are taken of: `network.features` (n, d) of images (n, s, s) or (n, c, s, s), on its device.

    images: uint8, or float32 in [-1, 1]. pooled: the last layer averaged over positions instead, float64, of few
    enough numbers for a Fréchet distance. ValueError for images of another kind.
    """
    examples = DeviceDataset(images, None, device=device(), name="described")

    def described_part(part: slice) -> Tensor:
        inputs = examples.inputs(part)
        return network.maps(inputs)[-1].mean(dim=(2, 3)).double() if pooled else network.features(inputs)

    return in_batches(described_part, len(examples), batch, kind=type(network).__name__)


def _known(name: str) -> str:
    if name not in NETWORKS:
        raise ValueError(f"unknown perceptual network {name!r}: choose one of {', '.join(NETWORKS)}")
    return name
