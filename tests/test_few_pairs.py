"""A cohort of one's own may have few pairs of a finding: resamples without any are left out of its claims."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.statistics.repetitions import Repeated, repeated
from tests.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "01_han2019_radiographs" / "03_diversity_similarity.ipynb"
LABELS = ["mass", "edema"]
DRAWS = 40


def found_with(undefined: int) -> list[dict]:
    """Two records of similarities, the first resamples of which hold no pair of edema in hospital b."""
    rng, found = np.random.default_rng(0), []
    for _ in range(2):
        of = {"a|prevalence": np.array([0.3, 0.1]), "a|patients": 20, "b|patients": 20}
        for hospital in "ab":
            for label in LABELS:
                for kind in ("generated", "uniform noise", "label means"):
                    of[f"{hospital}|{kind}|{label}"] = rng.random()
                for kind in ("real", "first half", "second half"):
                    key = f"{hospital}|{kind}|{label}"
                    of |= {key: rng.random(), f"{key}, resampled": rng.random(DRAWS)}
        of["b|real|edema, resampled"][:undefined] = np.nan
        found.append(of)
    return found


@pytest.mark.parametrize("undefined", [0, 7, 30])
def test_resamples_without_a_pair_of_a_finding_are_left_out_and_too_many_are_not_testable(undefined):
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    (claims,) = (cell for cell in cells if "def mean_excess" in cell)
    recorded = {}

    def record(claim, values, *, nulls, shortfalls):
        recorded[claim] = [values, *nulls.values()]
        return "recorded"

    run = SimpleNamespace(record=record, untestable=lambda claim, why: why)
    names = {
        "run": run, "np": np, "pd": pd, "Repeated": Repeated, "repeated": repeated, "cohort": "public",
        "hospitals": ("a", "b"), "labels": {"a": LABELS, "b": LABELS}, "shortfalls": [],
        "found": found_with(undefined),
    }  # fmt: skip
    exec(claims, names)
    if undefined == 30:
        assert not recorded
        assert "75% of the resamples of the patients hold no pair of a finding" in names["verdicts"]["C9"]
    else:
        assert set(recorded) == {"C9", "C10"}
        for of in (of for every in recorded.values() for of in every):
            assert of.draws.shape == (2, DRAWS - undefined)
            assert np.isfinite(of.draws).all()
