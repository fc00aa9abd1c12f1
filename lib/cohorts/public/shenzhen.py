"""Frontal chest radiographs of Shenzhen No. 3 People's Hospital, normal or with tuberculosis, as released by the NLM.

The release holds 662 radiographs CXR_png/CHNCXR_0001_0.png …, whose names end in 1 if the patient has tuberculosis, and
ClinicalReadings/CHNCXR_0001_0.txt … with the sex, the age and the reading of each.
"""

import re
from pathlib import Path

import numpy as np

from lib.cohorts import splits
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch, image_files

COHORTS = ("shenzhen",)
DIGESTS: dict[str, str] = {}  # unknown: the release was not at hand
SIZE = 256
LABELS = ("normal", "tuberculosis")
COUNTS = (326, 336)
RADIOGRAPHS, READINGS = "CXR_png", "ClinicalReadings"
LICENCE = "U.S. National Library of Medicine: free use with attribution"
CITATION = "Jaeger et al. 2014, Quant Imaging Med Surg 4:475; Shenzhen set, lhncbc.nlm.nih.gov"

_NAME = re.compile(r"CHNCXR_(?P<number>\d{4})_(?P<label>[01])")
_LAYOUT = f"give --from the folder that holds {RADIOGRAPHS}/CHNCXR_0001_0.png … and {READINGS}"


def sources() -> list[fetch.Source]:
    """No source, because the address of the release has changed several times."""
    return []


def prepare(folder: Path, out_folder: Path) -> list[Path]:
    """Write shenzhen.h5 from the release at `folder`, and return its path.

    `images` are 256×256 by `image_files.read_squeezed`, in order of name; `labels` are the last digit of the name; each
    radiograph is its own patient, for the release names none; `source_name` is the name without its ending. The split
    is 70/10/20 % by a hash of the number. Absent radiographs are left out, and `source` says how many are there. Raises
    ValueError, naming file and fix, for a wrong tree, a name that is not of the release, a number with both labels, a
    radiograph without a reading if there are readings, and a damaged radiograph.
    """
    folder = Path(folder)
    if not (folder / RADIOGRAPHS).is_dir():
        raise ValueError(f"{folder}: no {RADIOGRAPHS} in it; {_LAYOUT}")
    radiographs = sorted(path for path in (folder / RADIOGRAPHS).glob("*.png") if not path.name.startswith("."))
    if not radiographs:
        raise ValueError(f"{folder / RADIOGRAPHS}: no radiograph in it; {_LAYOUT}")
    labels: dict[str, int] = {}
    for radiograph in radiographs:
        read = _NAME.fullmatch(radiograph.stem)
        if read is None:
            raise ValueError(f"{radiograph}: not a radiograph of the release by its name; remove it")
        if labels.setdefault(read["number"], int(read["label"])) != int(read["label"]):
            raise ValueError(
                f"{radiograph}: radiograph {read['number']} is there with both labels; fetch the release again"
            )
        if (folder / READINGS).is_dir() and not (folder / READINGS / f"{radiograph.stem}.txt").is_file():
            raise ValueError(f"{radiograph}: no reading {radiograph.stem}.txt in {READINGS}; fetch the release again")
    found = np.bincount(list(labels.values()), minlength=2)
    says = " and ".join(f"{n} of {of} {name}" for n, of, name in zip(found, COUNTS, LABELS, strict=True))
    cohort = Cohort(
        image_files.Unread(radiographs, SIZE, image_files.read_squeezed),
        np.array([*map(int, labels)]),
        [*labels.values()],
        [splits.hashed_split(f"shenzhen/{number}") for number in labels],
        source_name=[radiograph.stem for radiograph in radiographs],
        name=COHORTS[0],
        modality="CR",
        label_names=LABELS,
        value_range=(0, 255),
        licence=LICENCE,
        source=f"{CITATION}; {says}",
    )
    return [cohort.save(Path(out_folder) / f"{cohort.name}.h5")]
