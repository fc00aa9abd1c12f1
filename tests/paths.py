"""Where the checkout, the oracles and the shared public data lie."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORACLES = ROOT / "tests" / "oracles"
SHARED = ROOT.parent / "shared" / "data"


def shared(name: str) -> Path:
    """The folder of public set `name` among the shared data; the test is skipped where it is not there."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: real images come with the workplace, not with the project")
    return folder
