"""The one cast of a column of numbers to integers: exact, or refused."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


def exact_cast(values: ArrayLike, dtype: DTypeLike, column: str) -> np.ndarray:
    """`values` (any shape; numbers or booleans) as the integers of `dtype`, each equal to what was given.

    Raises ValueError that names `column` and the first value that would change: a fraction, NaN, infinity, a number
    beyond `dtype`, or one so large that its floating-point type no longer tells it from its neighbours. Text and
    objects are no numbers, and are refused as well.
    """
    given, dtype = np.asarray(values), np.dtype(dtype)
    if given.dtype.kind not in "biuf" and given.size:
        raise ValueError(f"{column} holds {given.dtype}, first {given.flat[0]!r}; give whole numbers")
    with np.errstate(invalid="ignore"):  # what the cast of NaN and of infinity warns of is refused here
        cast = given.astype(dtype)
    same = cast == given
    if given.dtype.kind == "f":
        same &= np.abs(given) < 2.0 ** (np.finfo(given.dtype).nmant + 1)
    if not same.all():
        wrong = given[~same].flat[0]
        raise ValueError(f"{column} holds {wrong!s}, which is no whole number of {dtype}; give whole numbers")
    return cast
