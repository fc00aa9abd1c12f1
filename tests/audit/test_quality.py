"""The quality of equal sets and of a bad one."""

import numpy as np
import pandas as pd

from lib.audit.quality import quality_rows


def test_quality_of_equal_sets_and_of_a_bad_one():
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (60, 16, 16)).astype(np.uint8) for name in ("train", "heldout", "synthetic")}
    images["synthetic"] = np.repeat(images["synthetic"][:6] // 4, 10, axis=0)
    groups = {name: np.arange(60) // (1 if name == "synthetic" else 2) for name in images}

    def extract(some):
        return np.stack([some.mean(axis=(1, 2)), some.std(axis=(1, 2)), some[:, 0, 0]], axis=1)

    rows = quality_rows(extract, images, groups, most=40, subsets=3, draws=50, rng=rng)
    table = pd.DataFrame(rows).set_index("measure")
    assert (table["n of each"] == 40).all()
    assert table.synthetic.iloc[0] > 5 * table["held-out"].iloc[0]
    assert table.synthetic["classifier two-sample test, AUROC"] > 0.95
    assert table.synthetic["coverage"] < table["held-out"]["coverage"]
    for column in ("synthetic", "held-out"):
        assert ((table[f"{column}_low"] <= table[column]) & (table[column] <= table[f"{column}_high"])).all()
