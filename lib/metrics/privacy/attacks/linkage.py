"""Linkage of released images to patients, by a classifier that has learnt from other images of the candidates.

The classifier is Fisher's linear discriminant on principal components (Fisherfaces: Belhumeur, Hespanha and Kriegman
1997): with a handful of images of a person it recognises more than a small network does, in closed form. It has never
seen the defence. Candidates are people whose images the attacker holds, without knowing whether they are members. A
guess names 1 in as many people as there are candidates, and has an AUROC of .5 for membership.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples


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
    known = samples.columns(known.reshape(len(known), -1), "known")
    released = samples.columns(released.reshape(len(released), -1), "released")
    if known.shape[1] != released.shape[1]:
        raise ValueError(f"known has {known.shape[1]} values an image and released {released.shape[1]}: use one size")
    code = samples.codes(people, len(known), "people")
    candidates, count = np.unique(np.asarray(people)), np.bincount(code)
    if len(candidates) < 2 or len(known) <= len(candidates):
        raise ValueError(
            f"{len(known)} images of {len(candidates)} candidates: give two candidates, and two images of some"
        )
    centre = known.mean(axis=0)
    axes = np.linalg.svd(known - centre, full_matrices=False)[2][: min(components, len(known) - 1)].T
    points, asked = (known - centre) @ axes, (released - centre) @ axes
    means = np.zeros((len(candidates), points.shape[1]))
    np.add.at(means, code, points)
    means /= count[:, None]
    apart = points - means[code]
    within = apart.T @ apart / (len(known) - len(candidates))
    round_ = max(np.trace(within) / len(within), 1e-12) * np.eye(len(within))
    whiten = np.linalg.cholesky(np.linalg.inv((1 - shrinkage) * within + shrinkage * round_))
    asked, means = asked @ whiten, means @ whiten
    square = (asked**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * asked @ means.T
    weight = np.exp(-(square - square.min(axis=1, keepdims=True)) / 2)
    posterior = weight / weight.sum(axis=1, keepdims=True)
    return Linkage(candidates, posterior, posterior.max(axis=0))
