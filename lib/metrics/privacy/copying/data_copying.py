"""Do synthetic images lie nearer to the training images than held-out ones do? The data-copying test C_T."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from lib.metrics.neighbours.search import nearest
from lib.statistics import checks as samples
from lib.statistics.weighted import WeightedAuroc

_FEWEST = 5  # images of either side that a cell needs


class DataCopying:
    """C_T of Meehan, Chaudhuri and Dasgupta 2020 (arXiv 2004.05675, §3), as a statistic of weighted images.

    `train` (n, ...), `heldout` (m, ...) and `synthetic` (s, ...) are images or features of one space. k-means cuts the
    training images into `cells`; in each, the distances of held-out and of synthetic images to their nearest training
    image are compared by the z-score of the Mann–Whitney test, ties counting half, and C_T is the mean of the z-scores,
    weighted by the share of held-out images in the cell. Far below 0 (−3): the set copies; about 0: it lies as near to
    the training images as others of their population; above: farther. A mean of z-scores varies less than one of them:
    where nobody is copied its SD is about √Σ share², .58 of three equal cells, so that −3 is five SDs. `value` is C_T.

    Called with weights (draws, m + s), the held-out images first, it returns C_T of each draw, as
    `lib.statistics.bootstrap.bootstrap` asks: z at the original numbers of images, of the weighted shares. `n` is m +
    s. Cells with fewer than five images of a side are left out, as there they are (spec §3, τ). ValueError on NaN, rows
    of different lengths, more cells than training images, or where no cell is left.
    """

    def __init__(
        self, *, train: ArrayLike | torch.Tensor, heldout: ArrayLike | torch.Tensor,
        synthetic: ArrayLike | torch.Tensor, cells: int = 3, rng: np.random.Generator,
    ):  # fmt: skip
        from sklearn.cluster import KMeans  # takes a second to import

        given = {"train": train, "heldout": heldout, "synthetic": synthetic}
        rows = {name: samples.rows(values, name) for name, values in given.items()}
        for name in ("heldout", "synthetic"):
            samples.same_width(rows["train"], rows[name], ("train", name))
        if not 1 <= cells <= len(rows["train"]):
            raise ValueError(f"cells is {cells} for {len(rows['train'])} training images: give 1 to that many")
        means = KMeans(cells, n_init=4, random_state=int(rng.integers(2**31)))
        means.fit(rows["train"].double().cpu().numpy())
        asked = torch.cat([rows["heldout"], rows["synthetic"].to(rows["heldout"].device)])
        distance = nearest(asked, rows["train"]).distances[:, 0]
        cell, real = means.predict(asked.double().cpu().numpy()), np.arange(len(asked)) < len(rows["heldout"])
        self.n, self._parts = len(asked), []
        for number in range(cells):
            at = np.flatnonzero(cell == number)
            m, s = int(real[at].sum()), int((~real[at]).sum())
            if min(m, s) >= _FEWEST:
                scale = np.sqrt(12 * m * s / (m + s + 1))
                self._parts.append((at, m, scale, WeightedAuroc(~real[at], distance[at])))
        if not self._parts:
            raise ValueError(f"no cell holds {_FEWEST} images of either side: give more images or fewer cells")
        self.value = float(self(np.ones((1, self.n)))[0])

    def __call__(self, weights: ArrayLike) -> np.ndarray:
        weights = np.asarray(weights)
        z = np.stack([scale * (area(weights[:, at]) - 0.5) for at, _, scale, area in self._parts], axis=1)
        share = np.array([m for _, m, _, _ in self._parts]) * np.isfinite(z)  # a draw may leave a cell empty
        with np.errstate(invalid="ignore"):
            return (np.nan_to_num(z) * share).sum(axis=1) / share.sum(axis=1)
