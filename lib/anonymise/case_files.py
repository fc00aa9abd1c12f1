"""Cases from a file, anonymised into a file: classifiers, the network that they guide, and what it draws of all cases.

The workflow of Montenegro et al. 2021 (README of the released code) on anybody's cases: grey images with a patient, a
finding, a split and a mask each, as `lib.cohorts.io.case_hdf5.open_cases` reads them. Each training lies in a folder of
its own and goes on where it stopped. Cases come out in the file format in which they came in.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from lib.anonymise.ksame import average_with_nearest_people
from lib.anonymise.vaegan.counterfactual import load_counterfactual, train_counterfactual
from lib.anonymise.vaegan.pp_vaegan import Weights, anonymise, load_pp_vaegan, train_pp_vaegan
from lib.cohorts.cohort import Cohort
from lib.core.files import atomic
from lib.core.json_objects import read_object
from lib.core.seeding import initialising
from lib.models.classifiers.identity import ConvClassifier
from lib.models.gan.vaegan import VAE
from lib.training.classifier.siamese import load_embedding, train_siamese
from lib.training.classifier.single_label import load_classifier, train_classifier
from lib.training.loop import store

_SHAPE = "classifier.json"  # beside a classifier's weights: its sizes, of which they do not tell


class Method(NamedTuple):
    """How an anonymiser is trained."""

    privacy: str  # see `lib.anonymise.vaegan.guidance`
    weights: Weights
    epochs: int  # published
    identity: str  # what guides it: a classifier of patients, an embedding, or nothing


METHODS = {  # spec §5.2 and §5.3
    "pp-mir": Method("posterior", Weights(), 2000, "classifier"),
    "pp-sir": Method("distance", Weights(privacy=10.0, source=5.0), 4000, "embedding"),
    "none": Method("none", Weights(privacy=0.0), 2000, "nothing"),
}
TASKS = {"identity": "patient", "finding": "labels"}


def train_known(
    cases: Cohort, *, task: str, path: str | Path, seed: int, epochs: int = 300, batch: int = 64, width: int = 32
) -> nn.Module:  # fmt: skip
    """Train the classifier of a patient or a finding (TASKS), or finish or fetch the one in `path`; in eval mode.

    ValueError for an unknown task, patients without a training image, and what `train_classifier` refuses.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
    train, validation = (cases.subset(name) for name in ("train", "validation"))
    truth = [getattr(part, TASKS[task]) for part in (train, validation)]
    classes = int(max(of.max() for of in truth)) + 1
    if task == "identity" and (unknown := classes - len(np.unique(truth[0]))):
        raise ValueError(
            f"{cases.name}: {unknown} of the patients 0 to {classes - 1} have no training image, and a classifier "
            "knows only those that have; give each some images in every split"
        )
    sizes = {"image_size": cases.images.shape[-1], "classes": classes, "width": width}
    with initialising(seed, task):
        model = ConvClassifier(**sizes)
    train_classifier(
        model, images=train.images[:], labels=truth[0], validation=(validation.images[:], truth[1]), epochs=epochs,
        batch=batch, learning_rate=2e-4, select="balanced_accuracy" if task == "identity" else "auprc",
        augment="none", seed=seed, checkpoint=path,
    )  # fmt: skip
    with atomic(Path(path) / _SHAPE) as partial:
        partial.write_text(json.dumps(sizes), encoding="utf-8")
    return model.eval()


def load_known(path: str | Path) -> nn.Module:
    """The classifier that `train_known` left in `path`. FileNotFoundError if none is there, ValueError if damaged."""
    file = Path(path) / _SHAPE
    if not file.exists():
        raise FileNotFoundError(f"{path}: no trained classifier; train it first")
    try:
        model = ConvClassifier(**{name: int(size) for name, size in read_object(file).items()})
    except TypeError as error:
        raise ValueError(f"{file}: damaged; train the classifier again") from error
    return load_classifier(model, path)


def train_embedding(
    cases: Cohort, *, path: str | Path, seed: int, epochs: int = 300, batch: int = 64, width: int = 32
) -> nn.Module:  # fmt: skip
    """Train the embedding of patients that guides PP-SIR, or finish or fetch the one in `path`; in eval mode."""
    train = cases.subset("train")
    steps = _steps(epochs, batch, train)
    return train_siamese(train.images[:], train.patient, path=path, seed=seed, steps=steps, batch=batch, width=width)


def train_anonymiser(
    cases: Cohort,
    *,
    method: str,
    finding: str | Path,
    identity: str | Path | None,
    path: str | Path,
    seed: int,
    epochs: int | None = None,
    batch: int = 64,
    width: int = 256,
    learning_rate: float = 2e-5,
) -> nn.Module:
    """Train an anonymiser (METHODS) of cases with masks, or finish or fetch the one in `path`; in eval mode.

    finding: the folder of a classifier of findings; identity: of patients, or of an embedding for pp-sir; None for
    none. epochs: the published ones unless given. ValueError for an unknown method, cases without masks, an identity
    that the method misses or does not take, and what `train_pp_vaegan` refuses.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    of, train = METHODS[method], with_masks(cases).subset("train")
    if (identity is None) != (of.identity == "nothing"):
        raise ValueError(
            f"{method} is guided by {of.identity}: give {'no' if identity else 'the folder of its'} identity"
        )
    load = load_known if of.identity == "classifier" else load_embedding
    return train_pp_vaegan(
        train.images[:], train.masks[:], train.patient, finding=load_known(finding),
        identity=None if identity is None else load(identity), privacy=of.privacy, weights=of.weights, path=path,
        seed=seed, steps=_steps(of.epochs if epochs is None else epochs, batch, train), batch=batch, width=width,
        learning_rate=learning_rate,
    )  # fmt: skip


def train_opposite(
    cases: Cohort,
    *,
    anonymiser: str | Path,
    finding: str | Path,
    path: str | Path,
    seed: int,
    epochs: int = 1000,
    batch: int = 64,
    learning_rate: float = 2e-5,
) -> nn.Module:
    """Train the decoder of counterfactual cases of an anonymiser, or finish the one in `path`; in eval mode."""
    train = with_masks(cases).subset("train")
    return train_counterfactual(
        opened_anonymiser(anonymiser), train.images[:], train.masks[:], finding=load_known(finding), path=path,
        seed=seed, steps=_steps(epochs, batch, train), batch=batch, learning_rate=learning_rate,
    )  # fmt: skip


def anonymised(
    cases: Cohort, *, anonymiser: str | Path, counterfactual: str | Path | None = None, seed: int
) -> Cohort:  # fmt: skip
    """All `cases` as an anonymiser draws them, and with the opposite finding if a counterfactual decoder is given.

    anonymiser: the folder of a finished training, or the name of one in weights/. The result has the patients, labels,
    splits and masks of the originals: whose case it was is what the images hide, and not the table.
    """
    whole = with_masks(cases)
    decoder = None if counterfactual is None else load_counterfactual(counterfactual)
    drawn = anonymise(opened_anonymiser(anonymiser), whole.images[:], whole.masks[:], seed=seed, decoder=decoder)
    how = f"anonymised by {anonymiser}" + (f", counterfactual by {counterfactual}" if counterfactual else "")
    return whole.with_images(drawn, value_range=(0, 255), made_by=f"{how}, seed {seed}")


def averaged(cases: Cohort, *, k: int, within_class: bool = True) -> Cohort:
    """Each case averaged with the nearest of k − 1 other people (k-Same-Select; k-Same unless `within_class`)."""
    labels = cases.labels if within_class else None
    every = np.ones(len(cases), bool)
    drawn = average_with_nearest_people(cases.images[:], cases.patient, gallery=every, k=k, labels=labels)
    return cases.with_images(drawn, made_by=f"k-Same, k {k}, {'within' if within_class else 'across'} findings")


def opened_anonymiser(folder_or_name: str | Path) -> VAE:
    """The anonymiser of a finished training, or of that name in weights/."""
    is_stored = str(folder_or_name) in store.stored_names() and not Path(folder_or_name).exists()
    return load_pp_vaegan(store.STORE / str(folder_or_name) if is_stored else folder_or_name)


def with_masks(cases: Cohort) -> Cohort:
    """`cases`; ValueError if they have no masks."""
    if cases.masks is None:
        raise ValueError(f"{cases.name}: no masks; give the file of masks too")
    return cases


def _steps(epochs: int, batch: int, train: Cohort) -> int:
    return max(1, epochs * max(1, len(train) // batch))
