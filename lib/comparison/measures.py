"""The measures of the comparison: what each computes of a set, with its interval.

A measure is added by one entry below and by the function that computes it. The AUROC of each attack is a criterion of
the comparison as well; `lib.comparison.attacks` holds those.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lib.comparison.attacks import ATTACKS
from lib.comparison.compared import HELDOUT, TRAIN, Compared
from lib.comparison.criteria import GROUPS, Criterion
from lib.comparison.registry import Registry
from lib.core.seeding import numpy_generator
from lib.metrics.diversity.ms_ssim import fitting_scales, label_pairs, ms_ssim
from lib.metrics.diversity.prdc import Inside, inside
from lib.metrics.fidelity.intervals import bootstrap_frechet, subsample_kernel
from lib.metrics.fidelity.radiomics import scaled_together
from lib.metrics.neighbours.search import nearest
from lib.metrics.privacy.attacks.target_classifier import membership_inference
from lib.metrics.privacy.copying.authenticity import authentic
from lib.metrics.privacy.copying.data_copying import DataCopying
from lib.statistics.bootstrap import Interval, bootstrap, bootstrap_auroc
from lib.statistics.weighted import WeightedRatio

_BEYOND_PATIENTS = 10**9  # origins of a set's images from here on: none equals a held-out patient


@dataclass(frozen=True, kw_only=True)
class Measure(Criterion):
    """A criterion that is computed of one set at a time."""

    evaluate: Callable[[Compared, str], Interval]  # the set's name -> value and interval
    prepare: Callable[[Compared, str], Sequence[Callable[[], object]]] | None = None  # tasks that may run ahead
    is_ranked: bool = True  # whether it counts in the heat map and in ranks; otherwise it is shown in its table alone
    is_distance: bool = False  # above 0 and of many sizes: plotted on a logarithmic axis


MEASURES: Registry[Measure] = Registry("measure", GROUPS)


def ranked() -> tuple[Criterion, ...]:
    """Every criterion that counts, the attacks of a group before its measures.

    ValueError where an attack and a measure share a name.
    """
    every: list[Criterion] = []
    for group in GROUPS:
        every += [*ATTACKS.of(group), *(measure for measure in MEASURES.of(group) if measure.is_ranked)]
    names = [criterion.name for criterion in every]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"an attack and a measure share the name {sorted(twice)[0]!r}: give each its own name")
    return tuple(every)


def evaluate(of: Compared, *groups: str) -> dict[str, dict[str, Interval]]:
    """Every measure of the groups on every set: set -> measure -> interval."""
    return {name: {measure.name: measure.evaluate(of, name) for measure in MEASURES.of(*groups)} for name in of.sets}


def preparations(of: Compared, *groups: str) -> list[Callable[[], object]]:
    """Tasks that the measures of these groups may run ahead, in any order, each set's of each."""
    prepare = [measure.prepare for measure in MEASURES.of(*groups) if measure.prepare]
    return [task for tasks in prepare for name in of.sets for task in tasks(of, name)]


def frame(found: Mapping[str, Mapping[str, Interval]]) -> pd.DataFrame:
    """A row a set, with value and ends of each measure."""
    rows = []
    for name, of in found.items():
        row = {"set": name}
        for measure, interval in of.items():
            row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), interval.bounds, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def replicates(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, np.ndarray]:
    """Of each measure the value, ends and draws on every set (sets, 3 + draws), as ranks are made of."""
    measures = next(iter(found.values()))
    return {m: np.stack([MEASURES[m].replicates(of[m]) for of in found.values()]) for m in measures}


def _frechet(of: Compared, name: str) -> Interval:
    return _distance(of, name, bootstrap_frechet, of.learnt(HELDOUT), of.learnt(name))


def _kernel(of: Compared, name: str) -> Interval:
    return _distance(of, name, subsample_kernel, of.learnt(HELDOUT), of.learnt(name))


def _radiomics(of: Compared, name: str) -> Interval:
    return _distance(
        of, name, bootstrap_frechet, *scaled_together(real=of.texture(HELDOUT), synthetic=of.texture(name))
    )


def _distance(of: Compared, name: str, distance: Callable[..., Interval], real, synthetic) -> Interval:
    groups = {"real_groups": of.heldout.patient, "synthetic_groups": of.sets[name].patient}
    return distance(real=real, synthetic=synthetic, **groups, **of.draws("patients"))


def _inside(of: Compared, name: str) -> Inside:
    real, synthetic = of.learnt(HELDOUT), of.learnt(name)
    return of.once(("inside", name), lambda: inside(real=real, synthetic=synthetic, k=of.settings.neighbours))


def _share_of_set(which: str, of: Compared, name: str) -> Interval:
    """Precision or density: a mean over the set's images."""
    return bootstrap(
        WeightedRatio(getattr(_inside(of, name), which)), groups=of.sets[name].patient, **of.draws("origins")
    )


def _share_of_radiographs(which: str, of: Compared, name: str) -> Interval:
    """Recall or coverage: a mean over the held-out radiographs."""
    return bootstrap(
        WeightedRatio(getattr(_inside(of, name), which)), groups=of.heldout.patient, **of.draws("patients")
    )


def _ms_ssim(of: Compared, name: str) -> Interval:
    """MS-SSIM of pairs of images of one finding; a pair weighs as often as both of its origins were drawn."""
    cohort, s = of.sets[name], of.settings
    images, classes = cohort.images[:], np.stack([cohort.labels == 0, cohort.labels == 1], axis=1).astype(int)
    pairs = label_pairs(classes, pairs=s.similarity_pairs // 2, rng=numpy_generator(of.seed, "pairs"))
    first, second = np.concatenate(pairs).T
    values = ms_ssim(images[first], images[second], data_range=255, scales=fitting_scales(images.shape[1]))
    mean = WeightedRatio(values)
    return bootstrap(lambda w: mean(w[:, first] * w[:, second]), groups=cohort.patient, **of.draws("origins"))


def _distance_ratio(of: Compared, name: str) -> Interval:
    """Mean distance to the nearest image of the set: of training over that of held-out radiographs."""
    real = np.concatenate([of.pixels(TRAIN), of.pixels(HELDOUT)])
    near, member = nearest(real, of.pixels(name)).distances[:, 0], np.arange(len(real)) < len(of.train)
    inner, outer = (WeightedRatio(near * side, side) for side in (member, ~member))
    patients = np.concatenate([of.train.patient, of.heldout.patient])
    return bootstrap(lambda w: inner(w) / outer(w), groups=patients, **of.draws("patients"))


def _authenticity(of: Compared, name: str) -> Interval:
    share = WeightedRatio(authentic(train=of.pixels(TRAIN), synthetic=of.pixels(name)))
    return bootstrap(share, groups=of.sets[name].patient, **of.draws("origins"))


def _data_copying(of: Compared, name: str) -> Interval:
    sets = {"train": of.pixels(TRAIN), "heldout": of.pixels(HELDOUT), "synthetic": of.pixels(name)}
    test = DataCopying(**sets, cells=of.settings.cells, rng=numpy_generator(of.seed, "cells"))
    return bootstrap(
        test, groups=np.append(of.heldout.patient, _BEYOND_PATIENTS + of.sets[name].patient), **of.draws("origins")
    )


def _utility(of: Compared, name: str) -> Interval:
    scores = of.answers(name)[0][:, 1]
    return bootstrap_auroc(of.tested.finding, scores, groups=of.tested.patient, **of.draws("patients"))


def _attack_on_the_classifier(of: Compared, name: str) -> Interval:
    """Balanced accuracy of membership inference against the classifiers that were trained on the set."""
    _, member, nonmember = of.answers(name)
    found = membership_inference(
        member=member,
        nonmember=nonmember,
        member_labels=of.train.labels,
        nonmember_labels=of.heldout.labels,
        member_groups=of.train.patient,
        nonmember_groups=of.heldout.patient,
        **of.draws("attack"),
    )
    return found.accuracy


_BOTH = "patients and origins"
for _entry in (
    Measure(
        name="Fréchet",
        group="fidelity",
        better="lower",
        interval="subsets",
        over=_BOTH,
        evaluate=_frechet,
        is_distance=True,
    ),
    Measure(name="kernel", group="fidelity", better="lower", interval="subsets", over=_BOTH, evaluate=_kernel),
    Measure(
        name="FRD",
        group="fidelity",
        better="lower",
        interval="subsets",
        over=_BOTH,
        evaluate=_radiomics,
        is_distance=True,
    ),
    Measure(
        name="precision",
        group="fidelity",
        better="higher",
        over="origins",
        evaluate=partial(_share_of_set, "precision"),
    ),
    Measure(
        name="density", group="fidelity", better="nearer", over="origins", evaluate=partial(_share_of_set, "density")
    ),
    Measure(name="recall", group="diversity", better="higher", evaluate=partial(_share_of_radiographs, "recall")),
    Measure(name="coverage", group="diversity", better="higher", evaluate=partial(_share_of_radiographs, "coverage")),
    Measure(name="MS-SSIM", group="diversity", better="nearer", over="origins", evaluate=_ms_ssim),
    Measure(
        name="distance ratio",
        group="privacy",
        better="higher",
        neutral=1.0,
        copies_are_worst=True,
        evaluate=_distance_ratio,
    ),
    Measure(
        name="authenticity",
        group="privacy",
        better="higher",
        over="origins",
        copies_are_worst=True,
        evaluate=_authenticity,
    ),
    Measure(name="C_T", group="privacy", better="higher", over=_BOTH, neutral=0.0, evaluate=_data_copying),
    Measure(
        name="AUROC on real radiographs",
        group="utility",
        better="higher",
        neutral=0.5,
        evaluate=_utility,
        prepare=Compared.classifiers,
    ),
    Measure(
        name="attack on the classifier",
        group="utility",
        better="lower",
        neutral=0.5,
        is_ranked=False,
        evaluate=_attack_on_the_classifier,
    ),
):
    MEASURES.register(_entry)
