"""Who is on an image, by a table, a DICOM header, a folder or the file's name, and which of these was used."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.cohorts.io.file_tables import LONGEST_NAME, PatientTable, is_name
from lib.cohorts.io.image_facts import Facts
from lib.cohorts.io.image_search import ImageFile

FEWEST_FOLDERS = 10  # of images; fewer are taken for kinds of images, not for patients
OWN = "file"
SAID = {  # how each image's patient was found, for a sentence
    "table": "the table",
    "PatientID": "PatientID",
    "StudyInstanceUID": "StudyInstanceUID",
    "folder": "folder",
    "name": "file name",
}
# What programs that remove names write in their place.
_REMOVED = ("anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified", "unknown", "removed",
            "no id", "noid", "patient", "patientid", "patient id", "xxx", "xxxx", "xxxxx", "n/a", "na")  # fmt: skip


class Naming(NamedTuple):
    """Outcome of `name_patients`."""

    known: np.ndarray | None  # (n,) str, the patient of each file as far as its path or a table tells
    by: str  # "table", "folder" or "name"
    is_fixed: bool  # False: what a header says goes before `known`


def name_patients(
    files: Sequence[ImageFile],
    folder: Path,
    *,
    table: str | Path | None = None,
    patient_from: str | None = None,
    is_image: Callable[[ImageFile], bool] = lambda file: True,
) -> Naming:
    """The patients of `files`, by their paths within `folder` or by a table.

    patient_from: "table"; "folder", the first below `folder`; "name:REGEX", searched in the path within `folder`: its
    first group, or the whole match if it has none; or nothing: the table if there is one, else PatientID, else
    StudyInstanceUID, else the folder if no image lies outside of one and there are FEWEST_FOLDERS, else each file its
    own.
    A file for which none is found may have none, "", if `is_image` says that it holds no image.
    Raises ValueError for another `patient_from`, for a table beside another one than "table", for a file outside any
    folder or without a match, and what `PatientTable` refuses.
    """
    how, _, pattern = (patient_from or "").partition(":")
    if how not in ("", "table", "folder", "name") or (how == "name") != bool(pattern) or (how != "name" and pattern):
        raise ValueError(f"unknown patient_from {patient_from!r}: choose table, folder or name:REGEX")
    if how == "table" and not table:
        raise ValueError("patient_from is table, and no table is given; give one by patients")
    if table and how not in ("", "table"):
        raise ValueError(f"patient_from is {patient_from}, and a table is given as well; give one of them")
    names = [file.name for file in files]
    if table:
        of = PatientTable(Path(table)).patients(names, folder, may_lack=lambda row: not is_image(files[row]))
        return Naming(of, "table", True)
    if how == "name":
        return Naming(_by_pattern(files, pattern, is_image), "name", True)
    within = [name.split("/")[0] if "/" in name else "" for name in names]
    if how == "folder":
        for file, name in zip(files, within, strict=True):
            if name or not is_image(file):
                continue
            raise ValueError(f"{file.path}: lies in no folder of a patient within {folder}; move it into one")
        return Naming(np.array(within), "folder", True)
    if "" not in within and len(set(within)) >= FEWEST_FOLDERS:
        return Naming(np.array(within), "folder", False)
    return Naming(None, OWN, False)


def patient_of(naming: Naming, row: int, file: ImageFile, facts: Facts) -> tuple[str, str]:
    """The patient of the images in file number `row`, and what named it: a key of SAID, or OWN.

    Raises ValueError for a name that is too long.
    """
    if naming.known is not None and naming.is_fixed:
        return str(naming.known[row]), naming.by
    for by, name in (("PatientID", facts.patient), ("StudyInstanceUID", facts.study)):
        if is_name(name) and name.lower() not in _REMOVED:
            if len(name) > LONGEST_NAME:
                raise ValueError(f"{file.path}: a {by} of {len(name):,} characters; give {LONGEST_NAME:,} at most")
            return name, by
    if naming.known is not None:
        return str(naming.known[row]), naming.by
    return str(file.path.resolve()), OWN


def _by_pattern(files: Sequence[ImageFile], pattern: str, is_image: Callable) -> np.ndarray:
    try:
        searched = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"patient_from: {pattern!r} is no regular expression ({error})") from error
    found = []
    for file in files:
        match = searched.search(file.name)
        patient = match and (match[1] if searched.groups else match[0])
        if not patient and is_image(file):
            raise ValueError(f"{file.path}: patient_from finds no patient in this name by {pattern!r}")
        found.append(patient or "")
    return np.array(found)
