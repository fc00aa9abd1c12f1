"""Many p values at once. Apart, so that a page of results needs no library that computes."""

from collections.abc import Mapping


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p values after Holm's correction (1979) over all of them: the family-wise error is held at any level.

    Raises ValueError for a p value outside [0, 1].
    """
    if wrong := [name for name, value in p.items() if not 0 <= value <= 1]:
        raise ValueError(f"the p value of {wrong[0]} is {p[wrong[0]]}: give one from 0 to 1")
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p}
