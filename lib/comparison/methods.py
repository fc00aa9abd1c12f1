"""The methods of the comparison: what each trains, and the set of images that it makes of the same radiographs.

A generator is compared when the comparison's paper.yaml names it; any other method is added by one entry below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from lib import generators
from lib.anonymise.ksame import Groups, k_salsa, k_same
from lib.anonymise.latent_walk.conditions import Conditions, walk_conditions
from lib.anonymise.latent_walk.endpoints import released, same_class_pairs
from lib.anonymise.vaegan.pp_vaegan import Weights, anonymise, train_pp_vaegan
from lib.cohorts.cohort import Cohort
from lib.cohorts.lung_segmentation import Lungs, segmented
from lib.comparison.controls import CONTAMINATION, GROUPS, NEGATIVE_CONTROL, POSITIVE_CONTROL
from lib.comparison.registry import Registry
from lib.core.seeding import numpy_generator
from lib.metrics.privacy.controls.contamination import inject_copies
from lib.models.gan.vaegan import VAE
from lib.training.gan.autodecoder import AutoDecoder

_NO_PATIENT = 10**6  # origins from here on are images, groups or walks, and no patients


class Made(NamedTuple):
    """A set of images as a method makes it."""

    images: np.ndarray  # (n, h, w) uint8
    labels: np.ndarray  # (n,) int, 1 with the finding
    origin: np.ndarray  # (n,) int, the patient, group or walk of each: images of one origin are resampled together


@dataclass(frozen=True, eq=False)
class Radiographs:
    """The training radiographs, and what a generator needs to be trained on them."""

    train: Cohort
    settings: SimpleNamespace  # of paper.yaml
    seed: int
    folder: Callable[[str], Path]  # name -> where the training of that name is kept

    @cached_property
    def images(self) -> np.ndarray:
        """(n, h, w) uint8."""
        return self.train.images[:]

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int, 1 with the finding."""
        return self.train.labels


@dataclass(frozen=True, eq=False)
class Materials(Radiographs):
    """What a set may be made of: the radiographs, the generators trained on them, and the auxiliary networks."""

    disjoint: Cohort  # as many radiographs, of disjoint patients
    trained: Callable[[str], Path]  # name of a generator -> the folder of its finished training
    decoder: AutoDecoder  # with one latent a training radiograph
    auxiliary: Mapping[str, Any]  # "identity" and "diagnosis": classifiers; "siamese": an embedding of identity

    @cached_property
    def groups(self) -> Groups:
        """Groups of k latents of one class, and their averages."""
        return k_same(self.decoder.latents, self.labels, k=self.settings.k)

    @cached_property
    def lungs(self) -> Lungs:
        """The lungs of each radiograph: the evidence of a finding of the chest."""
        return segmented(self.images)

    def drawn(self, latents: Tensor) -> np.ndarray:
        """What the decoder draws (n, h, w) of latents (n, ...)."""
        return self.decoder.sample(len(latents), latents=latents)


@dataclass(frozen=True)
class Method:
    """One method. ValueError for a name that no file can have."""

    name: str  # as it is printed
    group: str  # one of `GROUPS`
    make: Callable[[Materials], Made]
    train: Callable[[Radiographs], object] | None = None  # of a generator: leaves its training in `folder(name)`
    prepare: Callable[[Materials], object] | None = None  # what `make` finds done if it ran ahead; may be shared

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"method {self.name!r}: its set is a file of that name, so leave slashes out")


METHODS: Registry[Method] = Registry("method", GROUPS)


def preparations(materials: Materials) -> list[Callable[[], object]]:
    """What the methods prepare, each once: tasks to run ahead, in any order."""
    shared = dict.fromkeys(method.prepare for method in METHODS if method.prepare)
    return [partial(prepare, materials) for prepare in shared]


def generator(title: str, kind: str) -> Method:
    """A generator that lib.generators knows as `kind`, trained on the radiographs and their labels.

    It draws one image for each of the labels. The setting `kind` holds the options of its training.
    """

    def train(of: Radiographs) -> object:
        options = getattr(of.settings, kind)
        return generators.train(kind, of.images, of.labels, path=of.folder(title), seed=of.seed, **options)

    def make(of: Materials) -> Made:
        images = generators.load(of.trained(title)).sample(len(of.labels), labels=of.labels, seed=of.seed)
        return Made(images, of.labels, _NO_PATIENT + np.arange(len(images)))

    return Method(title, "generator", make, train=train)


def methods(settings: SimpleNamespace) -> Registry[Method]:
    """The generators that the setting `generators` names (title -> name in lib.generators), and all of `METHODS`."""
    compared: Registry[Method] = Registry("method", GROUPS)
    for entry in (*(generator(title, kind) for title, kind in settings.generators.items()), *METHODS):
        compared.register(entry)
    return compared


def _walks(of: Materials, stream: str, points: Tensor, classes: np.ndarray) -> Conditions:
    """Walks between `points` of one class, by every condition; `stream` names the random numbers that choose ends."""
    pairs = same_class_pairs(classes, per_class=of.settings.pairs, rng=numpy_generator(of.seed, stream))
    return walk_conditions(
        of.decoder.generator,
        identity=of.auxiliary["identity"],
        diagnosis=of.auxiliary["diagnosis"],
        first=points[pairs.first],
        last=points[pairs.last],
        labels=pairs.labels,
        path=of.folder(f"walks {stream}"),
        seed=of.seed,
        **of.settings.walk,
    )


def _walks_of_radiographs(of: Materials) -> Conditions:
    return _walks(of, "films", of.decoder.latents, of.labels)


def _walks_of_averages(of: Materials) -> Conditions:
    return _walks(of, "averages", of.groups.averages, of.groups.labels)


def _along(walks: Callable[[Materials], Conditions], condition: str) -> Callable[[Materials], Made]:
    """As many images of each class as there are radiographs, from inside the walks of one condition."""

    def made(of: Materials) -> Made:
        every, counts = walks(of), dict(enumerate(np.bincount(of.labels)))
        rng = numpy_generator(of.seed, "released", condition)
        some = released(getattr(every, condition), every.labels, per_class=counts, rng=rng)
        return Made(of.drawn(some.latents), some.labels, _NO_PATIENT + some.walk)

    return made


def _one_for_each_member(of: Materials, latents: Tensor) -> Made:
    """The image of each group's latent, released once for each radiograph that it stands for."""
    return Made(of.drawn(latents)[of.groups.group], of.labels, _NO_PATIENT + of.groups.group)


def _k_same(of: Materials) -> Made:
    return _one_for_each_member(of, of.groups.averages)


def _k_salsa(of: Materials) -> Made:
    latents = k_salsa(
        of.decoder.generator.synthesis,
        content=of.auxiliary["diagnosis"].features,
        style=_neighbourhoods,
        latents=of.decoder.latents,
        group=of.groups.group,
        **of.settings.salsa,
    )
    return _one_for_each_member(of, latents)


def _neighbourhoods(images: Tensor) -> Tensor:
    """(n, 1, h, w) -> (n, 9, h, w): each pixel and its eight neighbours."""
    return F.unfold(images, 3, padding=1).unflatten(2, images.shape[2:])


def _reconstructed(of: Materials) -> Made:
    return Made(of.drawn(of.decoder.latents), of.labels, of.train.patient)


def _pp_vaegan(of: Materials, privacy: str, identity: str) -> VAE:
    """The anonymiser whose privacy loss is `privacy`, that of the network `identity`."""
    return train_pp_vaegan(
        of.images,
        of.lungs.masks,
        np.unique(of.train.patient, return_inverse=True)[1],
        identity=of.auxiliary[identity],
        finding=of.auxiliary["diagnosis"],
        privacy=privacy,
        weights=Weights(**(of.settings.weights | of.settings.privacy[privacy])),
        path=of.folder(privacy),
        seed=of.seed,
        **of.settings.anonymiser,
    )


def _pp_mir(of: Materials) -> VAE:
    return _pp_vaegan(of, "posterior", "identity")


def _pp_sir(of: Materials) -> VAE:
    return _pp_vaegan(of, "distance", "siamese")


def _anonymised(anonymiser: Callable[[Materials], VAE]) -> Callable[[Materials], Made]:
    def made(of: Materials) -> Made:
        return Made(anonymise(anonymiser(of), of.images, of.lungs.masks, seed=of.seed), of.labels, of.train.patient)

    return made


def _memorised(of: Materials) -> Made:
    return Made(of.images, of.labels, of.train.patient)


def _contaminated(of: Materials) -> Made:
    rng = numpy_generator(of.seed, "leak")
    leak = inject_copies(of.disjoint.images[:], source=of.images, share=of.settings.leak, rng=rng)
    labels, origin = of.disjoint.labels.copy(), of.disjoint.patient.copy()
    labels[leak.at], origin[leak.at] = of.labels[leak.copied], of.train.patient[leak.copied]
    return Made(leak.images, labels, origin)


def _disjoint(of: Materials) -> Made:
    return Made(of.disjoint.images[:], of.disjoint.labels, of.disjoint.patient)


for _entry in (
    Method("linear walk", "walk", _along(_walks_of_radiographs, "linear"), prepare=_walks_of_radiographs),
    Method("PLAN", "walk", _along(_walks_of_radiographs, "plan"), prepare=_walks_of_radiographs),
    Method("k-Same", "average", _k_same),
    Method("LCI", "average", _along(_walks_of_averages, "linear"), prepare=_walks_of_averages),
    Method("k-SALSA", "average", _k_salsa),
    Method("auto-decoder", "anonymised", _reconstructed),
    Method("PP-MIR", "anonymised", _anonymised(_pp_mir), prepare=_pp_mir),
    Method("PP-SIR", "anonymised", _anonymised(_pp_sir), prepare=_pp_sir),
    Method(POSITIVE_CONTROL, "control", _memorised),
    Method(CONTAMINATION, "control", _contaminated),
    Method(NEGATIVE_CONTROL, "control", _disjoint),
):
    METHODS.register(_entry)
