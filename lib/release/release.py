"""A release: synthetic images with labels, a data card, the audit of exactly these files, and checksums.

It calls itself releasable only where the audit looked at every training image, finds no copies, with the power that it
asks of itself, and the fidelity gate is passed. Otherwise nothing is released, but for who says so knowingly, and then
the card says it first. A draft is written all the same, and its card says first whether it is releasable.
"""

import contextlib
import datetime
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lib.audit.assessment import THOROUGH, Settings, assess
from lib.audit.inputs import SIZES, AuditSets, open_sets
from lib.audit.page import quality_table, write_page
from lib.audit.verdict import ANSWERS
from lib.cohorts.cohort import Cohort
from lib.cohorts.io.picture_folder import assert_new, write_pictures
from lib.cohorts.public import pgan_release
from lib.cohorts.rows import in_blocks
from lib.core.files import scratch_name, sweep_scratch
from lib.core.manifest import sha256
from lib.core.revision import revision
from lib.core.seeding import numpy_generator
from lib.metrics.fidelity import gate
from lib.release.checksums import FILE as CHECKSUMS
from lib.release.checksums import write_checksums
from lib.release.data_card import data_card
from lib.release.dicom_export import write_dicom

_UNITS = pgan_release.COHORTS[0]
FORMATS = ("png", "dicom", _UNITS)
NOT_AUDITED = "not audited"
_FLAGGED, _CLEAN, _UNSURE = ANSWERS
_ADVICE = {
    _FLAGGED: "look at the pairs in the audit, take those images out or train anew on more patients, and audit again",
    _UNSURE: "give the audit what it misses (see its reasons), such as more held-out images, or whose the images are",
    NOT_AUDITED: "give the audit what it asks for",
}
_ALL = 2**62  # images of a set, all of which are looked at


class Released(NamedTuple):
    """Outcome of `release`."""

    folder: Path | None  # None: nothing was released
    is_releasable: bool
    status: str  # a sentence
    answer: str  # of the audit, one of lib.audit.verdict.ANSWERS; of a draft also NOT_AUDITED
    report: Path | None  # of the audit; None without one


class _Checked(NamedTuple):
    """What the audit and the fidelity gate say of a set."""

    answer: str
    because: Sequence[str]
    found: gate.Fidelity | None
    short: Sequence[str]
    partial: Sequence[str] = ()  # that it was refused, or did not look at all training images
    digest: str = "none: not audited"


def release(
    folder: str | Path,
    synthetic: Cohort,
    *,
    train: str | Path | Cohort,
    heldout: str | Path | Cohort | None,
    patients: str | Path | None = None,
    patient_from: str | None = None,
    facts: Mapping[str, str] | None = None,
    formats: Sequence[str] = (),
    doubts: Sequence[str] = (),
    anyway: bool = False,
    draft: bool = False,
    most: int | None = None,
    settings: Settings = THOROUGH,
    seed: int = 0,
    told: Callable[[str], None] = lambda line: None,
) -> Released:
    """Make the new folder `folder` of the images `synthetic`, audited against real ones.

    train, heldout: real images that were trained on, and others of the same group, as `lib.audit.inputs.open_sets`
    reads them, with patients and patient_from. facts: those of `lib.release.data_card.read_facts`. formats: those of
    FORMATS that are written beside images.h5. doubts: what is known against a release from elsewhere, such as another
    gate, a phrase each. anyway: release what is flagged, in doubt, or not faithful, too, and say so in the first line
    of the card. draft: write the folder whatever the checks say, also without an audit where that is refused, in the
    place of an earlier release; its card says first whether it is releasable. most: real images of either set that
    are looked at, drawn by patient where there are more; None for all. settings: how thorough the audit is. told: takes
    lines on the progress. Of volumes, cohorts of other than one or three channels, the middle slice is looked at.

    Where it is not released the audit's report lies beside, in FOLDER.audit.html. The report has no image and no file
    name of a real patient. ValueError for a folder that is not empty (of a draft: and no release), images that are not
    uint8, an unknown format, and what the audit refuses; OSError, naming the file, if one cannot be written. Then
    there is no folder.
    """
    folder = Path(folder) if draft and (Path(folder) / CHECKSUMS).is_file() else assert_new(folder)
    if synthetic.images.dtype != np.uint8:
        raise ValueError(f"{synthetic.name}: images are {synthetic.images.dtype}; convert them to uint8")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"unknown format {unknown[0]!r}: choose of {', '.join(FORMATS)}")
    if _UNITS in formats:
        pgan_release.assert_units(synthetic.images, synthetic.labels)
    sweep_scratch(folder.parent)  # what a killed release left
    part = folder.with_name(f"{scratch_name()}{folder.name}.incomplete")
    try:
        part.mkdir(parents=True)
        told(f"writing {len(synthetic):,} images")
        synthetic.save(part / "images.h5")
        files = {"images.h5": "all images and labels, a cohort file"} | _write_formats(part, synthetic, formats)
        made = {
            "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "by": f"lib.release of revision {revision()}, seed {seed}",
            "SHA-256 of images.h5": sha256(part / "images.h5"),
        }
        real = {"train": train, "heldout": heldout, "patients": patients, "patient_from": patient_from}
        try:
            checked = _checked(part, real, made, most=most, settings=settings, seed=seed, told=told)
        except ValueError as refused:
            if not draft:
                raise
            checked = _refused(str(refused))
        made["digest of the audited images"] = checked.digest
        reasons = _reasons(checked, doubts)
        status = _status(reasons, checked, anyway=anyway, draft=draft)
        report = part / "audit.html"
        if reasons and not (anyway or draft):
            kept = folder.with_name(f"{folder.name}.audit.html")
            os.replace(report, kept)
            return Released(None, False, status, checked.answer, kept)
        if report.exists():
            files["audit.html"] = f"the audit of these files: {checked.answer}; audit.json is the same for machines"
        files[CHECKSUMS] = "SHA-256 of every file, for sha256sum --check"
        card = data_card(
            synthetic, facts=facts or {}, status=status, because=checked.because, found=checked.found,
            short=checked.short, made=made, files=files,
        )  # fmt: skip
        (part / "datacard.md").write_text(card, encoding="utf-8")
        write_checksums(part)
        _put_in_place(part, folder)
        kept_report = folder / "audit.html"
        return Released(folder, not reasons, status, checked.answer, kept_report if kept_report.exists() else None)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refused(why: str) -> _Checked:
    partial = [f"the audit was refused: {why}"]
    return _Checked(NOT_AUDITED, [f"The audit was refused: {why}."], None, ["the gate was not asked"], partial)


def _checked(
    part: Path,
    real: Mapping[str, Any],
    made: Mapping[str, str],
    *,
    most: int | None,
    settings: Settings,
    seed: int,
    told: Callable[[str], None],
) -> _Checked:
    """The audit of the images in `part`, whose page it writes there, and the gate. ValueError as `release`."""
    stored = Cohort.open(part / "images.h5", closed_set=True)
    told("reading the real images")
    looked_at, slices = _in_middle_slice(stored), _slices(stored)
    if slices:
        real = {name: _in_middle_slice(of) for name, of in real.items()}
    limit = max(most or _ALL, len(stored))
    sets = open_sets(
        **real, synthetic=looked_at, sizes=SIZES, audit_size=SIZES[0], most=limit, rng=numpy_generator(seed, "open")
    )
    audited = assess(sets, settings, seed=seed, told=told)
    found, short = _gate(sets, seed)
    looked, there = len(sets.train), sets.found["train"]
    partial = [f"only {looked:,} of {there:,} training images were looked at"] if there > limit else []
    because = list(audited.verdict.because)
    if slices:
        because.append(f"Of each image of {slices} slices the middle one, number {slices // 2 + 1}, was looked at.")
    facts = {**made, "digest of the audited images": sets.digest}
    quality = quality_table(sets, seed=seed)
    # What is released shows no real image.
    write_page(
        part / "audit.html", sets, audited, quality, facts=facts, level=settings.level, with_images=False
    )  # fmt: skip
    return _Checked(audited.verdict.answer, because, found, short, partial, sets.digest)


def _slices(cohort: Cohort) -> int:
    """How many slices each image has; 0 of grey and colour ones."""
    channels = cohort.images.shape[1] if cohort.images.ndim == 4 else 1
    return 0 if channels in (1, 3) else channels


def _in_middle_slice(source: Any) -> Any:
    """A cohort of volumes, or the file of one, as the cohort of their middle slices; anything else as it is."""
    if isinstance(source, (str, Path)) and Path(source).suffix in (".h5", ".hdf5"):
        source = Cohort.open(source, closed_set=True)
    if not isinstance(source, Cohort) or not (slices := _slices(source)):
        return source
    return source.replaced(images=np.concatenate([block[:, slices // 2] for block in in_blocks(source.images)]))


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`; what stands there, an empty folder or an earlier release, goes."""
    old = part.with_name(f"{part.name}.old")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_formats(part: Path, synthetic: Cohort, formats: Sequence[str]) -> dict[str, str]:
    names, labels = synthetic.label_names, synthetic.labels
    columns: dict[str, Any] = {"label": [names[code] for code in labels]} if labels.ndim == 1 else {}
    columns |= {name: labels[:, place] for place, name in enumerate(names)} if labels.ndim == 2 else {}
    called = {} if synthetic.source_name is None else {"name": synthetic.source_name}
    table = pd.DataFrame({"image": np.arange(len(synthetic)), **called, **columns})
    table.to_csv(part / "labels.csv", index=False)
    files = {"labels.csv": "the labels of each image, numbered from 0 as the rows of images.h5 are"}
    if "png" in formats:
        write_pictures(part / "png", synthetic.images, columns)
        files["png/"] = "the same as pictures, in the same order, with labels.csv"
    if "dicom" in formats:
        texts = columns.get("label") or [
            ", ".join(n for n, has in zip(names, row, strict=True) if has) for row in labels
        ]
        write_dicom(part / "dicom", synthetic.images, texts, series=synthetic.name, made_by=synthetic.made_by[:1024])
        files["dicom/"] = "the same as secondary captures, labels in ImageComments"
    if _UNITS in formats:
        pgan_release.write(part / "units.h5", synthetic.images, labels)
        files["units.h5"] = f"the same as images from -1 to 1 and regions, in the layout of doi {pgan_release.DOI}"
    return files


def _gate(sets: AuditSets, seed: int) -> tuple[gate.Fidelity | None, list[str]]:
    """What the fidelity gate measures at the audited size, and why it is not passed."""
    if sets.heldout is None:
        return None, ["the gate could not be asked, as there are no held-out images"]
    real, disjoint, synthetic = (np.asarray(part.images) for part in sets.parts.values())
    try:
        found = gate.fidelity(real=real, disjoint=disjoint, synthetic=synthetic, rng=numpy_generator(seed, "gate"))
    except ValueError as error:
        return None, [f"the gate could not be asked: {error}"]
    return found, gate.shortfalls([found])


def _reasons(checked: _Checked, doubts: Sequence[str]) -> list[str]:
    """Why a set is not releasable, a phrase each; none where it is."""
    reasons = [f"the audit says {checked.answer}"] if checked.answer in (_FLAGGED, _UNSURE) else []
    if checked.short and checked.answer != NOT_AUDITED:
        reasons.append(f"fidelity: {'; '.join(checked.short)}")
    return [*reasons, *checked.partial, *doubts]


def _status(reasons: Sequence[str], checked: _Checked, *, anyway: bool, draft: bool) -> str:
    if not reasons:
        return "Releasable by this suite's checks: the audit found no copies, and the fidelity gate is passed."
    if anyway:
        return f"RELEASED AGAINST ITS CHECKS: {'; '.join(reasons)}."
    advice = [_ADVICE[checked.answer]] if checked.answer in _ADVICE else []
    advice += ["train longer, and look at the images"] * bool(checked.short and checked.answer != NOT_AUDITED)
    advice += ["audit against all training images"] * bool(checked.partial and checked.answer != NOT_AUDITED)
    helps = f" What helps: {'; '.join(advice)}." if advice else ""
    return f"Not {'releasable' if draft else 'released'}: {'; '.join(reasons)}.{helps}"
