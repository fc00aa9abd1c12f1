"""Weights of others, read from a file without unpickling anything."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lib.core.inputs import reading
from lib.core.paths import rehearsal
from lib.core.regular_files import require_regular


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
    require_regular(path)
    try:
        state = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else load_stored(path)
    except Exception as error:  # whatever a hostile or truncated file makes the readers raise
        raise ValueError(f"The weights file {path} is damaged or not plain tensors: download it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"The weights file {path} is not a state dict: give the file torchvision publishes.")
    require_finite(state, path)
    return state


def rehearsed_without(*files: Path) -> bool:
    """Whether this is a rehearsal and one of the `files` is absent, which is said: the network's weights are random."""
    absent = [file.name for file in files if not file.exists()] if rehearsal() else []
    if absent:
        print(f"rehearsed with random weights, for data/weights/ lacks {' and '.join(absent)}", flush=True)
    return bool(absent)


def load_stored(path: Path) -> Any:
    """What the .pt or .pth file at `path` holds, on the CPU; nothing is unpickled but plain tensors.

    Raises ValueError, before it is read, for an archive whose entries are compressed, as torch never writes them, or
    have more bytes than the file, which could become any number of bytes; and whatever torch raises for a damaged file.
    """
    with open(path, "rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"  # as torch tells it from the older format
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise ValueError(f"{path}: compressed")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError(f"{path}: claims more bytes than it has")
    return torch.load(path, "cpu", weights_only=True)


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first of `tensors` that holds NaN or infinity, or no plain numbers (sparse, quantised)."""
    return next((name for name, values in tensors.items() if not _is_finite(values)), None)


def require_finite(tensors: Mapping[str, Tensor], path) -> None:
    """ValueError, naming the file, if a weight is NaN or infinite."""
    if name := first_not_finite(tensors):
        raise ValueError(f"The weights file {path} holds NaN or infinity in {name}: download it again.")


def _is_finite(values: Tensor) -> bool:
    try:
        if values.numel() * values.element_size() > values.untyped_storage().nbytes():  # one number told as millions
            return False
        return bool(values.isfinite().all())
    except (RuntimeError, NotImplementedError):  # torch does not ask it of every kind
        return False
