"""How often the audit flags that synthetic images show training patients, on real radiographs with follow-ups.

    python benchmarks/audit_same_patient.py [--rows N] [--null-splits 200] [--splits 20]

The radiographs are those of `nih_followup`. Each split draws of its patients who is training, held out and offered as
synthetic (a half, a quarter, a quarter), and puts other images of training patients, which are left out of the training
set, in the place of a share of the synthetic ones: one of each patient who has several, a second one where there are
too few. Whatever the audit learns, it learns anew in each split, on its training and held-out patients alone. Rows are
kept one by one in data/runs/benchmarks, and a row that is there is not measured again, so that a run may be had in
parts.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from kept_rows import KeptRows

from lib.audit.identity import Views
from lib.audit.same_patient import SHARES, Features, compared, cross_fitted, features_of
from lib.cohorts.public import open_public
from lib.statistics.proportions import proportion

LEVEL, PERMUTATIONS, COHORT = 0.05, 999, "nih_followup"


def injected_rows(patient: np.ndarray, training: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (count,) of images (n,) of `training` patients who keep an image: one of each first, then a second."""
    order = rng.permutation(np.flatnonzero(training))
    order = order[np.argsort(patient[order], kind="stable")]
    whose, start, images = np.unique(patient[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, images)
    usable = place < np.repeat(images, images) - 1
    return order[usable][np.lexsort((rng.random(usable.sum()), place[usable]))][:count]


def measured(features: Features, patient: np.ndarray, split: int, share: float) -> dict:
    """A row: is a split flagged, `share` of whose synthetic images are other images of training patients?"""
    rng, began = np.random.default_rng([5, split]), time.process_time()
    part = (rng.permutation(int(patient.max()) + 1) % 4)[patient]
    synthetic = np.flatnonzero(part == 0)
    count = round(share * len(synthetic))
    injected = injected_rows(patient, part > 1, count, rng)
    is_real = part > 0
    is_real[injected] = False
    real, offered = np.flatnonzero(is_real), np.r_[rng.permutation(synthetic)[count:], injected]
    seen = np.isin(features.views.row, real)
    views = Views(np.searchsorted(real, features.views.row[seen]), features.views.features[:, seen])
    code = np.unique(patient[real], return_inverse=True)[1]
    member = np.bincount(code, weights=part[real] > 1) > 0
    parts = cross_fitted(Features(features.real[real], views, features.real[offered]), code, member, rng)
    found = compared((one, one.synthetic, np.ones(len(one.row), bool)) for one in parts)
    test = found.test(found.queries, PERMUTATIONS, rng)
    near = np.concatenate([of.patient for of in found.queries])
    whose = np.concatenate([patient[real[one.row]][np.unique(one.patient, return_index=True)[1]] for one in parts])
    right = (whose[near] == np.tile(patient[offered], 2)).reshape(2, -1).any(axis=0)[len(offered) - count :]
    row: dict[str, float | None] = {
        "split": split,
        "share": share,
        "injected": count,
        "synthetic": len(offered),
        "training": int(member.sum()),
    }
    row |= {"heldout": int((~member).sum()), "p": test.pvalue, "flagged": int(test.pvalue <= LEVEL)}
    row |= {
        "named": float(right.mean()) if count else None,
        "beyond, train": int(test.is_beyond[found.member[near]].sum()),
    }
    row |= {"beyond, heldout": int(test.is_beyond[~found.member[near]].sum())}
    return row | {"seconds": round(time.process_time() - began, 2)}


def main() -> None:
    """Measure the rows that are not there, at most --rows of them, and print the table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_same_patient.py")
    parser.add_argument("--rows", type=int, default=10**6, help="measure so many rows, then stop")
    parser.add_argument("--splits", type=int, default=20, help="at each share")
    parser.add_argument("--null-splits", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [(split, share) for share in SHARES for split in range(options.splits)]
    wanted += [(split, 0.0) for split in range(options.null_splits)]
    rows = KeptRows(f"audit_same_patient_{COHORT}", "split", "share")
    left = rows.left(wanted)[: options.rows]
    if left:
        cohort = open_public(COHORT)
        images, patient = (
            cohort.images[:].reshape(len(cohort), 64, 64),
            np.unique(cohort.patient, return_inverse=True)[1],
        )
        features = features_of(images, images[:1], rng=np.random.default_rng(0))
        print(f"{len(images)} images of {patient.max() + 1} patients; their features took {time.process_time():.0f} s")
    for split, share in left:
        rows.add(measured(features, patient, split, share))
    table = pd.DataFrame(rows)
    for share, of in table.groupby("share"):
        value, low, high = proportion(int(of["flagged"].sum()), len(of))
        print(
            f"{100 * share:g} % injected ({of['injected'].median():.0f} of {of['synthetic'].median():.0f}): flagged "
            f"{of['flagged'].sum()} of {len(of)}, {value:.3f} [{low:.3f}, {high:.3f}]; named {of['named'].mean():.2f}"
        )


if __name__ == "__main__":
    main()
