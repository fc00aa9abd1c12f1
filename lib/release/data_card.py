"""The data card of a release, in the order of Datasheets for Datasets (Gebru et al. 2021), as Markdown.

What the images are is counted here; what nobody but their makers knows comes from a YAML file of facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lib.cohorts.cohort import Cohort
from lib.core.yaml_mappings import line_of, read_mapping
from lib.metrics.fidelity.gate import COVERAGE, WIDTH, Fidelity

FACTS = {  # key of the file of facts -> what it says
    "purpose": "for what the images were made",
    "origin": "the real images that the method was trained on, and under which approval",
    "method": "how they were made: the method, its settings, the paper",
    "privacy": "a formal guarantee: ε, δ, of what (patient or image), by which accountant",
    "uses": "for what they may be used, and for what not",
    "licence": "under which they are shared",
    "contact": "who answers questions",
}
_MEASURES = {
    "coverage": "coverage of the training images", "coverage_disjoint": "the same by held-out images",
    "precision": "precision", "recall": "recall", "sd_of_means": "SD of the images' means, over that of real images",
    "sd_of_pixels": "SD of pixels, over that of real images",
}  # fmt: skip
_NOT_STATED = "Not stated."


def read_facts(path: str | Path) -> dict[str, str]:
    """The file of facts at `path`: any of the keys of FACTS, each a text.

    Raises ValueError, naming file and line, for another key, a value that is no text, and what is no YAML mapping;
    FileNotFoundError for an absent file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of facts; give YAML with any of {', '.join(FACTS)}")
    content, tree = read_mapping(path)
    for key, value in content.items():
        if key not in FACTS or not isinstance(value, str):
            why = "is no text" if key in FACTS else "is unknown"
            raise ValueError(f"{path}:{line_of(tree, (key,))}: {key} {why}; give texts for any of {', '.join(FACTS)}")
    return {key: value.strip() for key, value in content.items()}


def data_card(
    cohort: Cohort,
    *,
    facts: Mapping[str, str],
    status: str,
    because: Sequence[str],
    found: Fidelity | None,
    short: Sequence[str],
    made: Mapping[str, str],
    files: Mapping[str, str],
) -> str:
    """The card of the synthetic images `cohort`.

    facts: those of `read_facts`. status: in a line, whether they are releasable; because: the sentences of the audit.
    found: what the fidelity gate measured, None if it could not; short: its shortfalls. made: date, revision, seed and
    the like. files: what is in the release, name -> what it is.
    """
    size = "×".join(map(str, cohort.images.shape[1:]))
    lines = [f"# Data card: {cohort.name}", "", f"**{status}**", ""]
    lines += ["## Motivation", "", facts.get("purpose", _NOT_STATED), ""]
    lines += ["## Composition", "", f"{len(cohort):,} synthetic images of {size} pixels.", ""]
    lines += ["| label | images |", "|---|--:|", *(f"| {_cell(k)} | {n:,} |" for k, n in _counts(cohort).items()), ""]
    lines += [*(f"* `{name}`: {what}" for name, what in files.items()), ""]
    lines += ["## Collection process", "", f"Trained on: {facts.get('origin', _NOT_STATED)}", ""]
    lines += [f"Method: {facts.get('method', cohort.made_by or _NOT_STATED)}", ""]
    lines += ["## Fidelity", "", *_fidelity(found, short), ""]
    lines += ["## Privacy", "", *(f"* {says}" for says in because), ""]
    guarantee = facts.get("privacy", "None is stated. An audit is no guarantee: only a mechanism can give one.")
    lines += [f"Formal guarantee: {guarantee}", ""]
    lines += ["## Uses", "", facts.get("uses", "Not for diagnosis. Otherwise not stated."), ""]
    lines += ["## Distribution", "", f"Licence: {facts.get('licence', _NOT_STATED)}", ""]
    lines += ["## Maintenance", "", f"Contact: {facts.get('contact', _NOT_STATED)}", ""]
    lines += [*(f"* {name}: {value}" for name, value in made.items()), ""]
    return "\n".join(lines)


def _counts(cohort: Cohort) -> dict[str, int]:
    labels, names = cohort.labels, cohort.label_names
    if labels.ndim == 1:
        return {name: int((labels == code).sum()) for code, name in enumerate(names)}
    return {name: int(column.sum()) for name, column in zip(names, labels.T, strict=True)} | {
        "none of these": int((labels.sum(axis=1) == 0).sum())
    }


def _fidelity(found: Fidelity | None, short: Sequence[str]) -> list[str]:
    if found is None:
        return [f"Not known: {'; '.join(short)}."]
    rows = [f"| {_MEASURES[name]} | {value:.3f} |" for name, value in asdict(found).items()]
    asked = f"coverage of {COVERAGE:g} of what held-out images reach, and SDs within {100 * WIDTH:g} % of real ones"
    says = f"The gate ({asked}) is passed." if not short else f"The gate ({asked}) is not passed: {'; '.join(short)}."
    return [says, "", "| of 48 principal components of the pixels | |", "|---|--:|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
