"""Weights of others, read from a file without unpickling anything."""

from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

from lib.core.inputs import reading


def read_weights(path) -> dict[str, Tensor]:
    """The tensors of a .pth (nothing is unpickled) or .safetensors file.

    FileNotFoundError that says where Swin-T's weights come from; ValueError for a damaged file, and for weights that
    are NaN or infinite.
    """
    path = reading(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There are no Swin-T weights at {path}: download torchvision's Swin_T_Weights.IMAGENET1K_V1 from "
            "https://download.pytorch.org/models/swin_t-704ceda3.pth into data/weights/."
        )
    try:
        is_plain = path.suffix == ".safetensors"
        state = safetensors.torch.load_file(path) if is_plain else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # whatever a hostile or truncated file makes the readers raise
        raise ValueError(f"The weights file {path} is damaged or not plain tensors: download it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"The weights file {path} is not a state dict: give the file torchvision publishes.")
    require_finite(state, path)
    return state


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first of `tensors` that holds NaN or infinity, or no plain numbers (sparse, quantised)."""
    return next((name for name, values in tensors.items() if not _is_finite(values)), None)


def require_finite(tensors: Mapping[str, Tensor], path) -> None:
    """ValueError, naming the file, if a weight is NaN or infinite."""
    if name := first_not_finite(tensors):
        raise ValueError(f"The weights file {path} holds NaN or infinity in {name}: download it again.")


def _is_finite(values: Tensor) -> bool:
    try:
        return bool(values.isfinite().all())
    except RuntimeError:  # torch does not ask it of every kind
        return False
