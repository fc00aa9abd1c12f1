"""Linkage of released images to patients, by a classifier that has learnt from other images of the candidates.

The classifier is Fisher's linear discriminant on principal components (Fisherfaces: Belhumeur, Hespanha and Kriegman
1997): with a handful of images of a person it recognises more than a small network does, in closed form. It has never
seen the defence. Candidates are people whose images the attacker holds, without knowing whether they are members. A
guess names 1 in as many people as there are candidates, and has an AUROC of .5 for membership.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from lib.statistics import checks as samples

# Images at a time: of 50,000 images of 128 px, float64 pixels and their singular vectors would take 30 GB.
_ROWS = 4096


class Linkage(NamedTuple):
    """Outcome of `link`."""

    people: np.ndarray  # (p,) the candidates, ascending
    posterior: np.ndarray  # (s, p) of each released image, rows adding up to 1
    scores: np.ndarray  # (p,) of each candidate: the largest posterior that a released image gives; larger, likelier in


def link(
    released: ArrayLike, *, known: ArrayLike, people: ArrayLike, components: int = 150, shrinkage: float = 0.05
) -> Linkage:
    """Link images `released` (s, ...) to the candidates `people` (n,) whose images `known` (n, ...) an attacker holds.

    Both are images or features of one space. The images are projected on at most `components` principal components of
    `known`, and whitened by the covariance within people, of which the share `shrinkage` is replaced by a multiple of
    the identity; the posterior is that of normal laws around each candidate's mean. Raises ValueError on NaN, an empty
    side, rows of different lengths, fewer than two candidates, or where nobody has two images.
    """
    known, released = np.asarray(known), np.asarray(released)
    for name, of in (("known", known), ("released", released)):
        if len(of) == 0:
            raise ValueError(f"{name} is empty: give one image at least")
    known, released = (of.reshape(len(of), -1) for of in (known, released))
    if known.shape[1] != released.shape[1]:
        raise ValueError(f"known has {known.shape[1]} values an image and released {released.shape[1]}: use one size")
    code = samples.codes(people, len(known), "people")
    candidates, count = np.unique(np.asarray(people)), np.bincount(code)
    if len(candidates) < 2 or len(known) <= len(candidates):
        raise ValueError(
            f"{len(known)} images of {len(candidates)} candidates: give two candidates, and two images of some"
        )
    centre = np.sum([block.sum(axis=0) for block in _blocks(known, "known")], axis=0) / len(known)
    axes = _principal(known, centre, min(components, len(known) - 1))
    points = np.concatenate([(block - centre) @ axes for block in _blocks(known, "known")])
    means = np.zeros((len(candidates), points.shape[1]))
    np.add.at(means, code, points)
    means /= count[:, None]
    apart = points - means[code]
    within = apart.T @ apart / (len(known) - len(candidates))
    round_ = max(np.trace(within) / len(within), 1e-12) * np.eye(len(within))
    whiten = np.linalg.cholesky(np.linalg.inv((1 - shrinkage) * within + shrinkage * round_))
    means, posterior = means @ whiten, np.empty((len(released), len(candidates)))
    for number, block in enumerate(_blocks(released, "released")):
        asked = (block - centre) @ axes @ whiten
        square = (asked**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * asked @ means.T
        weight = np.exp(-(square - square.min(axis=1, keepdims=True)) / 2)
        posterior[number * _ROWS : (number + 1) * _ROWS] = weight / weight.sum(axis=1, keepdims=True)
    return Linkage(candidates, posterior, posterior.max(axis=0))


def _blocks(rows: np.ndarray, name: str) -> Iterator[np.ndarray]:
    """The rows (n, d) in float64, some at a time."""
    for start in range(0, len(rows), _ROWS):
        yield samples.columns(rows[start : start + _ROWS], name)


def _principal(rows: np.ndarray, centre: np.ndarray, most: int) -> np.ndarray:
    """The first `most` principal axes (d, k) of the rows (n, d): of many rows, from their covariance."""
    if len(rows) <= _ROWS or len(rows) < rows.shape[1]:
        return np.linalg.svd(samples.columns(rows, "known") - centre, full_matrices=False)[2][:most].T
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for block in _blocks(rows, "known"):
        block = block - centre
        scatter += block.T @ block
    width = len(scatter)
    return eigh(scatter, subset_by_index=(width - min(most, width), width - 1), overwrite_a=True)[1][:, ::-1]
