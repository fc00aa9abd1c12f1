"""What every metric asks of its input: checked matrices, vectors, labels and patient codes.

A tensor stays on its device; a NumPy array goes to the GPU where there is one.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike


def matrix(values: ArrayLike | torch.Tensor, name: str, *, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """`values` as a finite (n, d) tensor of `dtype`.

    Raises ValueError, naming the argument `name`, unless `values` is two-dimensional, not empty and finite.
    """
    tensor = _tensor(values)
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: give one row of features per image, (n, d)")
    tensor = tensor.to(dtype)
    _require_finite(tensor, name)
    return tensor


def rows(values: ArrayLike | torch.Tensor, name: str) -> torch.Tensor:
    """`values` of shape (n, ...) as an (n, d) tensor of its own dtype, bool becoming uint8.

    Raises ValueError, naming the argument `name`, if `values` is empty, has no second axis or is not finite.
    """
    tensor = _tensor(values)
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: give one image or feature row per item, (n, ...)")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    if tensor.is_complex():
        raise ValueError(f"{name} is complex: give real numbers")
    if tensor.is_floating_point():
        _require_finite(tensor, name)
    return tensor.reshape(len(tensor), -1)


def grey_images(values: ArrayLike | torch.Tensor, name: str) -> torch.Tensor:
    """`values` as an (N, H, W) tensor of its own dtype. ValueError, naming `name`, for another shape, or NaN."""
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
    if values.ndim != 3:
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give grey images (N, H, W)")
    return rows(values, name).reshape(tuple(values.shape))


def same_width(first: torch.Tensor, second: torch.Tensor, names: tuple[str, str]) -> None:
    """Raises ValueError unless both (n, d) tensors have the same d."""
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{names[0]} has {first.shape[1]} values a row and {names[1]} has {second.shape[1]}: "
            "compute both by the same extractor at the same image size"
        )


def two_sets(real: ArrayLike | torch.Tensor, synthetic: ArrayLike | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, d) of both sets as float64 tensors on the device of `real`.

    Raises ValueError as `matrix`, for fewer than two rows, and for different widths.
    """
    real = matrix(real, "real")
    synthetic = matrix(synthetic, "synthetic").to(real.device)
    same_width(real, synthetic, ("real", "synthetic"))
    for name, values in (("real", real), ("synthetic", synthetic)):
        if len(values) < 2:
            raise ValueError(f"{name} has {len(values)} row, but a covariance needs two: give more images")
    return real, synthetic


def columns(values: ArrayLike | torch.Tensor, name: str) -> np.ndarray:
    """`values` of shape (n,) or (n, k) as a finite float64 array of the same shape."""
    array = np.asarray(_detached(values), dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: give (n,) or (n, k), not empty")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {np.sum(~np.isfinite(array))} NaN or infinite values: remove them first")
    return array


def scores(values: ArrayLike | torch.Tensor, name: str) -> np.ndarray:
    """`values` of shape (n,) as a finite float64 array."""
    values = columns(values, name)
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}: give one score per image")
    return values


def labels_and_scores(
    labels: ArrayLike | torch.Tensor, scores: ArrayLike | torch.Tensor, *, both: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Boolean labels and float64 scores of one common shape (n,) or (n, k).

    One-dimensional labels serve every column of two-dimensional scores, and the other way round. Raises ValueError
    if a label is neither 0 nor 1, if the lengths differ, or, where `both` classes are needed, if one is empty.
    """
    scores = columns(scores, "scores")
    truth = columns(labels, "labels")
    if truth.ndim == 1 and scores.ndim == 2:
        truth = np.broadcast_to(truth[:, None], (len(truth), scores.shape[1]))
    if scores.ndim == 1 and truth.ndim == 2:
        scores = np.broadcast_to(scores[:, None], (len(scores), truth.shape[1]))
    if truth.shape != scores.shape:
        raise ValueError(f"labels have shape {truth.shape} and scores {scores.shape}: give one label per score")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels hold other values than 0 and 1: binarise them first")
    positive = truth.astype(bool)
    counts = positive.sum(axis=0)
    if both and (np.any(counts == 0) or np.any(counts == len(positive))):
        raise ValueError("labels hold one class only, but this metric compares two: add images of the other class")
    return positive, scores


def codes(groups: ArrayLike | None, n: int, name: str = "groups") -> np.ndarray:
    """Consecutive integer codes (n,) of the patients `groups`; None means that every image is its own patient."""
    if groups is None:
        return np.arange(n)
    groups = np.asarray(_detached(groups))
    if groups.shape != (n,):
        raise ValueError(f"{name} has shape {groups.shape}: give one patient per image, ({n},)")
    return np.unique(groups, return_inverse=True)[1]


def joint_codes(first: ArrayLike | None, second: ArrayLike | None, n: int, m: int) -> np.ndarray:
    """Patient codes (n + m,) of members and nonmembers; named patients share one numbering, unnamed images do not."""
    if first is not None and second is not None:
        codes(first, n, "member_groups"), codes(second, m, "nonmember_groups")
        return codes(np.concatenate([np.asarray(first), np.asarray(second)]), n + m)
    first, second = codes(first, n, "member_groups"), codes(second, m, "nonmember_groups")
    return np.concatenate([first, second + first.max() + 1])


def _tensor(values: ArrayLike | torch.Tensor) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach()
    tensor = torch.as_tensor(np.ascontiguousarray(values))
    return tensor.cuda() if torch.cuda.is_available() else tensor


def _detached(values: ArrayLike | torch.Tensor) -> ArrayLike:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _require_finite(tensor: torch.Tensor, name: str) -> None:
    # One pass in the usual case: a NaN anywhere makes both extremes NaN.
    if all(torch.isfinite(extreme) for extreme in tensor.aminmax()):
        return
    bad = ~torch.isfinite(tensor).flatten(1).all(dim=1)
    first = int(bad.nonzero()[0, 0])
    raise ValueError(f"{name} holds NaN or infinite values in {int(bad.sum())} rows, the first in row {first}")
