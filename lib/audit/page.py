"""The page of an audit, its record and its pairs, from what was found, for the command line and for a release."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lib.audit.assessment import Assessment
from lib.audit.inputs import AuditSets
from lib.audit.pictures import copies_figure, pairs_figure, samples_figure
from lib.audit.quality import quality_rows
from lib.audit.report import BANNER, write_record, write_report
from lib.audit.same_patient import TITLE
from lib.core.files import atomic
from lib.core.seeding import numpy_generator
from lib.experiment.tables import typeset_table, without_formulas
from lib.features import extract

_SHOWN = 20  # pairs on the page


def quality_table(sets: AuditSets, *, seed: int) -> pd.DataFrame:
    """Fidelity and diversity of the synthetic images beside held-out ones; empty without these."""
    if sets.heldout is None:  # nothing says what is reached at these numbers
        return pd.DataFrame()
    images = {name: part.images[:] for name, part in sets.parts.items()}
    groups = {name: part.patient for name, part in sets.parts.items()}
    trials: dict[str, Any] = {"most": 300, "subsets": 5, "draws": 1000, "rng": numpy_generator(seed, "quality")}
    return pd.DataFrame(quality_rows(lambda some: extract("radiomics", some), images, groups, **trials))


def write_page(
    out: Path,
    sets: AuditSets,
    found: Assessment,
    quality: pd.DataFrame,
    *,
    facts: dict[str, str],
    level: float,
    with_images: bool,
) -> None:
    """Write the page `out`, and beside it the record and all pairs; without images, no name of a file either."""
    close = found.pairs[found.pairs["p"] <= level]
    read = pd.DataFrame(sets.rows())
    read = read if with_images else read.drop(columns="rules applied")  # which name files
    sections: list[tuple[str, Any]] = [("As the images were read", typeset_table(read))]
    if with_images:
        sections = [("Your images", samples_figure(sets)), *sections]
    passed = [
        {"set": name, "file": note.name, "why": note.why} for name, notes in sets.passed.items() for note in notes
    ]
    if passed and with_images:
        sections.append(("Passed over", pd.DataFrame(passed[:200])))
    sections += [
        ("What would be seen", copies_figure(found, level=level)),
        ("Disguises", typeset_table(found.disguises)),
    ]
    sections += [("The set, and controls", typeset_table(found.controls))]
    sections += [(TITLE, typeset_table(found.same_patient.table()))]
    record = {"answer": found.verdict.answer, "because": found.verdict.because, "facts": facts, "sets": read}
    record |= {"controls": found.controls, "disguises": found.disguises, "quality": quality}
    record |= {"same patient": found.same_patient.table()}
    if with_images:
        sections += [("The closest pairs: real, synthetic as it fits best, difference", pairs_figure(found, sets))]
        sections += [("The closest pairs, by name", typeset_table(found.pairs.head(_SHOWN)))]
        if len(found.same_patient.pairs):
            sections.append((f"{TITLE}: the nearest", typeset_table(found.same_patient.pairs)))
        if len(found.doubles):
            sections.append(("Real images that are nearly one", found.doubles.head(200)))
        record |= {"pairs": close, "near-doubles": found.doubles, "passed over": passed}
        record |= {"same patient, the nearest": found.same_patient.pairs}
        with atomic(out.with_suffix(".pairs.csv")) as partial:
            without_formulas(found.pairs).to_csv(partial, index=False)
    if len(quality):
        sections.append(("Fidelity and diversity", typeset_table(quality)))
    banner = BANNER if with_images else ""
    about: dict[str, Any] = {"title": "Audit of synthetic images", "facts": facts, "verdict": found.verdict}
    write_report(out, **about, sections=sections, banner=banner)
    write_record(out.with_suffix(".json"), record)
    for figure in (shown for _, shown in sections if isinstance(shown, Figure)):
        plt.close(figure)
