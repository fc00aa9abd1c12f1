"""Labels by their names: what is asked of a generator in words, as the numbers that its `sample` takes."""

from collections.abc import Sequence

import numpy as np

from lib.cohorts.cohort import SPLITS, Cohort
from lib.training.gan.sampling import TrainedGenerator


def label_names(generator: TrainedGenerator, names: Sequence[str] = ()) -> list[str]:
    """The name of each label that the generator knows: `names`, or else its number; none where it was trained without.

    ValueError unless there are as many names as labels, all different.
    """
    known = generator.findings or (generator.classes if generator.classes > 1 else 0)
    if names and (len(names) != known or len(set(names)) < known):
        raise ValueError(f"{generator.name} knows {known} labels, and these are {', '.join(names)}: name each once")
    return list(names) or [str(label) for label in range(known)]


def labels_to_draw(
    generator: TrainedGenerator, n: int, *, label: str | None, names: Sequence[str]
) -> np.ndarray | None:  # fmt: skip
    """The labels of `n` images that `sample` takes: (n,) classes, (n, k) findings, or None where it knows none.

    label: the name of the one that all images have; None has them take turns, findings after an image without any.
    names: as `label_names` returns them. ValueError for a label that is not among them.
    """
    if label is not None and label not in names:
        known = f"choose one of {', '.join(names)}" if names else f"{generator.name} was trained without: give none"
        raise ValueError(f"unknown label {label!r}: {known}")
    if not names:
        return None
    if generator.findings:
        rows = np.eye(len(names) + 1, len(names), k=-1, dtype=np.int64)  # of no finding, and of each
        return rows[np.arange(n) % len(rows) if label is None else np.full(n, names.index(label) + 1)]
    return np.arange(n) % len(names) if label is None else np.full(n, names.index(label))


def labels_of_training(
    generator: TrainedGenerator, cohort: Cohort, *, names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """The labels of the training images of `cohort`, in their order, as `sample` takes them, and their names.

    names: as `label_names` returns them. ValueError, naming the cohort, where its labels are not those that the
    generator knows: classes or findings, as many, and of the same names if the generator's have names.
    """
    labels = cohort.labels[cohort.split == SPLITS["train"]]
    if not len(labels):
        raise ValueError(f"{cohort.name}: no training image; give the cohort that the generator was trained on")
    is_numbered = list(names) == [str(number) for number in range(len(names))]
    same_names = list(cohort.label_names) == list(names) or is_numbered and len(cohort.label_names) == len(names)
    if (labels.ndim == 2) != bool(generator.findings) or not same_names:
        has, knows = (("classes", "findings")[of] for of in (labels.ndim == 2, bool(generator.findings)))
        raise ValueError(
            f"{cohort.name} has the {has} {', '.join(cohort.label_names)}, and {generator.name} knows the {knows} "
            f"{', '.join(names) or '(none)'}: give the cohort that it was trained on"
        )
    return labels, list(cohort.label_names)


def label_columns(labels: np.ndarray | None, names: Sequence[str]) -> dict[str, list]:
    """Columns of a table of images with these `labels`: `label`, a name, or a column of 0 and 1 for each finding."""
    if labels is None:
        return {}
    if labels.ndim == 2:
        return {name: column.tolist() for name, column in zip(names, labels.T, strict=True)}
    return {"label": [names[label] for label in labels]}
