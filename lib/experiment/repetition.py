"""What a finished repetition leaves: the numbers that a notebook measured in it, which are measured once.

A repetition of a study takes an hour, and weights made from real images stay where they were made. So its numbers are
the unit that is kept: paper.yaml declares them under `records` with a version, and `recorded` finds them again, in this
run or among the committed results, as long as settings, seed and version are the same::

    values = recorded(run, "02_fidelity_gate/gate", number, lambda: {"coverage": …})

    data/runs/TAG/PAPER/02_fidelity_gate/NUMBER/gate.npz, and committed in
    figures/reference/TAG/PAPER/records/02_fidelity_gate/NUMBER/gate.npz
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from lib.core.inputs import reading
from lib.core.machine import machine
from lib.core.paths import root, trains_anew
from lib.core.regular_files import require_regular
from lib.core.revision import revision
from lib.core.seeding import arithmetic_here
from lib.experiment.run import Run

_ABOUT = "about"  # the array that says how the others were made
_COUNTS = ("repetitions", "classifier_repetitions")  # settings that decide how many there are, and not what is in one


def recorded(
    run: Run, name: str, number: int, measure: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays by name that `measure()` gives of repetition `number`, measured where they are not on record.

    name: one that paper.yaml declares under `records`, NOTEBOOK/NAME. An array may not be called "about". What is found
    among the committed results is copied into this run, in one line that says who measured it; `--train` measures it
    anew. ValueError for an undeclared name, a number that is none from 0, and a damaged record.
    """
    key, own = _key(run, name, number), run.path(_file(name, number))
    found = _read(own, key)
    if found and not (trains_anew() and "committed" in found[1]):
        return found[0]
    if not trains_anew() and (found := _read(_committed(run, name, number), key)):
        arrays, made = found
        print(f"repetition {number}: {name} as measured by revision {made['revision']} on {made['date'][:16]}")
        _save(run, name, number, arrays, key, made | {"committed": True})
        return arrays
    arrays = {label: np.asarray(values) for label, values in measure().items()}
    if _ABOUT in arrays:
        raise ValueError(f"{name}: an array is called {_ABOUT!r}, the name of what says how the others were made")
    made = {
        "revision": revision(), "date": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "machine": machine(), "arithmetic": arithmetic_here(vars(run.settings).get("precision", "float32")),
    }  # fmt: skip
    _save(run, name, number, arrays, key, made)
    return arrays


def unrecorded(run: Run, name: str, numbers: Iterable[int]) -> list[int]:
    """Those of the repetitions `numbers` that `recorded` would measure."""
    anew, absent = trains_anew(), []
    for number in numbers:
        key = _key(run, name, number)
        own = _read(run.path(_file(name, number)), key)
        if own and not (anew and "committed" in own[1]) or not anew and _read(_committed(run, name, number), key):
            continue
        absent.append(number)
    return absent


def is_recorded(run: Run, names: Iterable[str], number: int) -> bool:
    """Whether all these records of repetition `number` are among the committed results: none of it need be trained."""
    places = {name: reading(_committed(run, name, number)) for name in names}
    return not trains_anew() and all(_read(place, _key(run, name, number)) for name, place in places.items())


def _key(run: Run, name: str, number: int) -> str:
    """What decides a record, as text."""
    if name not in run.paper.records:
        raise ValueError(f"paper.yaml declares no record {name!r}: {', '.join(run.paper.records) or 'none'}")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"repetition {number!r}: give a whole number from 0")
    settings = {setting: value for setting, value in vars(run.settings).items() if setting not in _COUNTS}
    of = [run.scale, run.cohort, run.source, run.seed, number, run.paper.records[name], settings]
    return json.dumps(of, sort_keys=True)


def _file(name: str, number: int) -> str:
    notebook, _, label = name.partition("/")
    return f"{notebook}/{number}/{label}.npz"


def _committed(run: Run, name: str, number: int) -> Path:
    return root() / "figures" / "reference" / run.tag / run.name / "records" / _file(name, number)


def _save(run: Run, name: str, number: int, arrays: dict[str, np.ndarray], key: str, made: dict) -> None:
    run.save(_file(name, number), arrays | {_ABOUT: np.array(json.dumps({"key": key, "made": made}))})


def _read(path: Path, key: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays of a record and how they were made; None where there is none, or one of something else."""
    if not path.exists():
        return None
    require_regular(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(_ABOUT)))
        return (arrays, dict(about["made"])) if about["key"] == key else None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"The record {path} is damaged: delete it, and it is measured again.") from error
