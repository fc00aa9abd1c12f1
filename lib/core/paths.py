"""Where the files of the project lie, and the names of scales and cohorts that their paths contain."""

import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any, Literal

from lib.core.inputs import reading

SCALES = ("smoke", "demo", "study", "paper")
COHORTS: tuple[Literal["phantom", "public"], ...] = ("phantom", "public")


def root() -> Path:
    """The folder of the project, or the one that the environment variable SUITE_ROOT names (tests, scratch disks)."""
    return Path(os.environ.get("SUITE_ROOT") or Path(__file__).resolve().parents[2])


def tag(scale: str, cohort: str, seed: int) -> str:
    """The folder name of a run: scale-cohort, followed by -seedN unless the seed is 0.

    A rehearsal has its own, and so have other settings than paper.yaml's: scale-cohort[-seedN]-set-DIGEST.
    """
    scale = f"rehearsal{rehearsal()}" if rehearsal() else scale
    return f"{scale}-{cohort}{_seed_and_settings(seed)}"


def own_tag(scale: str, key: str, seed: int) -> str:
    """The folder name of a run of a user's own, which git ignores; `key` tells it from the others.

    No page of ours shows it. Other settings and seeds are in it as in `tag`.
    """
    return f"own-{scale}-{key}{_seed_and_settings(seed)}"


def given_tag() -> str:
    """The folder name of the run that executes this process and holds its lock; empty by hand, as in JupyterLab."""
    return os.environ.get("SUITE_RUN_TAG", "")


def trains_anew() -> bool:
    """Whether trainings that weights/ holds are to be made all the same: `./run_all.sh --train`."""
    return os.environ.get("SUITE_TRAIN") == "1"


def given_settings() -> dict[str, Any]:
    """The settings that replace those of paper.yaml in this process: `./run_all.sh --set NAME=VALUE`."""
    return json.loads(os.environ.get("SUITE_SETTINGS") or "{}")


def set_flags() -> str:
    """Those settings as a command line repeats them, each after a space."""
    return "".join(f" --set {shlex.quote(f'{name}={value}')}" for name, value in given_settings().items())


def rehearsal() -> int:
    """1 or 2 where the scale paper is rehearsed (`lib.runner.rehearsal`), on that many parts of its images; else 0."""
    return int(os.environ.get("SUITE_REHEARSAL") or 0)


def _seed_and_settings(seed: int) -> str:
    other = f"-set-{_digest(given_settings())}" if given_settings() else ""
    return (f"-seed{seed}" if seed else "") + other


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def published(name: str) -> Path:
    """The file `name` ("folder/file.csv") of published numbers, which lies beside the code wherever SUITE_ROOT points.

    Raises FileNotFoundError if there is no such file.
    """
    path = Path(__file__).resolve().parents[2] / "data" / "published" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such published numbers; take the whole repository")
    return reading(path)
