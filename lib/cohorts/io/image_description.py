"""A dry read: what `open_images` would read, pass over and refuse, and why, by headers alone."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.cohorts.cohort import Cohort
from lib.cohorts.io.image_facts import Facts, NoImageError
from lib.cohorts.io.image_search import COHORT_SUFFIXES, find_files
from lib.cohorts.io.patient_naming import Naming, name_patients, patient_of
from lib.cohorts.io.user_images import FORMATS, existing, locate

READ, PASSED, REFUSED = OUTCOMES = ("read", "passed over", "refused")


class Described(NamedTuple):
    """A file of a source, or a cohort."""

    name: str  # within the folder
    outcome: str  # one of OUTCOMES
    why: str  # of what is not read
    kind: str = ""  # "DICOM", "picture", "NIfTI" or "cohort"
    images: int = 0
    pixels: str = ""  # "width×height", of the most frequent shape
    bits: int = 0  # of a number, as stored
    patient: str = ""
    patient_from: str = ""  # what named the patient (`patient_naming`)
    people: int = 0  # patients of a cohort


def describe_images(
    source: str | Path | Cohort, *, patients: str | Path | None = None, patient_from: str | None = None
) -> list[Described]:
    """A row for each file of `source`, which is given as for `open_images`; no pixel is decoded.

    So what is damaged in its pixels alone is not seen. A table of patients that is refused has a row of its own.
    Raises ValueError for a source that is not there, and ImportError as `open_images`.
    """
    if isinstance(source, Cohort) or existing(source).suffix.lower() in COHORT_SUFFIXES:
        return [_of_cohort(source)]
    found = find_files(existing(source))
    rows = [Described(name, REFUSED, why) for name, why in found.refused]
    rows += [Described(name, PASSED, why) for name, why in (*found.passed, *found.litter)]
    facts: dict[int, Facts] = {}
    for number, file in enumerate(found.files):
        try:
            facts[number] = FORMATS[file.kind].facts(file.path)
        except NoImageError as error:
            rows.append(Described(file.name, PASSED, str(error), file.kind))
        except ValueError as error:
            why = str(error).removeprefix(f"{file.path}: ")
            outcome = (REFUSED, why, file.kind) if file.is_certain else (PASSED, "no image")
            rows.append(Described(file.name, *outcome))
    shown = [found.files[number] for number in facts]
    try:
        naming = name_patients(shown, found.folder, table=patients, patient_from=patient_from)
    except ValueError as error:
        rows.append(Described(Path(patients or found.folder).name, REFUSED, str(error)))
        naming = Naming(None, "", False)
    for row, (file, of) in enumerate(zip(shown, facts.values(), strict=True)):
        (high, wide), _ = Counter(of.shapes).most_common(1)[0]
        size = (file.kind, of.images, f"{wide}×{high}", of.bits)
        rows.append(Described(file.name, READ, "", *size, *patient_of(naming, row, file, of)))
    return sorted(rows)


def _of_cohort(source: str | Path | Cohort) -> Described:
    cohort = locate(source).cohort
    assert cohort is not None
    high, wide = cohort.images.shape[-2:]
    bits = 8 * np.dtype(cohort.images.dtype).itemsize
    size = ("cohort", len(cohort), f"{wide}×{high}", bits)
    return Described(cohort.name, READ, "", *size, "", "cohort", len(np.unique(cohort.patient)))
