"""Whether a user's cohort can serve a paper: what it lacks of what paper.yaml asks for, and what is made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.cohorts.needs import Needs
from lib.cohorts.own import fitted, open_own, part_of, rows_of, with_lungs
from lib.core.paths import root
from lib.core.yaml_mappings import read_mapping

_RADIOGRAPHS = ("CR", "DX", "RG")  # DICOM's modalities


def own_needs(settings_of: str = "demo") -> dict[str, tuple[Needs, dict[str, Any]]]:
    """Of each paper that takes a user's cohort: its needs, and the settings at the scale `settings_of`."""
    found = {}
    for path in sorted((root() / "notebooks").glob("*/paper.yaml")):
        content, _ = read_mapping(path)
        if "own" in content:
            column = content.get("scales", ["smoke", "demo", "paper"]).index(settings_of)
            settings = {name: values[column] for name, values in content["settings"].items()}
            found[path.parent.name] = Needs.model_validate(content["own"]), settings
    return found


def lacking(cohort: Cohort, needs: Needs, settings: Mapping[str, Any]) -> list[str]:
    """What `cohort` (as `lib.cohorts.own.open_own` gives it) lacks for `needs`, each with its mend; empty if nothing.

    settings: those of the paper, among them the ones that `needs` names.
    """
    found, size = [], settings[needs.size]
    channels = cohort.images.shape[1] if cohort.images.ndim == 4 else 1
    if channels != needs.slices and not (needs.colour and channels == 3):
        wanted = "grey images" if needs.slices == 1 else f"volumes of {needs.slices} slices"
        held = "in colour" if channels == 3 else "grey" if channels == 1 else f"of {channels} slices"
        found.append(f"{wanted}: these are {held}" + "; convert them to grey" * (needs.slices == 1))
    if max(cohort.images.shape[-2:]) < size:
        shape = "×".join(map(str, cohort.images.shape[-2:]))
        found.append(f"{size}×{size} pixels: these have {shape}; give larger ones, or --set {needs.size}=…")
    labels, says = _labels(cohort, needs, settings)
    found += [says] if says else []
    if needs.masks and cohort.masks is None and cohort.modality not in _RADIOGRAPHS:
        found.append("masks of the evidence: give --masks, or, of radiographs, the modality CR, whose lungs are found")
    elif needs.masks and cohort.masks is not None and (empty := int((~cohort.masks.any(axis=(1, 2))).sum())):
        found.append(f"masks of every image: {empty} are empty; mark the evidence, or leave these images out")
    patients = len(np.unique(cohort.patient))
    if patients < needs.patients:
        of = " with three images" * needs.within
        found.append(f"{needs.patients} patients{of} at least: there are {patients}; give more")
    elif labels is not None and not found:
        found += filter(None, [_too_few(_labelled(cohort, labels, needs), needs, settings)])
    return found


def meeting(cohort: Cohort, needs: Needs, settings: Mapping[str, Any], part: str) -> Cohort:
    """What stands for the set `part`: of the size, with the labels and masks that are asked for.

    ValueError for a part that `needs` does not name, and, in one sentence, for what the cohort lacks.
    """
    if part not in needs.parts:
        raise ValueError(f"no part of one's own cohort stands for {part!r}: choose one of {', '.join(needs.parts)}")
    if problems := lacking(cohort, needs, settings):
        raise ValueError(problems[0])
    labels, _ = _labels(cohort, needs, settings)
    assert labels is not None  # or it were lacking
    ready = fitted(part_of(_labelled(cohort, labels, needs), needs.parts[part]), settings[needs.size])
    return with_lungs(ready) if needs.masks and ready.masks is None else ready


_Labels = tuple[np.ndarray, tuple[str, ...]]


def _labelled(cohort: Cohort, labels: _Labels, needs: Needs) -> Cohort:
    region = labels[0] if needs.labels == "three regions" else cohort.region
    return cohort.replaced(labels=labels[0], label_names=labels[1], region=region)


def _labels(cohort: Cohort, needs: Needs, settings: Mapping[str, Any]) -> tuple[_Labels | None, str]:
    """Labels and their names as they are asked for; or None, and what is missing."""
    names, has_findings = cohort.label_names, cohort.labels.ndim == 2
    if needs.labels == "findings":
        lacks = "findings, each 0 or 1: these are classes; convert two columns of labels or more"
        return ((cohort.labels, names), "") if has_findings else (None, lacks)
    if needs.labels == "three regions" and cohort.region is not None:
        known = names if not has_findings and len(names) > cohort.region.max() else ()
        names = known or tuple(f"region {code}" for code in range(int(cohort.region.max()) + 1))
        labels = cohort.region
    else:
        labels = cohort.labels
    if has_findings and needs.labels == "two classes":
        wanted = settings.get(needs.finding)
        if len(names) > 1 and wanted not in names:
            mend = f"--set {needs.finding}=NAME" if needs.finding else "convert with --labels and one of them"
            return None, f"one finding, or two classes: there are {', '.join(names)}; {mend}"
        column = names.index(wanted) if wanted in names else 0
        return (cohort.labels[:, column], (f"no {names[column]}", names[column])), ""
    if has_findings and needs.labels == "classes":
        return (cohort.labels, names), ""  # the notebooks make them none or any
    if labels.ndim == 2:
        return None, f"{needs.labels}: these are findings"
    present = np.unique(labels)
    if len(present) < 2:
        return None, f"two classes: all images are {names[int(present[0])]!r}; add images of another class"
    exactly = {"two classes": 2, "three regions": 3}.get(needs.labels, len(names))
    if len(names) != exactly:
        return None, f"{needs.labels}: there are {len(names)}, {', '.join(names)}; convert with {exactly} of them"
    return (labels, names), ""


def _too_few(cohort: Cohort, needs: Needs, settings: Mapping[str, Any]) -> str:
    """A split without an image of a class, or without any finding, or with too few, in a part; empty if there is none.

    Of another hospital, which is used whole, all its images.
    """
    labels, names = cohort.labels, cohort.label_names
    has = labels.max(axis=1, keepdims=True) if labels.ndim == 2 else labels[:, None] == np.arange(len(names))
    called = ("any finding",) if labels.ndim == 2 else names
    reach = np.full(len(names), len(cohort))  # the largest number that each finding reaches in every hospital
    for which in sorted(set(needs.parts.values()) - {"other people"}):
        of = f" of the {which}" * which.endswith("hospital")
        rows = rows_of(cohort, which)[0]
        if which == "most people" and (few := len(np.unique(cohort.patient[rows]))) < needs.patients:
            return f"{needs.patients} patients, beside those who are held out: there are {few}; give more"
        splits = {"": rows} if which == "other hospital" else {n: rows & (cohort.split == c) for n, c in SPLITS.items()}
        for split, here in splits.items():
            if missing := [name for name, count in zip(called, has[here].sum(axis=0), strict=True) if count == 0]:
                lacks = f"{split} images{of} with {missing[0]}".strip()
                return f"{lacks}: there are none; give more patients, or another split"
        tested = rows if which == "other hospital" else rows & (cohort.split == SPLITS["test"])
        if labels.ndim == 1 and (rare := _rarely_drawn(cohort.patient[tested], has[tested], settings)):
            held = f"{called[rare[0]]}, in {rare[1]} of {rare[2]} test patients{of}"
            return f"every class in every resample of the test patients, and not {held}; {rare[3]} would do"
        seen = int(splits["train"].sum()) if "train" in splits else needs.images
        if (few := min(seen, int(rows.sum()) - seen)) < needs.images and "train" in splits:
            return f"{needs.images} images{of} to train on, and as many others: there are {few}; give more patients"
        if needs.positives:
            outside, inside = (labels[rows & ((cohort.split == 2) == is_test)].sum(axis=0) for is_test in (False, True))
            reach = np.minimum(reach, np.minimum(outside, 3 * inside))
    if needs.positives and reach.max() < (least := settings.get(needs.positives, 0)):
        mend = "give more images"
        if most := int(reach.max()):
            mend += f", or --set {needs.positives}={most}, which {names[int(reach.argmax())]} reaches"
        return f"a finding of {least} images outside the test set and {least / 3:.0f} inside, in each hospital: {mend}"
    return ""


def _rarely_drawn(
    patient: np.ndarray, has: np.ndarray, settings: Mapping[str, Any]
) -> tuple[int, int, int, int] | None:
    """A class that a bootstrap of the patients may miss, how many have it, their number, how many would do; or None.

    Of P patients, k with the class, a resample misses it with the probability (1 - k/P)^P: an AUROC of it has no value.
    All draws together may do so once in a hundred runs.
    """
    owner = np.unique(patient, return_inverse=True)[1]
    patients = int(owner.max()) + 1
    of_patient = np.zeros((patients, has.shape[1]), bool)
    np.logical_or.at(of_patient, owner, has.astype(bool))
    having = of_patient.sum(axis=0)
    missed = settings.get("bootstrap_draws", 0) * (1 - np.arange(patients + 1) / patients) ** patients  # by k
    worst = int(missed[having].argmax())
    enough = int((missed > 0.01).sum())
    return (worst, int(having[worst]), patients, enough) if missed[having[worst]] > 0.01 else None


def table_of_papers(data: Path, masks: str | Path = "") -> list[tuple[str, str]]:
    """(paper, "serves" or what is missing) of the cohort in `data` for each paper that takes one, at demo's sizes.

    masks: of a second file. Raises errors as `open_own` does, but for a patient in two splits.
    """
    rows, opened = [], dict[bool, Cohort | str]()
    for name, (needs, settings) in own_needs().items():
        if needs.within not in opened:
            try:
                opened[needs.within] = open_own(data, masks, within=needs.within)
            except ValueError as problem:
                opened[needs.within] = str(problem).removeprefix(f"{data}: ")
        of = opened[needs.within]
        missing = [of] if isinstance(of, str) else lacking(of, needs, settings)
        rows.append((name, "lacks " + "; ".join(missing) if missing else "serves"))
    return rows


def require_serving(data: Path, masks: str | Path, needs: Needs, settings: Mapping[str, Any], paper: str) -> None:
    """Raise ValueError, naming the file, in one sentence, for what the cohort in `data` lacks for `paper`'s `needs`.

    And for what `open_own` refuses, and for `masks` that the paper does not look at.
    """
    if masks and not needs.masks:
        raise ValueError(f"{masks}: {paper} looks at no masks; leave them out")
    cohort = open_own(data, masks, within=needs.within)
    if problems := lacking(cohort, needs, settings):
        raise ValueError(f"{data} cannot serve {paper}, which needs {problems[0]}")
