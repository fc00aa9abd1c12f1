"""Weights of others, read from a file without unpickling anything."""

import safetensors.torch
import torch
from torch import Tensor

from lib.core.inputs import reading


def read_weights(path) -> dict[str, Tensor]:
    """The tensors of a .pth (nothing is unpickled) or .safetensors file.

    FileNotFoundError that says where Swin-T's weights come from; ValueError for a damaged file.
    """
    path = reading(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There are no Swin-T weights at {path}: download torchvision's Swin_T_Weights.IMAGENET1K_V1 from "
            "https://download.pytorch.org/models/swin_t-704ceda3.pth into data/weights/."
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile or truncated file makes the readers raise
        raise ValueError(f"The weights file {path} is damaged or not plain tensors: download it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"The weights file {path} is not a state dict: give the file torchvision publishes.")
    return state
