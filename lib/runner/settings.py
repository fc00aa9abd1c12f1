"""Settings given in place of those of paper.yaml, `./run_all.sh --set NAME=VALUE`: checked, and kept with their run."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.core.paths import given_settings, root
from lib.experiment.paper import load_paper

_FILE = "settings.json"


def check_settings(settings: dict[str, Any], papers: Sequence[str], scale: str) -> None:
    """Raise ValueError, naming the paper.yaml, unless each setting is one of every paper, with a value of its kind.

    A number replaces a number, and one above 0 one above 0; a list holds what the declared one holds; an absent value
    (None) may be replaced by anything.
    """
    for paper in papers if settings else ():
        loaded = load_paper(root() / "notebooks" / paper)
        where = f"notebooks/{paper}/paper.yaml"
        for name, value in settings.items():
            if name not in loaded.settings:
                raise ValueError(f"{where} has no setting {name!r}: choose of {', '.join(loaded.settings)}")
            if scale in loaded.scales:
                declared = loaded.settings[name][loaded.scales.index(scale)]
                if problem := _problem(declared, value):
                    raise ValueError(f"{name}={value}: {where} has {declared} at {scale}; {problem}")


def _problem(declared: Any, value: Any) -> str:
    if declared is None:
        return ""
    if isinstance(declared, bool) or isinstance(value, bool):
        return "" if isinstance(declared, bool) and isinstance(value, bool) else "give True or False for True or False"
    if isinstance(declared, int | float):
        if not isinstance(value, int | float) or not math.isfinite(value):
            return "give a number"
        if isinstance(declared, int) and not isinstance(value, int):
            return "give a whole number"
        return "give one above 0" if declared > 0 >= value else ""
    if isinstance(declared, list):
        if not isinstance(value, list) or not value:
            return "give a list, such as [1, 6]"
        return next(filter(None, (_problem(declared[0], of) for of in value)), "") if declared else ""
    return "" if isinstance(value, type(declared)) else f"give a {'text' if isinstance(declared, str) else 'mapping'}"


def keep_settings(folder: Path) -> None:
    """Leave the settings that this process is given in a run's folder, so that its page can be written again."""
    with atomic(folder / _FILE) as partial:
        partial.write_text(json.dumps(given_settings(), indent=1), encoding="utf-8")


def use_kept_settings(folder: Path) -> None:
    """Have this process use the settings that were given to the run in `folder`, if any were. ValueError if damaged."""
    if (folder / _FILE).exists():
        os.environ["SUITE_SETTINGS"] = json.dumps(read_object(folder / _FILE))
