"""Named random streams under one root seed, and the choice of device and precision."""

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch

PRECISIONS = ("float32", "bf16")


def seed_of(seed: int, *names: str | int) -> int:
    """A stable 63-bit integer for the stream `names` under the root `seed`.

    Streams with different names are independent for all practical purposes (SHA-256), so a new stream
    never shifts another one.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def repetition_seeds(seed: int, count: int) -> list[int]:
    """The seeds of `count` repetitions under the root `seed`; no two roots share one.

    Raises ValueError if `count` exceeds 100.
    """
    if count > 100:
        raise ValueError(f"{count} repetitions: give 100 at most, or two root seeds would share a seed")
    return [100 * seed + i for i in range(count)]


def torch_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for the stream `names`, on `device`."""
    return torch.Generator(device=device).manual_seed(seed_of(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stream `names`."""
    return np.random.default_rng(seed_of(seed, *names))


@contextlib.contextmanager
def initialising(seed: int, *names: str | int) -> Iterator[None]:
    """A context that draws initial weights from the stream `names`; it restores the global CPU state at its end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initialise", *names))
        yield


def device() -> torch.device:
    """CUDA if a GPU is visible, otherwise the CPU. There float32 means float32: no convolution rounds to TF32."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is native, not emulated, on `device`."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """A context of the precision asked for, if the hardware has it: `arithmetic` says which is used.

    A training in bf16 ends elsewhere than one in float32, as far away as with another seed: what is compared between
    machines asks for float32. Raises ValueError for any name but "float32" and "bf16".
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=arithmetic(device, precision) == "bf16")


def arithmetic(device: torch.device, precision: str) -> str:
    """The arithmetic that `precision` comes to on `device`: "bf16" where it was asked for and is native, or "float32".

    Raises ValueError for any name but "float32" and "bf16".
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    return "bf16" if precision == "bf16" and has_bf16(device) else "float32"


def arithmetic_here(precision: str = "float32") -> str:
    """By what this process rounds its sums: "float32, AVX2, threads: 2" or "bf16, NVIDIA H200".

    Two machines that differ here agree to the last digits only in a single pass, and less after a training. Raises
    ValueError for any name but "float32" and "bf16".
    """
    used = arithmetic(device(), precision)
    if torch.cuda.is_available():
        return f"{used}, {torch.cuda.get_device_name()}"
    return f"{used}, {torch.backends.cpu.get_cpu_capability()}, threads: {torch.get_num_threads()}"
