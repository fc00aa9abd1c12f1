"""What the audit sees of copies, by disguise, on real images.

    python benchmarks/audit_disguises.py nih_cxr14_1000 [--rows N] [--most PATIENTS]

Of a public cohort one image a patient is taken. Each split draws who is training, held out and offered as synthetic (a
half, a quarter, a quarter), puts copies of training images in the place of a share of the synthetic ones, and runs the
copy test at .05. Rows are written one by one to data/runs/benchmarks, and a row that is there is not measured again, so
that hours may be had in parts. In the splits of the first row nothing is copied. The embedding is learnt once, on all
of the images: what is measured is the audit as users run it, whose embedding has seen the real images too.
"""

import argparse
import time

import numpy as np
import torch
from kept_rows import KeptRows

from lib.audit.copies import VIEWS, closest_of_each
from lib.audit.disguises import DISGUISES, disguised
from lib.audit.matching import matches, open_gallery, search, usual_distance
from lib.cohorts.public import open_public
from lib.metrics.privacy.copying.copy_test import Matches, copy_test
from lib.statistics.proportions import proportion

SIZE, LEVEL, PERMUTATIONS = 64, 0.05, 199
SHARES = (0.01, 0.05, 0.2)
NULL = "nothing copied"


def images_of(name: str, most: int) -> np.ndarray:
    """One image of each of at most `most` patients of a public cohort, averaged to SIZE: uint8 (n, SIZE, SIZE)."""
    cohort = open_public(name)
    first = np.unique(cohort.patient, return_index=True)[1]
    rows = np.sort(np.random.default_rng(0).permutation(first)[:most])
    return cohort[rows].resized(SIZE).images[:].reshape(len(rows), SIZE, SIZE)


def measured(images: np.ndarray, disguise: str, share: float, *, splits: int, found: dict) -> dict:
    """A row: of `splits` splits with a share of copies in a disguise, how many are flagged, how they are ranked."""
    code, flagged, first, began = np.arange(len(images)), 0, [], time.perf_counter()
    copied = np.sort(np.random.default_rng(1).permutation(len(images))[: found["copies"]])
    if share and disguise not in found["searched"]:
        changed = disguised(images[copied], disguise, rng=np.random.default_rng(2))
        found["searched"] = {disguise: search(found["gallery"], changed)}
    for split in range(splits):
        rng = np.random.default_rng([3, split])
        part = rng.permutation(len(images)) % 4
        kept = np.flatnonzero(part > 0)
        member = part[kept] > 1
        among, who = found["real"].within(kept), code[kept]
        usual = usual_distance(among.only(kept), who)
        null = closest_of_each(matches(among.only(kept), who, own=who, usual=usual).ratio, np.arange(len(who)))
        offered = matches(among.only(part == 0), who, usual=usual)
        count = max(1, round(share * len(offered.nearest))) if share else 0
        at = rng.permutation(len(offered.nearest))[:count]
        if count:
            usable = np.flatnonzero(part[copied] > 1)
            chosen = np.resize(rng.permutation(usable), count)
            copies = matches(found["searched"][disguise].within(kept).only(chosen), who, usual=usual)
            columns = {name: getattr(offered, name).copy() for name in Matches._fields}
            for name in Matches._fields[:-1]:
                columns[name][at] = getattr(copies, name)
            offered = Matches(**columns)
        test = copy_test(offered, member=member, groups=who, null=null, permutations=PERMUTATIONS, rng=rng)
        flagged += test.pvalue <= LEVEL
        if count:
            first.append(np.isin(np.argsort(offered.ratio, kind="stable")[:count], at).mean())
    value, low, high = proportion(flagged, splits)
    row = {"disguise": disguise, "share": share, "splits": splits, "flagged": value, "low": low, "high": high}
    row |= {"ranked first": float(np.mean(first)) if first else None, "seconds": time.perf_counter() - began}
    return row | {"images": len(images)}


def main() -> None:
    """Measure the rows that OUT lacks, at most --rows of them, and print the table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_disguises.py")
    parser.add_argument("cohort", help="nih_cxr14_1000 or cbis_ddsm")
    parser.add_argument("--rows", type=int, default=10**6, help="measure so many rows, then stop")
    parser.add_argument("--disguises", nargs="*", default=[NULL, *DISGUISES])
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--null-splits", type=int, default=200)
    parser.add_argument("--most", type=int, default=600, help="patients")
    parser.add_argument("--copies", type=int, default=150, help="images that are copied in each disguise")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = KeptRows(f"audit_disguises_{options.cohort}_{options.most}", "disguise", "share")
    wanted = [(name, share) for name in options.disguises for share in (SHARES if name != NULL else (0.0,))]
    left = rows.left(wanted)[: options.rows]
    if left:
        images = images_of(options.cohort, options.most)
        code, rng = np.arange(len(images)), np.random.default_rng(0)
        began = time.perf_counter()
        gallery = open_gallery(images, code, views=VIEWS, rng=rng)
        print(f"{len(images)} images; embedding learnt in {time.perf_counter() - began:.0f} s", flush=True)
        found = {
            "gallery": gallery,
            "real": search(gallery, images, own=code),
            "copies": options.copies,
            "searched": {},
        }
        print(f"searched in themselves after {time.perf_counter() - began:.0f} s", flush=True)
    for name, share in left:
        splits = options.splits if share else options.null_splits
        rows.add(measured(images, name, share, splits=splits, found=found))
    print("| disguise | " + " | ".join(f"{100 * share:g} % flagged" for share in SHARES) + " | 5 % ranked first |")
    print("|---" * (len(SHARES) + 2) + "|")
    by = {(row["disguise"], row["share"]): row for row in rows}
    for name in options.disguises:
        if cells := [by.get((name, share)) for share in SHARES if (name, share) in by]:
            told = [f"{round(row['flagged'] * row['splits'])} of {row['splits']}" for row in cells]
            print(f"| {name} | " + " | ".join(told) + f" | {by.get((name, 0.05), cells[0])['ranked first']:.2f} |")
    if null := by.get((NULL, 0.0)):
        print(f"{NULL}: {null['flagged']:.3f} [{null['low']:.3f}, {null['high']:.3f}] of {null['splits']} splits")


if __name__ == "__main__":
    main()
