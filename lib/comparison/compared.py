"""What measures are computed from: the sets, the radiographs beside them, their features, classifiers of each set."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from torch import nn

from lib.cohorts.cohort import Cohort
from lib.core.seeding import numpy_generator, repetition_seeds, seed_of
from lib.features import extract
from lib.models.classifiers.factory import classifier
from lib.training.classifier.single_label import predict, train_classifier

TRAIN, HELDOUT = "train", "heldout"


class Tested(NamedTuple):
    """What the classifiers of each set are tested on."""

    images: np.ndarray  # (n, h, w) uint8
    finding: np.ndarray  # (n,) 0 or 1
    patient: np.ndarray  # (n,) int64


@dataclass(frozen=True, eq=False)
class Compared:
    """The sets that are measured, and the radiographs that they are measured against. What is costly is computed once.

    A `name` is that of a set; features are also those of `TRAIN` and `HELDOUT`.
    """

    sets: Mapping[str, Cohort]  # by name; the `patient` of an image is its origin
    train: Cohort  # the radiographs that the sets were made of
    heldout: Cohort  # of disjoint patients, whom no method has seen
    settings: SimpleNamespace  # of paper.yaml
    seed: int
    folder: Callable[[str], Path]  # name -> where what takes long is kept
    evaluation_classifier: nn.Module | None = None  # a finding classifier of validation patients
    known: Cohort | None = None  # further radiographs of the patients of both sides
    _found: dict[Hashable, object] = field(default_factory=dict, repr=False)

    def pixels(self, name: str) -> np.ndarray:
        """Grey values (n, d) in [0, 1]."""
        return self.once(("pixels", name), lambda: extract("pixels", self._images(name)))

    def learnt(self, name: str) -> np.ndarray:
        """Features (n, d) of the evaluation classifier. ValueError where there is none."""
        network = self.evaluation_classifier
        if network is None:
            raise ValueError("this measure needs the evaluation classifier: give evaluation_classifier=")
        return self.once(("learnt", name), lambda: extract(network, self._images(name)))

    def texture(self, name: str) -> np.ndarray:
        """Radiomics (n, 102)."""

        def texture() -> np.ndarray:
            return extract("radiomics", self._images(name), cache=self.folder("radiomics"))

        return self.once(("texture", name), texture)

    def classifiers(self, name: str) -> list[Callable[[], tuple[np.ndarray, ...]]]:
        """Tasks that train a classifier of the finding on the set, one a seed, or fetch it.

        Each returns its class probabilities of the radiographs `tested`, of the training and of the held-out ones.
        """
        seeds = repetition_seeds(self.seed, self.settings.utility_seeds)
        return [partial(self._trained_and_asked, name, seed) for seed in seeds]

    def answers(self, name: str) -> tuple[np.ndarray, ...]:
        """What `classifiers` return, on average over the seeds."""

        def mean() -> tuple[np.ndarray, ...]:
            found = (task() for task in self.classifiers(name))
            return tuple(np.mean(each, axis=0) for each in zip(*found, strict=True))

        return self.once(("answers", name), mean)

    @cached_property
    def tested(self) -> Tested:
        """Every radiograph of the held-out patients. ValueError where `known` was not given."""
        if self.known is None:
            raise ValueError("the further radiographs are tested on too: give known=")
        more = self.known[np.isin(self.known.patient, self.heldout.patient)]
        images = np.concatenate([self.heldout.images[:], more.images[:]])
        return Tested(
            images, np.append(self.heldout.labels, more.labels), np.append(self.heldout.patient, more.patient)
        )

    def draws(self, stream: str) -> dict:
        """Options of a bootstrap. Its random numbers start anew, so that every set meets the same resamples."""
        return {"draws": self.settings.bootstrap_draws, "rng": numpy_generator(self.seed, stream)}

    def once(self, key: Hashable, compute: Callable):
        """What `compute` returns, computed the first time that `key` is asked for."""
        if key not in self._found:
            self._found[key] = compute()
        return self._found[key]

    def _images(self, name: str) -> np.ndarray:
        return {TRAIN: self.train, HELDOUT: self.heldout, **self.sets}[name].images[:]

    def _trained_and_asked(self, name: str, seed: int) -> tuple[np.ndarray, ...]:
        s, cohort = self.settings, self.sets[name]
        asked = self.tested.images, self.train.images[:], self.heldout.images[:]
        model = classifier(s.classifier, classes=2, seed=seed_of(seed, "utility"))
        train_classifier(
            model,
            images=cohort.images[:],
            labels=cohort.labels,
            validation=(self.train.images[:], self.train.labels),
            epochs=s.utility_epochs,
            batch=s.batch,
            learning_rate=s.learning_rate,
            augment="none",
            select="last",
            seed=seed,
            checkpoint=self.folder(f"{name} {seed}"),
        )
        return tuple(predict(model, images) for images in asked)
