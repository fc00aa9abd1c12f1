"""Images of private walks as cases: a trained generator and two classifiers in, a cohort out.

PLAN (Pennisi et al. 2023, spec §4.2) on anybody's cases: `lib.anonymise.latent_walk.plan` between two points of one
class, of which the inner images are the result. The ends, which no walk has moved, are left out.
"""

import numpy as np
import torch
from torch import Tensor, nn

from lib.anonymise.latent_walk.conditions import drawn
from lib.anonymise.latent_walk.endpoints import same_class_pairs
from lib.anonymise.latent_walk.plan import plan
from lib.anonymise.latent_walk.projection import projected
from lib.cohorts.cohort import Cohort
from lib.core.seeding import numpy_generator, torch_generator
from lib.training.gan.sampling import TrainedGenerator
from lib.training.gan.stylegan2 import StyleGAN2, class_means
from lib.training.loop.images import network_input, pixels

ENDS = ("drawn", "patients")


def walked_cases(
    cases: Cohort,
    *,
    generator: TrainedGenerator,
    identity: nn.Module,  # images -> logits of the training patients
    finding: nn.Module,  # images -> logits of the classes
    pairs: int,  # walks of each class
    ends: str = ENDS[0],
    seed: int,
    points: int = 50,  # of a walk, its two ends among them
    **options,  # of lib.anonymise.latent_walk.plan.plan
) -> Cohort:
    """The inner images of `pairs` walks of each class, walk after walk, as a cohort whose patients are the walks.

    generator: a StyleGAN2 that was trained on the labels of `cases`, which are grey. ends: "drawn" of the generator's
    own law, or "patients", the points that `projected` finds for training images, of another patient each. Images are
    uint8 (n, s, s), all of the training split. ValueError for unknown ends, a generator of another kind, size or number
    of classes, fewer than one pair, a class with too few patients, and what `plan` refuses.
    """
    if ends not in ENDS:
        raise ValueError(f"unknown ends {ends!r}: choose one of {', '.join(ENDS)}")
    if pairs < 1:
        raise ValueError(f"pairs is {pairs}: give at least 1")
    if cases.labels.ndim != 1:
        raise ValueError(f"{cases.name} has findings of which a case has any: give cases of one class each")
    if not isinstance(generator, StyleGAN2):
        raise ValueError(f"a walk needs the latent space of a stylegan2, and {generator.name} has none: give another")
    network, (*_, size) = generator.generator, cases.images.shape
    if (network.image_size, network.channels, network.classes) != (size, 1, len(cases.label_names)):
        is_it = f"{network.image_size} px, {network.channels} channel and {network.classes} classes"
        raise ValueError(
            f"the generator draws images of {is_it}, and {cases.name} has {size} px, 1 channel and "
            f"{len(cases.label_names)} classes: give one that was trained on such cases"
        )
    first, last, labels = (_drawn_ends if ends == "drawn" else _patients_ends)(cases, generator, pairs, seed)
    walks = plan(
        network.synthesis, identity=identity.to(generator.device), diagnosis=finding.to(generator.device),
        first=first, last=last, labels=labels, points=points, **options,
    ).latents  # fmt: skip
    inner = points - 2
    images = np.empty((len(walks) * inner, size, size), np.uint8)
    for number, walk in enumerate(drawn(network, walks[:, 1:-1])):
        images[number * inner : (number + 1) * inner] = pixels(walk)
    which = np.repeat(np.arange(len(walks)), inner)
    return Cohort(
        images, which, labels[which], np.zeros(len(images)), name=f"walks of {cases.name}", source="synthetic",
        label_names=cases.label_names, made_by=f"PLAN, {ends} ends, {pairs} walks of {points} points a class, "
        f"seed {seed}",
    )  # fmt: skip


def _drawn_ends(cases: Cohort, generator: StyleGAN2, pairs: int, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    labels, network = np.repeat(np.arange(len(cases.label_names)), pairs), generator.generator
    z = torch.randn(2, len(labels), network.latent, generator=torch_generator(seed, "walks", "ends"))
    of_class = torch.from_numpy(labels).to(generator.device)
    with torch.no_grad():
        first, last = (network.mapping(of, of_class) for of in z.to(generator.device))
    return first, last, labels


def _patients_ends(cases: Cohort, generator: StyleGAN2, pairs: int, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    train, rng = cases.subset("train"), numpy_generator(seed, "walks", "patients")
    found = []
    for code, name in enumerate(train.label_names):
        of_class = rng.permutation(np.flatnonzero(train.labels == code))
        some = of_class[np.sort(np.unique(train.patient[of_class], return_index=True)[1])]  # an image of each patient
        if len(some) < 2:
            raise ValueError(
                f"{cases.name} has {len(some)} training patients of {name}, and a walk joins two: give more"
            )
        found.append(some[: 2 * pairs])
    rows = np.concatenate(found)
    chosen = same_class_pairs(train.labels[rows], per_class=pairs, rng=rng)
    images = network_input(torch.from_numpy(train[rows].images[:]))[:, None].to(generator.device)
    start = class_means(generator.generator)[0][torch.from_numpy(train.labels[rows]).to(generator.device)].clone()
    points = projected(generator.generator.synthesis, images, start=start)
    return points[chosen.first], points[chosen.last], chosen.labels
