"""Public image sets, each prepared once into `data/cohorts/<name>.h5`, and tables of published predictions."""

from pathlib import Path

from lib.core.inputs import reading
from lib.core.paths import root

# Cohort (or table) → the set it comes from: a module of this package, which `lib.cohorts.public.sets` imports.
SET_OF = {
    "cbis_ddsm": "cbis_ddsm",
    "bcdr": "cbis_ddsm",
    "mcgan": "cbis_ddsm",
    "nih_cxr14_1000": "nih_cxr14",
    "nih_cxr14": "nih_cxr14",
    "chexpert": "chexpert",
    "rsna": "rsna",
    "shenzhen": "shenzhen",
    "aptos": "aptos",
    "aptos_950": "aptos",
    "pgan_release": "pgan_release",
    "warsaw_iris": "warsaw_iris",
    "chexnet_predictions": "chexnet_predictions",
}
TABLES = ("chexnet_predictions",)  # CSV, without images
PUBLIC_COHORTS = tuple(name for name in SET_OF if name not in TABLES)
# Cohorts that are not fetched, and where a browser finds them.
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
    """The set that holds the cohort (or set) `name`; ValueError, listing the known, for another name."""
    if name not in SET_OF:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(SET_OF)}")
    return SET_OF[name]


def cohorts_folder() -> Path:
    """Where the prepared cohorts lie."""
    return root() / "data" / "cohorts"


def raw_folder(name: str) -> Path:
    """Where the fetched files of the set of `name` lie."""
    return root() / "data" / "raw" / set_of(name)


def prepared(name: str) -> Path:
    """The file of the prepared cohort or table `name`.

    Raises ValueError for an unknown name, FileNotFoundError with the command that makes the file.
    """
    command = f"run `python -m lib.cohorts prepare {set_of(name)}`"
    if name in _BY_HAND:
        command = f"{_BY_HAND[name]}, then {command[:-1]} --from DIR`"
    path = reading(cohorts_folder() / f"{name}.{'csv.gz' if name in TABLES else 'h5'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: not prepared yet; {command}")
    return path


def open_public(name: str):
    """The prepared Cohort `name`, lazily. Raises as `prepared`, and ValueError for a table, which holds no image."""
    if name in TABLES:
        raise ValueError(f"{name} is a table: open it by lib.cohorts.public.{name}.Predictions.open")
    from lib.cohorts.cohort import Cohort  # here: whoever reads the names alone does not pay for h5py

    return Cohort.open(prepared(name))
