"""A matched split: patients of the training and the held-out side are alike, and the negative control resembles them.

Patients are matched as in case-control studies. If a few dozen patients per side were assigned at random, the sides
would differ by chance in traits to which attacks react, and an attack would flag patients who were not copied.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


class Sides(NamedTuple):
    """Rows of images on each side; apart from `known`, no patient is on two sides."""

    train: np.ndarray
    heldout: np.ndarray
    known: np.ndarray  # further images of the patients of train and heldout, which an attacker may hold
    negative_control: np.ndarray  # as many as in train, of disjoint patients matched with the held-out patients
    validation: np.ndarray  # images of further disjoint patients


def matched_split(
    images: ArrayLike,  # (n, s, s)
    patients: ArrayLike,  # (n,) the patient of each image
    *,
    view: ArrayLike,  # (n,) 0 or 1
    finding: ArrayLike,  # (n,) 0 or 1
    each: int,  # patients on the training side, and on the held-out side, at most
    validation: int,  # images in the validation set, at most
    rng: np.random.Generator,
    most: int = 2,  # images of a patient on a side, at most
) -> Sides:
    """Assign images to sides whose patients are alike in view, finding and distance from the mean image.

    Candidates for the training and the held-out side are patients with at least two images, of which at least one is
    left for `known`. They are sorted by view, by finding and by squared distance from the mean image, each averaged
    over the images of the patient, and of each two neighbours a coin sends one to training and the other to held-out.
    Disjoint patients are assigned to the held-out patients so that the sum of their distances is least; the distance
    is Euclidean in the same three traits, of which the third counts in standard deviations. If the assigned patients
    have fewer images than the training side, further disjoint patients follow in random order; if they have more,
    random images are left out. The validation set takes images of the remaining patients.

    Raises ValueError for columns of different lengths, NaN, `each` or `most` below 1, fewer than two patients with two
    images, and disjoint patients with fewer images than the training side.
    """
    images, patients, view, finding = _checked(images, patients, view, finding)
    if each < 1 or most < 1 or validation < 0:
        raise ValueError(f"each is {each}, most {most}, validation {validation}: give 1, 1 and 0 at least")
    order = np.lexsort((rng.random(len(patients)), patients))
    patients, view, finding = (of[order] for of in (patients, view, finding))
    people, first, count = np.unique(patients, return_index=True, return_counts=True)
    several = np.flatnonzero(count > 1)
    each = min(each, len(several) // 2)
    if each == 0 or len(people) == 2 * each:
        raise ValueError(f"{len(several)} of {len(people)} patients have two images: give two at least, and others")
    place = np.arange(len(patients)) - np.repeat(first, count)
    offered = place < np.minimum(most, np.repeat(np.maximum(count - 1, 1), count))
    owner, odd = np.searchsorted(people, patients[offered]), _from_the_mean(images, order[offered])
    view, finding, odd = (np.bincount(owner, of) / np.bincount(owner) for of in (view[offered], finding[offered], odd))
    candidates = rng.permutation(several)[: 2 * each]
    candidates = candidates[
        np.lexsort((odd[candidates], finding[candidates].round(), view[candidates].round()))
    ].reshape(-1, 2)
    train, heldout = people[rng.permuted(candidates, axis=1)].T
    candidates = people[candidates.ravel()]
    others = rng.permutation(np.setdiff1d(people, candidates))
    traits = np.stack([view, finding, odd / (odd.std() or 1)], axis=1)
    apart = cdist(*(traits[np.searchsorted(people, of)] for of in (heldout, others)))
    alike = linear_sum_assignment(apart)[1]
    turn = np.full(len(people), -1)
    turn[np.searchsorted(people, np.append(others[alike], np.delete(others, alike)))] = np.arange(len(others))
    turn = np.where(offered, np.repeat(turn, count), -1)
    ranked = np.argsort(turn, kind="stable")[(turn < 0).sum() :]
    rows = [np.flatnonzero(np.isin(patients, side) & offered) for side in (train, heldout)]
    rows += [np.flatnonzero(np.isin(patients, candidates) & ~offered)]
    needed, matched = len(rows[0]), (turn[ranked] < len(alike)).sum()
    if len(ranked) < needed:
        raise ValueError(
            f"disjoint patients have {len(ranked)} images and the training side {needed}: assign fewer patients"
        )
    # Surplus images are left out at random, so that the choice does not depend on the order of the pairs.
    rows += [ranked[np.sort(rng.permutation(max(needed, matched))[:needed])]]
    rows += [ranked[~np.isin(patients[ranked], patients[rows[3]])][:validation]]
    return Sides(*(order[of] for of in rows))


def _checked(images, patients, view, finding) -> list[np.ndarray]:
    columns = [np.asarray(of) for of in (images, patients, view, finding)]
    if len({len(of) for of in columns}) > 1:
        raise ValueError(f"images, patients, view and finding have {[len(of) for of in columns]} rows: give as many")
    for name, of in zip(("patients", "view", "finding"), columns[1:], strict=True):
        if of.dtype.kind == "f" and np.isnan(of).any():
            raise ValueError(f"{name} holds NaN: leave those images out")
    return columns


def _from_the_mean(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean squared distance (m,) of the images `rows` (m,) from the mean of all, in blocks to bound the memory."""
    mean = images.mean(axis=0)
    parts = [np.square(images[rows[i : i + 512]] - mean).mean(axis=(1, 2)) for i in range(0, len(rows), 512)]
    return np.concatenate(parts)
