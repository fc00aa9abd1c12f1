"""Tables as a reader sees them: rounded numbers, with intervals and deviations beside their values."""

import math

import pandas as pd

# Beginnings of a formula, also in their full-width forms, which some spreadsheets take alike.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def typeset_table(frame: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """A table of strings, one for each cell as a reader sees it.

    Numbers have `digits` decimals, and whole ones (int), and columns of whole numbers, none. Columns `x`, `x_low`,
    `x_high` become one column "x [low, high]", and `x`, `x_sd` become "x ± sd". A missing value becomes an empty
    string.
    """

    def texts(column: str) -> list[str]:
        values = frame[column].tolist()
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
        places = digits if any(v != int(v) for v in numbers) else 0
        return [_cell(value, places) for value in values]

    shown = {}
    for column in frame.columns:
        base = column.removesuffix("_low").removesuffix("_high").removesuffix("_sd")
        if base != column and base in frame.columns:
            continue
        cells = texts(column)
        for suffixes, form in ((("_low", "_high"), "{} [{}, {}]"), (("_sd",), "{} ± {}")):
            if all(column + suffix in frame.columns for suffix in suffixes):
                extra = zip(*(texts(column + suffix) for suffix in suffixes), strict=True)
                cells = [form.format(c, *e) if c and all(e) else c for c, e in zip(cells, extra, strict=True)]
        shown[column] = cells
    return pd.DataFrame(shown)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with an apostrophe before each text, cell or heading, that a spreadsheet would execute.

    Such a text begins with =, +, -, @, a tab or a line break, and is no number. Numbers, also those stored as text,
    and columns of another kind than text stay as they are, to the last digit.
    """
    columns = {_inert(name): _inert_column(frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index)


def _inert_column(column: pd.Series) -> pd.Series:
    if column.dtype.kind != "O":
        return column
    return pd.Series([_inert(cell) for cell in column], index=column.index, dtype=object)


def _inert(cell):
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _cell(value, places: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 0 < abs(value) < 0.5 * 10**-places and places:
            return f"{value:.1e}".replace("-", "−")
        return f"{value:,.{places if abs(value) < 1000 and not isinstance(value, int) else 0}f}".replace("-", "−")
    return str(value)
