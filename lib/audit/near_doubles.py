"""Real images that are nearly one: the same image stored twice, such as re-encoded, under two names.

They would blind the audit. Each is in the null a match as close as a copy, so that a copy is none of its outliers; and
a copy of either has two sources, none of which it resembles more than the other. So they are merged into one image.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lib.audit.matching import Candidates, distances

LEAST, MOST = 0.2, 0.5  # shares of an image's median distance to its candidates, between which the limit lies
CHANCE = 0.01  # that among images of which none is a near-double one is taken for one


class Doubles(NamedTuple):
    """Outcome of `merge_doubles` for n real images."""

    pairs: np.ndarray  # (p, 2) int64, rows of near-doubles, the smaller first
    kept: np.ndarray  # (n,) bool: the first of each, and no held-out image of a patient who was trained on
    patient: np.ndarray  # (n,) codes; patients of one side who share an image are one
    trained_on: (
        np.ndarray
    )  # (h,) rows of held-out images that are left out, for a near-double of one of their patient's


def find_doubles(real: Candidates) -> np.ndarray:
    """Rows (p, 2) of near-doubles among real images searched in themselves, the smaller row first.

    A near-double is nearer than a share of the median distance to the candidates, so that several doubles do not hide
    each other. The limit is the share that one image in n / CHANCE falls short of, if −log share has an exponential
    tail; its rate is read between the median and the upper quartile, which some near-doubles do not move.
    """
    apart, there = distances(real.similarity), real.similarity > -1
    rows = np.flatnonzero(there.any(axis=1))
    middle = np.full(len(apart), np.nan)
    middle[rows] = np.nanmedian(np.where(there, apart, np.nan)[rows], axis=1)
    share = np.where(there, apart, np.inf) / middle[:, None]
    median, quartile = np.quantile(-np.log(np.maximum(share[rows].min(axis=1), 1e-6)), [0.5, 0.75])
    limit = np.exp(-median - (quartile - median) / np.log(2) * np.log(0.5 * len(rows) / CHANCE))
    query, place = np.nonzero(share < np.clip(limit, LEAST, MOST))
    return np.unique(np.sort(np.stack([query, real.row[query, place]], axis=1), axis=1), axis=0)


def merge_doubles(pairs: np.ndarray, *, member: np.ndarray, patient: np.ndarray) -> Doubles:
    """Merge the near-doubles `pairs` (p, 2) of real images, `member` (n,) or held out, of the patients (n,) codes."""
    n = len(member)
    image = _connected(pairs, n)
    across = member[pairs[:, 0]] != member[pairs[:, 1]]
    who = _connected(patient[pairs[~across]], int(patient.max()) + 1)[patient]
    held = np.where(member[pairs], -1, who[pairs])[across].max(axis=1, initial=-1)
    trained_on = np.isin(who, held) & ~member
    # The first of each, of those that stay.
    order = np.lexsort((np.arange(n), trained_on, image))
    first = np.zeros(n, bool)
    first[order[np.r_[True, image[order][1:] != image[order][:-1]]]] = True
    return Doubles(pairs, first & ~trained_on, who, np.flatnonzero(trained_on))


def _connected(pairs: np.ndarray, n: int) -> np.ndarray:
    """Of n things, which are connected by `pairs` (p, 2): codes (n,)."""
    return connected_components(coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n)))[1]
