"""When a run will end, from how long its notebooks took before and from the pace of this run."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import fmean


def seconds_left(
    *,
    waiting: Sequence[float | None],
    running: Sequence[tuple[float | None, float]],
    ended: Sequence[tuple[float | None, float]],
    side_by_side: int,
) -> float | None:
    """The seconds that a run still takes, about; None if nothing is known yet.

    waiting: of each notebook that has not begun, its seconds in an earlier run, or None. running: the same, with the
    seconds since it began. ended: the same, with the seconds that it took now. A notebook without an earlier run is
    taken for an average one; earlier seconds count at the pace of this run.
    """
    both = [(before, now) for before, now in ended if before]
    pace = sum(now for _, now in both) / sum(before for before, _ in both) if both else 1.0
    before = [seconds for seconds in (*waiting, *(s for s, _ in running)) if seconds]
    known = [now for _, now in ended] + [pace * seconds for seconds in before]
    if not known:
        return None
    average = fmean(known)
    left = [pace * seconds if seconds else average for seconds in waiting]
    left += [max(0.0, (pace * seconds if seconds else average) - since) for seconds, since in running]
    return max(sum(left) / side_by_side, max(left, default=0.0))


def end_after(seconds: float, now: datetime) -> str:
    """The time of day in so many seconds, with the day of the week unless it is today."""
    end = now + timedelta(seconds=seconds)
    return end.strftime("%H:%M" if end.date() == now.date() else "%a %H:%M")
