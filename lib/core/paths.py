"""Where the files of the project lie, and the names of its scales and cohorts, of which paths are made."""

import os
from pathlib import Path
from typing import Literal

from lib.core.inputs import reading

SCALES = ("smoke", "demo", "paper")
COHORTS: tuple[Literal["phantom", "public"], ...] = ("phantom", "public")


def root() -> Path:
    """The project's folder; the environment variable SUITE_ROOT names another one (tests, scratch disks)."""
    return Path(os.environ.get("SUITE_ROOT") or Path(__file__).resolve().parents[2])


def tag(scale: str, cohort: str, seed: int) -> str:
    """The folder name of a run: scale-cohort, with the seed unless it is 0."""
    return f"{scale}-{cohort}" + (f"-seed{seed}" if seed else "")


def published(name: str) -> Path:
    """The file `name` ("folder/file.csv") of numbers read off a paper: beside the code, wherever SUITE_ROOT points.

    Raises FileNotFoundError for a name that is not there.
    """
    path = Path(__file__).resolve().parents[2] / "data" / "published" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such published numbers; take the whole repository")
    return reading(path)
