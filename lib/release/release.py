"""A release: synthetic images with labels, a data card, the audit of exactly these files, and checksums.

It calls itself releasable only where the audit finds no copies, with the power that it asks of itself, and the fidelity
gate is passed. Otherwise nothing is released, but for who says so knowingly, and then the card says it first.
"""

import contextlib
import datetime
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.audit.assessment import THOROUGH, Settings, assess
from lib.audit.inputs import SIZES, AuditSets, open_sets
from lib.audit.page import quality_table, write_page
from lib.audit.verdict import ANSWERS
from lib.cohorts.cohort import Cohort
from lib.cohorts.io.picture_folder import assert_new, write_pictures
from lib.core.files import scratch_name, sweep_scratch
from lib.core.manifest import sha256
from lib.core.revision import revision
from lib.core.seeding import numpy_generator
from lib.metrics.fidelity import gate
from lib.release.checksums import write_checksums
from lib.release.data_card import data_card
from lib.release.dicom_export import write_dicom

FORMATS = ("png", "dicom")
_FLAGGED, _CLEAN, _UNSURE = ANSWERS
_ADVICE = {
    _FLAGGED: "look at the pairs in the audit, take those images out or train anew on more patients, and audit again",
    _UNSURE: "give the audit what it misses (see its reasons), such as more held-out images, or whose the images are",
}


class Released(NamedTuple):
    """Outcome of `release`."""

    folder: Path | None  # None: nothing was released
    status: str  # a sentence
    answer: str  # of the audit, one of lib.audit.verdict.ANSWERS
    report: Path  # of the audit


def release(
    folder: str | Path,
    synthetic: Cohort,
    *,
    train: str | Path | Cohort,
    heldout: str | Path | Cohort,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    facts: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    anyway: bool = False,
    settings: Settings = THOROUGH,
    seed: int = 0,
    told: Callable[[str], None] = lambda line: None,
) -> Released:
    """Make the new folder `folder` of the images `synthetic`, audited against real ones.

    train, heldout: real images that were trained on, and others of the same group, as `lib.audit.inputs.open_sets`
    reads them, with patients and patient_from. facts: those of `lib.release.data_card.read_facts`. formats: those of
    FORMATS that are written beside images.h5. anyway: release what is flagged, in doubt, or not faithful, too, and say
    so in the first line of the card. settings: how thorough the audit is. told: takes lines on the progress.

    Where it is not released the audit's report lies beside, in FOLDER.audit.html. The report has no image and no file
    name of a real patient. ValueError for a folder that is not empty, images that are not uint8, an unknown format, and
    what the audit refuses; OSError, naming the file, if one cannot be written. Then there is no folder.
    """
    folder = assert_new(folder)
    if synthetic.images.dtype != np.uint8:
        raise ValueError(f"{synthetic.name}: images are {synthetic.images.dtype}; convert them to uint8")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"unknown format {unknown[0]!r}: choose of {', '.join(FORMATS)}")
    sweep_scratch(folder.parent)  # what a killed release left
    part = folder.with_name(f"{scratch_name()}{folder.name}.incomplete")
    try:
        part.mkdir(parents=True)
        told(f"writing {len(synthetic):,} images")
        synthetic.save(part / "images.h5")
        files = {"images.h5": "all images and labels, a cohort file"} | _write_formats(part, synthetic, formats)
        stored = Cohort.open(part / "images.h5")
        told("reading the real images")
        sets = open_sets(
            train=train, heldout=heldout, synthetic=stored, patients=patients, patient_from=patient_from,
            sizes=SIZES, audit_size=SIZES[0], most=max(5000, len(stored)), rng=numpy_generator(seed, "open"),
        )  # fmt: skip
        audited = assess(sets, settings, seed=seed, told=told)
        found, short = _gate(sets, seed)
        made = {
            "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "by": f"lib.release of revision {revision()}, seed {seed}",
            "SHA-256 of images.h5": sha256(part / "images.h5"),
            "digest of the audited images": sets.digest,
        }
        answer = audited.verdict.answer
        is_releasable = answer == _CLEAN and not short
        status = _status(answer, short, is_releasable, anyway)
        files["audit.html"] = f"the audit of these files: {answer}; audit.json is the same for machines"
        report = part / "audit.html"
        quality = quality_table(sets, seed=seed)
        # What is released shows no real image.
        write_page(report, sets, audited, quality, facts=made, level=settings.level, with_images=False)
        if not (is_releasable or anyway):
            kept = folder.with_name(f"{folder.name}.audit.html")
            os.replace(report, kept)
            return Released(None, status, answer, kept)
        files["CHECKSUMS"] = "SHA-256 of every file, for sha256sum --check"
        card = data_card(
            synthetic, facts=facts or {}, status=status, because=audited.verdict.because, found=found, short=short,
            made=made, files=files,
        )  # fmt: skip
        (part / "datacard.md").write_text(card, encoding="utf-8")
        write_checksums(part)
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        part.rename(folder)
        return Released(folder, status, answer, folder / "audit.html")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_formats(part: Path, synthetic: Cohort, formats: Sequence[str]) -> dict[str, str]:
    names, labels = synthetic.label_names, synthetic.labels
    columns: dict[str, Any] = {"label": [names[code] for code in labels]} if labels.ndim == 1 else {}
    columns |= {name: labels[:, place] for place, name in enumerate(names)} if labels.ndim == 2 else {}
    files = {}
    if "png" in formats:
        write_pictures(part / "png", synthetic.images[:], columns)
        files["png/"] = "the same as pictures, in the same order, with labels.csv"
    if "dicom" in formats:
        texts = columns.get("label") or [
            ", ".join(n for n, has in zip(names, row, strict=True) if has) for row in labels
        ]
        write_dicom(part / "dicom", synthetic.images[:], texts, series=synthetic.name, made_by=synthetic.made_by[:1024])
        files["dicom/"] = "the same as secondary captures, labels in ImageComments"
    return files


def _gate(sets: AuditSets, seed: int) -> tuple[gate.Fidelity | None, list[str]]:
    """What the fidelity gate measures at the audited size, and why it is not passed."""
    real, disjoint, synthetic = (np.asarray(part.images) for part in sets.parts.values())
    try:
        found = gate.fidelity(real=real, disjoint=disjoint, synthetic=synthetic, rng=numpy_generator(seed, "gate"))
    except ValueError as error:
        return None, [f"The fidelity gate could not be asked: {error}."]
    return found, gate.shortfalls([found])


def _status(answer: str, short: Sequence[str], is_releasable: bool, anyway: bool) -> str:
    if is_releasable:
        return "Releasable by this suite's checks: the audit found no copies, and the fidelity gate is passed."
    reasons = [f"the audit says {answer}"] * (answer != _CLEAN) + [f"fidelity: {'; '.join(short)}"] * bool(short)
    if anyway:
        return f"RELEASED AGAINST ITS CHECKS: {'; '.join(reasons)}."
    advice = [_ADVICE[answer]] if answer in _ADVICE else []
    advice += ["train longer, and look at the images"] * bool(short)
    return f"Not released: {'; '.join(reasons)}. What helps: {'; '.join(advice)}."
