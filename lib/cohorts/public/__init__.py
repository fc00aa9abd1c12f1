"""Public image sets by name: where each is prepared, and how it is opened.

A cohort is prepared once into `data/cohorts/<name>.h5`, and a table of published predictions into a .csv.gz beside it.
A module of this package reads one set; nothing here imports it, so that a notebook that opens a cohort does not depend
on the modules of all sets.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from lib.core.inputs import reading
from lib.core.paths import root

if TYPE_CHECKING:
    from lib.cohorts.cohort import Cohort

# The set that each cohort or table comes from: a module of this package, which `lib.cohorts.public.sets` imports.
SET_OF = {
    "cbis_ddsm": "cbis_ddsm",
    "bcdr": "cbis_ddsm",
    "mcgan": "cbis_ddsm",
    "nih_cxr14_1000": "nih_cxr14",
    "nih_cxr14": "nih_cxr14",
    "nih_followup": "nih_followup",
    "chexpert": "chexpert",
    "rsna": "rsna",
    "shenzhen": "shenzhen",
    "aptos": "aptos",
    "aptos_950": "aptos",
    "pgan_release": "pgan_release",
    "warsaw_iris": "warsaw_iris",
    "chexnet_predictions": "chexnet_predictions",
}
TABLES = ("chexnet_predictions",)  # CSV files without images
PUBLIC_COHORTS = tuple(name for name in SET_OF if name not in TABLES)
# Cohorts that cannot be fetched, and where a browser finds them.
_BY_HAND = {
    "nih_cxr14": "download the radiographs from nihcc.app.box.com/v/ChestXray-NIHCC",
    "chexpert": "ask for CheXpert-v1.0-small at stanfordmlgroup.github.io/competitions/chexpert",
    "rsna": "download the radiographs of kaggle.com/c/rsna-pneumonia-detection-challenge",
    "shenzhen": "download the Shenzhen set of lhncbc.nlm.nih.gov",
    "aptos": "download the data of kaggle.com/c/aptos2019-blindness-detection",
    "aptos_950": "download the data of kaggle.com/c/aptos2019-blindness-detection",
    "pgan_release": "download the file of doi 10.5281/zenodo.5031881",
    "warsaw_iris": "ask Warsaw University of Technology for Warsaw-BioBase-Disease-Iris v2.1",
}


def set_of(name: str) -> str:
    """The set that holds the cohort or table `name`. Raises ValueError, listing the known names, for an unknown one."""
    if name not in SET_OF:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(SET_OF)}")
    return SET_OF[name]


def cohorts_folder() -> Path:
    """The folder of the prepared cohorts."""
    return root() / "data" / "cohorts"


def raw_folder(name: str) -> Path:
    """The folder of the fetched files of the set of `name`."""
    return root() / "data" / "raw" / set_of(name)


def prepared(name: str) -> Path:
    """The file of the prepared cohort or table `name`.

    Raises ValueError for an unknown name, and FileNotFoundError, with the command that prepares it, if it is absent.
    """
    command = f"run `python -m lib.cohorts prepare {set_of(name)}`"
    if name in _BY_HAND:
        command = f"{_BY_HAND[name]}, then {command[:-1]} --from DIR`"
    path = reading(cohorts_folder() / f"{name}.{'csv.gz' if name in TABLES else 'h5'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: not prepared yet; {command}")
    return path


def open_public(name: str) -> "Cohort":
    """The prepared cohort `name`; its pixels are read when they are asked for.

    Raises errors as `prepared` does, and ValueError for a table, which holds no images.
    """
    if name in TABLES:
        raise ValueError(f"{name} is a table: open it by lib.cohorts.public.{name}.Predictions.open")
    from lib.cohorts.cohort import Cohort  # imported here, so that reading the names does not load h5py

    return Cohort.open(prepared(name))
