"""What a finished repetition leaves: the numbers that a notebook measured in it, which are measured once.

A repetition of a study takes an hour, and weights made from real images stay where they were made. So its numbers are
the unit that is kept, in this run and among the committed results::

    values = recorded(run, "02_fidelity_gate/gate", number, lambda: {"coverage": …})

    data/runs/TAG/PAPER/02_fidelity_gate/NUMBER/gate.npz, and committed in
    figures/reference/TAG/PAPER/records/02_fidelity_gate/NUMBER/gate.npz

They are found again as long as all that decides them is the same: settings, seed, the version that paper.yaml gives the
record (to be raised when lib comes to measure otherwise), and the cells tagged `record` of its notebook and of those
that this one needs. A run's own must also rest on the same files of those notebooks.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.core.inputs import reading
from lib.core.json_objects import read_object
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
    key, inputs = _key(run, name, number), _inputs(run, name)
    found = _found(run, name, number, key, inputs)
    if found is None:
        arrays = {label: np.asarray(values) for label, values in measure().items()}
        if _ABOUT in arrays:
            raise ValueError(f"{name}: an array is called {_ABOUT!r}, the name of what says how the others were made")
        made = {
            "revision": revision(), "date": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            "machine": machine(), "arithmetic": arithmetic_here(run.settings.asked_precision),
        }  # fmt: skip
    elif found.is_own:
        return found.arrays
    else:
        arrays, made = found.arrays, found.made | {"committed": True}
        print(f"repetition {number}: {name} as measured by revision {made['revision']} on {made['date'][:16]}")
    _save(run, name, number, arrays, key, made | {"inputs": inputs})
    return arrays


def unrecorded(run: Run, name: str, numbers: Iterable[int]) -> list[int]:
    """Those of the repetitions `numbers` that `recorded` would measure."""
    inputs = _inputs(run, name)
    return [number for number in numbers if _found(run, name, number, _key(run, name, number), inputs) is None]


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
    notebooks = _with_needs(run, name.split("/")[0])
    return json.dumps([*of, {notebook: _cells(run, notebook) for notebook in notebooks}], sort_keys=True)


def _with_needs(run: Run, notebook: str) -> list[str]:
    """A notebook and all that it rests on, sorted."""
    found, left = set(), [notebook]
    while left:
        found.add(name := left.pop())
        left += [need for need in run.paper.notebooks[name] if need not in found]
    return sorted(found)


def _cells(run: Run, notebook: str) -> str:
    """The SHA-256 of the notebook's cells that are tagged `record`, as they stand in its file."""
    file = root() / "notebooks" / run.name / f"{notebook}.ipynb"
    cells = read_object(file).get("cells", [])
    tagged = ["".join(cell["source"]) for cell in cells if "record" in cell["metadata"].get("tags", [])]
    return hashlib.sha256(json.dumps(tagged).encode()).hexdigest()


def _inputs(run: Run, name: str) -> dict[str, str]:
    """What the notebooks that this one needs have left in this run, by their records; empty for one not finished."""
    notebook, found = name.split("/")[0], {}
    for need in (need for need in _with_needs(run, notebook) if need != notebook):
        try:
            found[need] = str(read_object(run.path(f"{need}/done.json"))["products"])
        except (OSError, ValueError, KeyError):
            found[need] = ""
    return found


def _file(name: str, number: int) -> str:
    notebook, _, label = name.partition("/")
    return f"{notebook}/{number}/{label}.npz"


def _committed(run: Run, name: str, number: int) -> Path:
    return root() / "figures" / "reference" / run.tag / run.name / "records" / _file(name, number)


def _save(run: Run, name: str, number: int, arrays: dict[str, np.ndarray], key: str, made: dict) -> None:
    run.save(_file(name, number), arrays | {_ABOUT: np.array(json.dumps({"key": key, "made": made}))})


class _Found(NamedTuple):
    arrays: dict[str, np.ndarray]
    made: dict
    is_own: bool


def _found(run: Run, name: str, number: int, key: str, inputs: dict) -> _Found | None:
    """What this run has on record, or else what is committed; None where neither is to be used.

    Of this run nothing that rests on other files, or that is committed and is to be measured anew; and nothing where a
    notebook that it needs has not finished, as by hand: then nobody knows on which files it rests.
    """
    if "" not in inputs.values() and (own := _read(run.path(_file(name, number)), key)):
        arrays, made = own
        if made.get("inputs") == inputs and not (trains_anew() and "committed" in made):
            return _Found(arrays, made, is_own=True)
    if not trains_anew() and (committed := _read(_committed(run, name, number), key)):
        return _Found(*committed, is_own=False)
    return None


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
