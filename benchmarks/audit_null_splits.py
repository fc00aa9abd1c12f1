"""What whole audits of sets that copy nobody answer, on real images.

    python benchmarks/audit_null_splits.py nih_cxr14_1000 [--splits 200 --most PATIENTS]

One image a patient, as in `audit_disguises`. Each split draws who is training, held out and offered as synthetic (a
half, a quarter, a quarter), all of disjoint patients; then the whole audit is run but for what no verdict
needs: disguises that are not declared. The search, nearly all of an audit's time, is done once, on all images, and so
is the embedding learnt. Splits are written one by one to data/runs/benchmarks, and one that is there is not run again.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from audit_disguises import images_of

from lib.audit.assessment import THOROUGH, concluded
from lib.audit.copies import GIVEN, VIEWS, tested
from lib.audit.disguises import DECLARED, disguised
from lib.audit.inputs import SIZES, open_sets
from lib.audit.matching import Candidates, open_gallery, search
from lib.audit.near_doubles import find_doubles, merge_doubles
from lib.cohorts.cohort import Cohort
from lib.core.files import atomic
from lib.core.paths import root
from lib.core.revision import revision
from lib.core.seeding import numpy_generator
from lib.statistics.proportions import proportion

_COPIED = 150  # images that are copied in each declared disguise, of which a split takes those of training


def among(found: Candidates, rows: np.ndarray, images: int) -> Candidates:
    """Candidates among the real images `rows`, numbered in that order, of `images` in all."""
    number = np.full(images, -1)
    number[rows] = np.arange(len(rows))
    there = number[found.row]
    return found._replace(
        row=np.maximum(there, 0), similarity=np.where(there >= 0, found.similarity, np.float32(-1))
    )  # fmt: skip


def audited(images: np.ndarray, searched: dict, split: int) -> dict:
    """The answer of the audit of one split, and whether its copy test is flagged."""
    rng, n = np.random.default_rng([4, split]), len(images)
    part = rng.permutation(n) % 4
    sides = {"train": np.flatnonzero(part > 1), "heldout": np.flatnonzero(part == 1)}
    sides["synthetic"] = np.flatnonzero(part == 0)
    none = np.zeros(n, int)
    names = np.arange(n).astype(str)
    whole = Cohort(images, np.arange(n), none, none, source_name=names, name="real", label_names=("image",))
    sets = open_sets(
        **{name: whole[rows] for name, rows in sides.items()},
        sizes=SIZES, audit_size=SIZES[0], most=n, rng=numpy_generator(split, "open"),
    )  # fmt: skip
    rows = np.concatenate([sides["train"], sides["heldout"]])
    member = np.arange(len(rows)) < len(sides["train"])
    doubles = merge_doubles(
        find_doubles(among(searched["real"], rows, n).only(rows)), member=member, patient=np.arange(len(rows))
    )
    row = np.flatnonzero(doubles.kept)
    rows, code = rows[row], np.unique(doubles.patient[row], return_inverse=True)[1]
    copied = np.flatnonzero(np.isin(rows, searched["copied"]) & member[row])
    copied = np.sort(rng.permutation(copied)[: THOROUGH.copies])
    places = np.searchsorted(searched["copied"], rows[copied])
    found = tested(
        searched["gallery"].only(rows)._replace(patient=code),
        real=among(searched["real"], rows, n).only(rows),
        given=among(searched["real"], rows, n).only(sides["synthetic"]),
        copies={name: among(searched[name], rows, n).only(places) for name in DECLARED},
        copied=copied, doubles=doubles, row=row, member=member[row], is_heldout=True,
        permutations=THOROUGH.permutations, rng=rng,
    )  # fmt: skip
    said = concluded(sets, found, THOROUGH, disguises=DECLARED, seed=split).verdict
    pvalue = found.sets[GIVEN].test.pvalue
    return {"split": split, "answer": said.answer, "p": pvalue, "because": said.because, "revision": revision()}


def main() -> None:
    """Run the splits that OUT lacks, and print how often each answer was given."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_null_splits.py")
    parser.add_argument("cohort", help="nih_cxr14_1000 or cbis_ddsm")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--most", type=int, default=600, help="patients")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = Path(root() / "data" / "runs" / "benchmarks" / f"audit_null_splits_{options.cohort}_{options.most}.json")
    rows = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    left = sorted(set(range(options.splits)) - {row["split"] for row in rows})
    if left:
        images, began = images_of(options.cohort, options.most), time.perf_counter()
        code, copied = np.arange(len(images)), np.random.default_rng(1).permutation(len(images))[:_COPIED]
        gallery = open_gallery(images, code, views=VIEWS, rng=np.random.default_rng(0))
        searched = {"gallery": gallery, "real": search(gallery, images, own=code), "copied": np.sort(copied)}
        for number, name in enumerate(DECLARED):
            changed = disguised(images[searched["copied"]], name, rng=np.random.default_rng([2, number]))
            searched[name] = search(gallery, changed)
        print(f"{len(images)} images and their copies searched in {time.perf_counter() - began:.0f} s", flush=True)
    for split in left:
        rows.append(audited(images, searched, split))
        print(f"{split}: {rows[-1]['answer']}, p = {rows[-1]['p']:.3f}", flush=True)
        with atomic(out) as partial:
            partial.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for answer, count in Counter(row["answer"] for row in rows).most_common():
        print("{}: {} of {}, {:.3f} [{:.3f}, {:.3f}]".format(answer, count, len(rows), *proportion(count, len(rows))))
    flagged = sum(row["p"] <= THOROUGH.level for row in rows)
    print(
        "copy test flagged: {} of {}, {:.3f} [{:.3f}, {:.3f}]".format(
            flagged, len(rows), *proportion(flagged, len(rows))
        )
    )


if __name__ == "__main__":
    main()
