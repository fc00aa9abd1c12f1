"""The search for copies: candidates by the embedding, in all eight symmetries, are registered, then compared."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from lib.audit.embedding import Embedding, learn_embedding
from lib.audit.normalisation import Normalised, normalised
from lib.audit.registration import DETAIL, compare, details, edges, register
from lib.audit.symmetries import INVERSE, NAMES, placed
from lib.metrics.privacy.copying.copy_test import Matches

CANDIDATES = 20  # real images that a query is registered with
_PER_PATIENT = 3  # of them at most, so that a patient of many images leaves room for the others
_LOOKED_AT = 5  # times as many are ranked, to find those of enough patients
_BLOCK = 64  # queries at a time

Progress = Callable[[int, int], None]  # done, of how many


class Gallery(NamedTuple):
    """The real images that queries are searched in."""

    embedding: Embedding
    vectors: torch.Tensor  # (n, d)
    edges: torch.Tensor  # (n, 2, SIZE, SIZE), of images that are registered
    detail: torch.Tensor  # (n, 3, D, D), of those that are compared
    patient: np.ndarray  # (n,) codes

    def only(self, rows: np.ndarray) -> "Gallery":
        """Those of some of the rows."""
        parts = (self.vectors[rows], self.edges[rows], self.detail[rows])
        return Gallery(self.embedding, *parts, self.patient[rows])


class Candidates(NamedTuple):
    """Outcome of `search` for s queries: k candidates of each."""

    row: np.ndarray  # (s, k) int64 of the gallery
    similarity: np.ndarray  # (s, k) float32, correlation once registered; -1 where there is no candidate
    symmetry: np.ndarray  # (s, k) int64, of `symmetries`: placed so, the query resembles the real image
    map: np.ndarray  # (s, k, 2, 3), then these points of it (`registration`)
    is_negative: np.ndarray  # (s, k) bool

    def only(self, rows: np.ndarray) -> "Candidates":
        """Those of some of the queries."""
        return Candidates(*(column[rows] for column in self))

    def within(self, rows: np.ndarray) -> "Candidates":
        """Those among the real images `rows` (m,), which are numbered anew in that order."""
        number = np.full(1 + max(self.row.max(initial=0), rows.max(initial=0)), -1)
        number[rows] = np.arange(len(rows))
        there = number[self.row]
        similarity = np.where(there >= 0, self.similarity, np.float32(-1))
        return self._replace(row=np.maximum(there, 0), similarity=similarity)


def open_gallery(images: np.ndarray, patient: np.ndarray, *, views: int, rng: np.random.Generator) -> Gallery:
    """Learn the embedding on the real `images` uint8 (n, H, W) and embed them; patient: codes (n,)."""
    embedding, of = learn_embedding(images, views=views, rng=rng), normalised(images)
    return Gallery(embedding, embedding.of(of.ranks), edges(of), _detail(images), np.asarray(patient))


@torch.no_grad()
def search(
    gallery: Gallery, images: np.ndarray, *, own: np.ndarray | None = None, progress: Progress = lambda done, of: None
) -> Candidates:
    """Search uint8 `images` (s, H, W) in the gallery; own (s,): their patients, who are left out, if they are real."""
    found: list[Candidates] = []
    for start in range(0, len(images), _BLOCK):
        of = normalised(images[start : start + _BLOCK])
        alike, symmetry = _in_all_symmetries(gallery, of)
        if own is not None:
            alike[torch.from_numpy(own[start : start + _BLOCK, None] == gallery.patient)] = -np.inf
        row, is_there = _candidates(alike, gallery.patient)
        way = symmetry.gather(1, row)
        # Instead of the query, each candidate is placed, the other way round: the query is then moved on the grid once.
        undone = torch.tensor(INVERSE)[way]
        registered = register(edges(of), _placed(gallery.edges, row, undone))
        detail = _detail(images[start : start + _BLOCK])
        similarity = compare(detail, _placed(gallery.detail, row, undone), registered)
        k = row.shape[1]
        similarity = torch.where(is_there, similarity.view(-1, k), -1)
        parts = (row, similarity, way, registered.map.view(-1, k, 2, 3), registered.is_negative.view(-1, k))
        found.append(Candidates(*(part.numpy() for part in parts)))
        progress(min(start + _BLOCK, len(images)), len(images))
    return Candidates(*(np.concatenate(column) for column in zip(*found, strict=True)))


def matches(
    candidates: Candidates, patient: np.ndarray, *, own: np.ndarray | None = None, usual: float
) -> Matches:  # fmt: skip
    """What the copy test takes: of each query the most similar real image, and its distance ratio.

    patient: codes (n,) of the real images; own (s,): patients to be left out. usual: as `usual_distance`; the nearest
    image of another patient counts as no farther, since of two images that differ from all others, such as two lateral
    views, neither is a copy. A query with candidates of one patient alone has the ratio 1.
    """
    row, similarity = candidates.row, _without(own, patient, candidates)
    best, others = _two_patients(row, similarity, patient)
    every = np.arange(len(row))
    nearest, most = row[every, best], similarity[every, best]
    near, next_near = distances(most), np.minimum(distances(others), usual)
    ratio = np.divide(near, next_near, out=np.ones(len(row)), where=(next_near > 0) & (others > -1))
    reached = np.full(len(patient), -1, np.float32)
    np.maximum.at(reached, row, similarity)
    return Matches(nearest, most.astype(float), candidates.symmetry[every, best], np.minimum(ratio, 1), reached)


def usual_distance(real: Candidates, patient: np.ndarray) -> float:
    """How far three of four real images, at most, lie from the nearest of the patient who comes second to them.

    real: the real images searched in themselves; patient: codes (n,). Infinite where no image has
    candidates of two patients.
    """
    _, others = _two_patients(real.row, _without(patient, patient, real), patient)
    return float(np.quantile(distances(others[others > -1]), 0.75)) if (others > -1).any() else math.inf


def _without(own: np.ndarray | None, patient: np.ndarray, candidates: Candidates) -> np.ndarray:
    """Similarities (s, k), -1 to images of the own patient (s,)."""
    if own is None:
        return candidates.similarity
    return np.where(patient[candidates.row] == own[:, None], np.float32(-1), candidates.similarity)


def _two_patients(row: np.ndarray, similarity: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each query the place of the most similar candidate, and the largest similarity of another patient, (s,)."""
    whose, best = patient[row], similarity.argmax(axis=1)
    is_same = whose == whose[np.arange(len(row)), best][:, None]
    return best, np.where(is_same, np.float32(-1), similarity).max(axis=1)


def distances(similarity: np.ndarray) -> np.ndarray:
    """√(1 − similarity), 0 where rounding alone leaves a difference."""
    return np.sqrt(np.where(1 - similarity < 1e-6, 0, 1 - similarity))


def _detail(images: np.ndarray) -> torch.Tensor:
    """`details` (n, 3, D, D) of uint8 images (n, H, W), at their own size up to DETAIL."""
    return details(normalised(images, min(DETAIL, *images.shape[1:])))


def _placed(channels: torch.Tensor, row: torch.Tensor, symmetry: torch.Tensor) -> torch.Tensor:
    """Those of the rows (s, k) of `channels` (n, ...), each in its symmetry (s, k)."""
    found = torch.empty(*row.shape, *channels.shape[1:])
    for number in range(len(NAMES)):
        at = symmetry == number
        found[at] = placed(channels[row[at]], number)
    return found


def _in_all_symmetries(gallery: Gallery, of: Normalised) -> tuple[torch.Tensor, torch.Tensor]:
    """How alike each query is to each real image by the embedding, (s, n), and in which symmetry it is most."""
    best, symmetry = torch.full((len(of.ranks), len(gallery.vectors)), -2.0), None
    symmetry = torch.zeros(best.shape, dtype=torch.int64)
    for number in range(len(NAMES)):
        alike = gallery.embedding.of(placed(of.ranks, number)) @ gallery.vectors.T
        symmetry[alike > best] = number
        best = torch.maximum(best, alike)
    return best, symmetry


def _candidates(alike: torch.Tensor, patient: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (s, k) of the most alike, few of each patient, and whether there is one at each place."""
    looked_at = min(_LOOKED_AT * CANDIDATES, alike.shape[1])
    value, row = alike.topk(looked_at, dim=1)
    whose = torch.from_numpy(patient)[row]
    before = torch.tril(whose[:, :, None] == whose[:, None], diagonal=-1).sum(dim=2)
    is_taken = (before < _PER_PATIENT) & torch.isfinite(value)
    # The taken ones first, in their order.
    order = torch.argsort((~is_taken).int(), dim=1, stable=True)[:, :CANDIDATES]
    return row.gather(1, order), is_taken.gather(1, order)
