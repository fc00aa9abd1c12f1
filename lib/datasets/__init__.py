"""Public image sets, each prepared once into `data/cohorts/<name>.h5`."""

import importlib
from pathlib import Path
from types import ModuleType

from lib.cohort import Cohort
from lib.paper import root

# Cohort → the set it comes from: a module of this package, with COHORTS, DIGESTS, sources() and prepare().
SET_OF = {
    "cbis_ddsm": "cbis_ddsm",
    "bcdr": "cbis_ddsm",
    "mcgan": "cbis_ddsm",
    "nih_cxr14_1000": "nih_cxr14",
    "nih_cxr14": "nih_cxr14",
    "pgan_release": "pgan_release",
}
# Cohorts that are not fetched, and where a browser finds them.
_BY_HAND = {
    "nih_cxr14": "download the films from nihcc.app.box.com/v/ChestXray-NIHCC",
    "pgan_release": "download the file of doi 10.5281/zenodo.5031881",
}


def set_of(name: str) -> str:
    """The set that holds the cohort (or set) `name`; ValueError, listing the known, for another name."""
    if name not in SET_OF:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(SET_OF)}")
    return SET_OF[name]


def module_of(name: str) -> ModuleType:
    """The module that reads the cohort (or set) `name`."""
    return importlib.import_module(f"{__name__}.{set_of(name)}")


def cohorts_folder() -> Path:
    """Where the prepared cohorts lie."""
    return root() / "data" / "cohorts"


def raw_folder(name: str) -> Path:
    """Where the fetched files of the set of `name` lie."""
    return root() / "data" / "raw" / set_of(name)


def open_public(name: str) -> Cohort:
    """Open the prepared cohort `name`, lazily.

    Raises ValueError for an unknown name, FileNotFoundError with the command that makes the file.
    """
    command = f"run `python -m lib.datasets prepare {set_of(name)}`"
    if name in _BY_HAND:
        command = f"{_BY_HAND[name]}, then {command[:-1]} --from DIR`"
    path = cohorts_folder() / f"{name}.h5"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not prepared yet; {command}")
    return Cohort.open(path)
