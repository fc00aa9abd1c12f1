"""Claims of Han 2019 where patients are resampled, on a cohort of one's own as on a public one, from toy records."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.statistics.repetitions import Repeated, repeated
from tests.paths import ROOT

NOTEBOOKS = ROOT / "notebooks" / "01_han2019_radiographs"
LABELS = ["mass", "edema"]
DRAWS = 40


def cell(notebook: str, holds: str) -> str:
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text())["cells"]
    (found,) = (source for source in ("".join(cell["source"]) for cell in cells) if holds in source)
    return found


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
    exec(cell("03_diversity_similarity", "def mean_excess"), names)
    if undefined == 30:
        assert not recorded
        assert "75% of the resamples of the patients hold no pair of a finding" in names["verdicts"]["C9"]
    else:
        assert set(recorded) == {"C9", "C10"}
        for of in (of for every in recorded.values() for of in every):
            assert of.draws.shape == (2, DRAWS - undefined)
            assert np.isfinite(of.draws).all()


def test_of_one_finding_alone_no_rank_and_no_response_of_others_is_asked_for():
    recorded = []
    run = SimpleNamespace(
        record=lambda claim, values, *, nulls, shortfalls: recorded.append(claim), untestable=lambda claim, why: why
    )
    found = [{key: of for key, of in each.items() if "edema" not in key} for each in found_with(0)]
    names = {
        "run": run, "np": np, "pd": pd, "Repeated": Repeated, "repeated": repeated, "cohort": "public",
        "hospitals": ("a", "b"), "labels": {"a": LABELS[:1], "b": LABELS[:1]}, "shortfalls": [], "found": found,
    }  # fmt: skip
    exec(cell("03_diversity_similarity", "def mean_excess"), names)
    assert recorded == ["C9"]
    assert names["verdicts"]["C10"] == "there is one finding alone, which has no rank"
    columns = {"diagonal": 0.5, "off diagonal": np.nan, "above chance": 0.1}
    kinds = ["generated", "uniform noise", "label means"] * 2
    names |= {"responses": pd.DataFrame({"drawn by": kinds} | columns), "labels": LABELS[:1], "partial": partial}
    names["found"] = [{"patients": 20}] * 2
    exec(cell("03_diversity_correlation", "def of_column"), names)
    assert recorded == ["C9", "C6_diagonal"]
    assert {names["verdicts"][claim] for claim in ("C6_contrast", "C6_tops", "C7", "C8")} == {
        "there is one finding alone, beside which none can respond"
    }


def test_answers_of_machines_are_told_from_their_resamples():
    rng, tables = np.random.default_rng(0), []
    one = {f"{of}generated|network": rng.random() for of in ("", "a|", "b|")}
    record = one | {"generated|network, resampled": rng.random(DRAWS), "patients": 20}
    names = {
        "run": SimpleNamespace(table=lambda name, table, n: tables.append(table)), "np": np, "pd": pd,
        "repeated": repeated, "recorded": lambda *_: record, "run_ahead": lambda jobs: None, "read": None,
        "unrecorded": lambda *_: (), "partial": lambda *_: None, "hospitals": ("a", "b"), "kinds_of_sets": (),
        "s": SimpleNamespace(repetitions=2, evaluation_size=8, evaluation_steps=1),
    }  # fmt: skip
    exec(cell("02_fidelity", 'run.table("tab_p7'), names)
    assert set(names["of"]) == {"generated|network"}
    assert names["of"]["generated|network"].draws.shape == (2, DRAWS)
    assert tables[0].hospital.tolist() == ["A", "B"]
