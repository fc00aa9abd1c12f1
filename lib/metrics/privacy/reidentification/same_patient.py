"""Do synthetic images come nearer to training patients than to held-out ones? A permutation test over patients.

Images are points of an embedding of identity. An image comes as near to a patient as to the nearest image of that
patient, by cosine. To some patients everybody comes nearer, to those of many images above all, and some images come
nearer to everybody. Both are taken out by the symmetric normalisation of speaker verification (S-norm: Kenny 2010), for
which real images are the cohort: the mean of the similarity standardised by what real images of different patients
reach with this patient, and of that standardised by what this image reaches with every patient.

Where no image shows a training patient, it is chance on which side the patients lie that synthetic images come nearest
to. So each patient is reached by the nearest synthetic image alone, of what exceeds the null (`NULL_SHARE` of real
patients come no nearer to a different one) the sum over training patients is taken, and the patients are permuted.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib.statistics import checks as samples

NULL_SHARE = 0.9  # of the null, below which nearness does not count


class Nearest(NamedTuple):
    """The patient that each of n images comes nearest to."""

    patient: np.ndarray  # (n,) int64 codes
    score: np.ndarray  # (n,) normalised

    def only(self, rows: np.ndarray) -> "Nearest":
        """Those of some of the images, copied."""
        return Nearest(self.patient[rows], self.score[rows])


class SamePatientTest(NamedTuple):
    """Outcome of `same_patient_test`."""

    pvalue: float  # one-sided; flag at or below the false-alarm rate that is accepted
    reached: np.ndarray  # (p,) by how much the nearest synthetic image of each patient exceeds the null, 0 at least
    is_beyond: np.ndarray  # (n,) bool, the images that come nearer to a patient than any two real patients are


def normalised_nearness(
    *, synthetic: ArrayLike, real: ArrayLike, patient: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """How near synthetic images (s, d) and real ones (n, d) come to each patient, S-norm: (s, p) and (n, p).

    All are unit vectors; patient: (n,). A real image and its own patient have −inf, and are not in the cohort. Float32.
    Raises ValueError for other shapes, NaN, fewer than three patients, or a patient to whom all come equally near.
    """
    made, known = (
        samples.matrix(of, name).numpy(force=True) for of, name in ((synthetic, "synthetic"), (real, "real"))
    )
    if made.shape[1] != known.shape[1]:
        raise ValueError(f"synthetic has {made.shape[1]} values a point and real {known.shape[1]}: use one embedding")
    code = samples.codes(patient, len(known), "patient")
    if code.max() < 2:
        raise ValueError(f"real points are of {code.max() + 1} patients: give three at least")
    order = np.argsort(code, kind="stable")
    starts = np.unique(code[order], return_index=True)[1]
    known_32, made_32 = known.astype(np.float32), made.astype(np.float32)
    to_real, to_made = (np.maximum.reduceat(of @ known_32[order].T, starts, axis=1) for of in (known_32, made_32))
    to_real[np.arange(len(code)), code] = np.nan
    centre, spread = np.nanmean(to_real, axis=0), np.nanstd(to_real, axis=0)
    if not spread.min() > 0:
        raise ValueError("all real images come equally near to a patient: the embedding tells nobody apart")
    by_patient = [(of - centre) / spread for of in (to_made, to_real)]
    by_image = [
        (of - np.nanmean(of, axis=1, keepdims=True)) / np.maximum(np.nanstd(of, axis=1, keepdims=True), 1e-6)
        for of in (to_made, to_real)
    ]
    of_made, of_real = ((a + b) / 2 for a, b in zip(by_patient, by_image, strict=True))
    return of_made, np.where(np.isnan(of_real), np.float32(-np.inf), of_real)


def nearest_patients(nearness: np.ndarray) -> Nearest:
    """The nearest patient of each image, from `normalised_nearness` (n, p)."""
    best = nearness.argmax(axis=1)
    return Nearest(best, nearness[np.arange(len(nearness)), best])


def null_scores(real: Nearest, patient: ArrayLike) -> np.ndarray:
    """How near each real patient comes to a different one: the largest score (p,) of the images of each `patient`."""
    code = samples.codes(patient, len(real.score), "patient")
    best = np.full(int(code.max()) + 1, -np.inf)
    np.maximum.at(best, code, real.score)
    return best


def permuted_within(
    values: np.ndarray, strata: np.ndarray, *, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Random permutations (permutations, n) of `values` (n,) within each of the `strata`, integer codes (n,)."""
    found = np.empty((permutations, len(values)), values.dtype)
    # Sorted by stratum, then by chance.
    order = np.argsort(strata + rng.random(found.shape), axis=1)
    np.put_along_axis(found, order, values[np.argsort(strata, kind="stable")][None], axis=1)
    return found


def same_patient_test(
    synthetic: Nearest,
    *,
    null: ArrayLike,
    member: ArrayLike,
    strata: ArrayLike | None = None,
    permutations: int = 999,
    rng: np.random.Generator,
) -> SamePatientTest:
    """Test whether synthetic images come nearer to the patients `member` (p,) than to the others.

    null: scores of real patients, as `null_scores` gives them. strata: (p,), within which patients are permuted, such
    as parts with an embedding each, or patients of one image and of several; None: all are one. The test is exact where
    it is chance, within a stratum, which patients were trained on. p = (1 + permutations at least as large) /
    (1 + permutations). Raises ValueError on NaN, other shapes, a side without patients, or fewer than ten null scores.
    """
    member, null = np.asarray(member, bool), samples.scores(null, "null")
    patient, score = np.asarray(synthetic.patient), samples.scores(synthetic.score, "scores")
    if member.ndim != 1 or member.all() or not member.any():
        raise ValueError("the patients are of one side only: give training and held-out patients")
    if patient.shape != score.shape or patient.min() < 0 or patient.max() >= len(member):
        raise ValueError(f"the nearest patients do not fit {len(score)} scores and {len(member)} patients")
    if len(null) < 10:
        raise ValueError(f"{len(null)} null scores are too few: give ten at least")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}: draw at least one")
    stratum = samples.codes(strata, len(member), "strata") if strata is not None else np.zeros(len(member), int)
    reached = np.zeros(len(member))
    np.maximum.at(reached, patient, score - np.quantile(null, NULL_SHARE))
    sums = permuted_within(member, stratum, permutations=permutations, rng=rng) @ reached
    at_least = int((sums >= reached[member].sum() - 1e-9).sum())
    return SamePatientTest((1 + at_least) / (1 + permutations), reached, score > null.max())
