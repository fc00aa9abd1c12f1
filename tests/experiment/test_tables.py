"""Typeset tables."""

import numpy as np
import pandas as pd

from lib.experiment.tables import typeset_table


def test_typesetting_counts_deviations_and_minus():
    frame = pd.DataFrame({"n": [1104.0, np.nan], "d": [-0.5, 2.0], "d_sd": [0.1, 0.25], "said": ["yes", None]})
    shown = typeset_table(frame, digits=2)
    assert shown.to_dict("list") == {"n": ["1,104", ""], "d": ["−0.50 ± 0.10", "2.00 ± 0.25"], "said": ["yes", ""]}
