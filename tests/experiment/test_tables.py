"""Typeset tables."""

import io

import numpy as np
import pandas as pd

from lib.experiment.tables import typeset_table, without_formulas


def test_typesetting_counts_deviations_and_minus():
    frame = pd.DataFrame({"n": [1104.0, np.nan], "d": [-0.5, 2.0], "d_sd": [0.1, 0.25], "said": ["yes", None]})
    shown = typeset_table(frame, digits=2)
    assert shown.to_dict("list") == {"n": ["1,104", ""], "d": ["−0.50 ± 0.10", "2.00 ± 0.25"], "said": ["yes", ""]}


def test_whole_numbers_among_others_have_no_decimals_and_measures_keep_theirs():
    frame = pd.DataFrame({"value": [760, 1.0, 0.25, -3, True]}, dtype=object)
    assert typeset_table(frame)["value"].tolist() == ["760", "1.000", "0.250", "−3", "True"]


def test_no_text_of_a_table_is_a_formula_and_no_number_changes():
    """A user's file may be called =HYPERLINK(…): a spreadsheet executes it when the table is opened."""
    formulas = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "-", "--"]
    numbers = ["-0.5", "+3", "-1e-05", "-inf", "0", "− 3", "a=b", "", None]
    frame = pd.DataFrame({"file": formulas + numbers, "x": -np.arange(19.0) / 3, "n": np.arange(19) - 9})
    frame["mixed"] = pd.Series(["=x", -1, 0.1, None] + [True] * 15, dtype=object)
    frame["kind"] = pd.Categorical(["=k"] * 19)
    frame["=heading"] = np.float32(1) / 3
    safe = without_formulas(frame)
    assert safe["file"].tolist()[:-1] == [f"'{text}" for text in formulas] + numbers[:-1]
    assert safe["mixed"].tolist()[:4] == ["'=x", -1, 0.1, None]
    assert set(safe["kind"]) == {"'=k"}
    assert list(safe.columns) == ["file", "x", "n", "mixed", "kind", "'=heading"]
    assert frame["file"].tolist()[:-1] == formulas + numbers[:-1]  # what was given is not touched
    kept = ["x", "n"]
    assert safe[kept].to_csv() == frame[kept].to_csv()
    pd.testing.assert_frame_equal(safe[kept], frame[kept])
    assert safe["'=heading"].dtype == np.float32
    harmless = pd.DataFrame({"text": ["a", None, "-0.50"], "x": [0.1, np.nan, -3]})
    assert without_formulas(harmless).to_csv(index=False) == harmless.to_csv(index=False)
    assert "\n=1" not in pd.read_csv(io.StringIO(safe.to_csv(index=False)))["file"].tolist()
