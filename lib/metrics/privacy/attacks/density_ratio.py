"""Membership inference by a classifier that is trained on the released set: released against reference images.

Where a set copies, its density exceeds that of the population at the copied images (the density ratio of DOMIAS, van
Breugel et al. 2023). A classifier that tells released from reference images, real ones of further patients, estimates
that ratio; one that interpolates has memorised what was released.
"""

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


def density_ratio_attack(
    candidates: ArrayLike, *, synthetic: ArrayLike, reference: ArrayLike, width: float = 0.1, ridge: float = 0.1
) -> np.ndarray:
    """Scores (q,) of candidates: how much more likely each is a released than a reference image; larger for members.

    `candidates` (q, ...), `synthetic` (s, ...) and `reference` (r, ...) are images or features of one space, none of
    the reference patients being a candidate. Kernel ridge regression of +1 (released) and −1 (reference), each side
    weighing as much; exp(−d² / h) with h `width` times the median squared distance of all rows. Raises ValueError on
    NaN, an empty set, rows of different lengths, or where most rows are equal.
    """
    sides = {"candidates": candidates, "synthetic": synthetic, "reference": reference}
    given = {name: np.asarray(of) for name, of in sides.items()}
    if empty := [name for name, of in given.items() if len(of) == 0]:
        raise ValueError(f"{empty[0]} is empty: give one image at least")
    rows = {name: samples.columns(of.reshape(len(of), -1), name) for name, of in given.items()}
    if len({of.shape[1] for of in rows.values()}) != 1:
        raise ValueError(f"rows hold {[of.shape[1] for of in rows.values()]} values: bring all three to one size")
    centre = rows["reference"].mean(axis=0)
    asked, learnt = rows["candidates"] - centre, np.concatenate([rows["synthetic"], rows["reference"]]) - centre
    count = np.array([len(rows["synthetic"]), len(rows["reference"])])
    among = _squares(learnt, learnt)
    scale = width * np.median(among)
    if scale <= 0:
        raise ValueError("most released and reference images are equal: there is nothing to tell apart")
    target, weight = np.repeat([1.0, -1.0], count), np.repeat(count.mean() / count, count)
    kernel = np.exp(-among / scale)
    return np.exp(-_squares(asked, learnt) / scale) @ np.linalg.solve(kernel + ridge * np.diag(1 / weight), target)


def _squares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    product = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.maximum(product, 0)
