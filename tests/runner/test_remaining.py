"""When a run will end: by hand."""

from datetime import datetime

import pytest

from lib.runner.remaining import end_after, seconds_left


@pytest.mark.parametrize(
    ("waiting", "running", "ended", "side_by_side", "seconds"),
    [
        ([None, None], [], [], 2, None),
        ([10, 10, 20], [], [], 2, 20),  # 40 on two sides
        ([10, 40], [], [], 2, 40),  # no shorter than its longest
        ([10, 10], [(30, 10)], [], 1, 40),
        ([], [(30, 50)], [], 1, 0),  # overdue
        ([10, 10], [], [(10, 20)], 1, 40),  # twice as slow as before
        ([None, None], [(None, 1)], [(None, 4)], 1, 11),
        ([10, None], [], [(None, 30)], 1, 30),  # an average one: of 30 now and 10 before
        ([], [], [(1, 1)], 1, 0),
    ],
)
def test_seconds_left(waiting, running, ended, side_by_side, seconds):
    assert seconds_left(waiting=waiting, running=running, ended=ended, side_by_side=side_by_side) == seconds


def test_end_after():
    now = datetime(2026, 11, 29, 23, 0)
    assert [end_after(seconds, now) for seconds in (0, 3599, 3600)] == ["23:00", "23:59", "Mon 00:00"]
