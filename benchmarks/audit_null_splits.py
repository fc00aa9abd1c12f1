"""What whole audits of sets that copy nobody answer, on real images.

    python benchmarks/audit_null_splits.py nih_cxr14_1000 [--splits 200 --most PATIENTS]

One image a patient, as in `audit_disguises`. Each split draws who is training, held out and offered as synthetic (a
half, a quarter, a quarter), all of disjoint patients; then the whole audit is run but for what no verdict
needs: disguises that are not declared. The search, nearly all of an audit's time, is done once, on all images, and so
is the embedding learnt. Splits are written one by one to data/runs/benchmarks, and one that is there is not run again.
"""

import argparse
import time
from collections import Counter

import numpy as np
import torch
from audit_disguises import images_of
from kept_rows import KeptRows

from lib.audit.assessment import THOROUGH, concluded
from lib.audit.copies import GIVEN, VIEWS, tested
from lib.audit.disguises import DECLARED, disguised
from lib.audit.inputs import SIZES, open_sets
from lib.audit.matching import open_gallery, search
from lib.audit.near_doubles import find_doubles, merge_doubles
from lib.cohorts.cohort import Cohort
from lib.core.seeding import numpy_generator
from lib.statistics.proportions import proportion

_COPIED = 150  # images that are copied in each declared disguise, of which a split takes those of training


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
        find_doubles(searched["real"].within(rows).only(rows)), member=member, patient=np.arange(len(rows))
    )
    row = np.flatnonzero(doubles.kept)
    rows, code = rows[row], np.unique(doubles.patient[row], return_inverse=True)[1]
    copied = np.flatnonzero(np.isin(rows, searched["copied"]) & member[row])
    copied = np.sort(rng.permutation(copied)[: THOROUGH.copies])
    places = np.searchsorted(searched["copied"], rows[copied])
    found = tested(
        searched["gallery"].only(rows)._replace(patient=code),
        real=searched["real"].within(rows).only(rows),
        given=searched["real"].within(rows).only(sides["synthetic"]),
        copies={name: searched[name].within(rows).only(places) for name in DECLARED},
        copied=copied, doubles=doubles, row=row, member=member[row], is_heldout=True,
        permutations=THOROUGH.permutations, rng=rng,
    )  # fmt: skip
    said = concluded(sets, found, THOROUGH, disguises=DECLARED, seed=split).verdict
    pvalue = found.sets[GIVEN].test.pvalue
    return {"split": split, "answer": said.answer, "p": pvalue, "because": list(said.because)}


def main() -> None:
    """Run the splits that OUT lacks, and print how often each answer was given."""
    parser = argparse.ArgumentParser(prog="python benchmarks/audit_null_splits.py")
    parser.add_argument("cohort", help="nih_cxr14_1000 or cbis_ddsm")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--most", type=int, default=600, help="patients")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = KeptRows(f"audit_null_splits_{options.cohort}_{options.most}", "split")
    left = rows.left([(split,) for split in range(options.splits)])
    if left:
        images, began = images_of(options.cohort, options.most), time.perf_counter()
        code, copied = np.arange(len(images)), np.random.default_rng(1).permutation(len(images))[:_COPIED]
        gallery = open_gallery(images, code, views=VIEWS, rng=np.random.default_rng(0))
        searched = {"gallery": gallery, "real": search(gallery, images, own=code), "copied": np.sort(copied)}
        for number, name in enumerate(DECLARED):
            changed = disguised(images[searched["copied"]], name, rng=np.random.default_rng([2, number]))
            searched[name] = search(gallery, changed)
        print(f"{len(images)} images and their copies searched in {time.perf_counter() - began:.0f} s", flush=True)
    for (split,) in left:
        rows.add(audited(images, searched, split))
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
