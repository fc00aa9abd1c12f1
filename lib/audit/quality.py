"""Fidelity and diversity of synthetic images in one table, beside held-out images as the yardstick.

Every measure compares a set with the training images. What it can reach at these numbers is what held-out images
reach.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib.metrics.diversity.prdc import dispersion, support
from lib.metrics.fidelity.intervals import bootstrap_frechet
from lib.metrics.fidelity.radiomics import scaled_together
from lib.metrics.fidelity.spectrum import high_frequency_share
from lib.metrics.fidelity.two_sample import artefact_test
from lib.statistics.bootstrap import bootstrap, bootstrap_auroc
from lib.statistics.weighted import WeightedRatio

_TREES = 50


def quality_rows(
    extract: Callable[[np.ndarray], np.ndarray],
    images: Mapping[str, np.ndarray],
    groups: Mapping[str, ArrayLike],
    *,
    most: int,
    subsets: int,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """A row for each measure: "synthetic" and "held-out" with interval, and what is better.

    extract: images (n, H, W) → features (n, d). images and groups (n,), patients, of "train", "heldout" and
    "synthetic". All sets are cut to the size of the smallest, at most `most` images, of as many patients as possible.
    Intervals: 95 %, resampling patients; of support and dispersion, which have none, the range over `subsets` random
    halves.
    Raises ValueError as the measures do, with fewer than ten patients above all.
    """
    fewest = min(most, *(len(part) for part in images.values()))
    rows = {name: _spread(groups[name], fewest, rng) for name in images}
    images = {name: part[rows[name]] for name, part in images.items()}
    features = {name: extract(part) for name, part in images.items()}
    patients = {name: np.asarray(of)[rows[name]] for name, of in groups.items()}
    found = {
        name: _measures(features, images, patients, name, subsets, draws, rng) for name in ("synthetic", "heldout")
    }
    table = []
    for measure, (better, interval) in _ABOUT.items():
        row = {"measure": measure}
        for column, name in (("synthetic", "synthetic"), ("held-out", "heldout")):
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), found[name][measure], strict=True))
        table.append(row | {"better": better, "interval": interval, "n of each": fewest})
    return table


def _spread(groups: ArrayLike, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (count,): a random image of each patient first, then a second one of each, and so on."""
    code = np.unique(np.asarray(groups), return_inverse=True)[1]
    order = rng.permutation(len(code))
    by_patient = order[np.argsort(code[order], kind="stable")]
    starts = np.searchsorted(code[by_patient], code[by_patient])
    turn = np.arange(len(code)) - starts
    return np.sort(by_patient[np.lexsort((rng.random(len(code)), turn))][:count])


def _measures(
    features: Mapping[str, np.ndarray],
    images: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
    name: str,
    subsets: int,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, tuple]:
    """Measure → value, low and high, of the set `name` against the training images."""
    real, other = (np.asarray(x) for x in scaled_together(real=features["train"], synthetic=features[name]))
    pair: dict[str, Any] = {"real": real, "synthetic": other}
    pair |= {"real_groups": groups["train"], "synthetic_groups": groups[name]}
    artefacts = artefact_test(**pair, trees=_TREES, rng=rng)
    share = high_frequency_share(images[name])
    mean = bootstrap(WeightedRatio(share, np.ones(len(share))), groups=groups[name], draws=draws, rng=rng)
    halves, half = [], len(real) // 2
    for _ in range(subsets):
        some: dict[str, Any] = {
            "real": real[rng.permutation(len(real))[:half]],
            "synthetic": other[rng.permutation(len(other))[:half]],
        }
        found = support(**some, k=min(5, half - 1))
        halves.append({**found._asdict(), "dispersion": dispersion(**some)})
    ranges = {measure: np.array([of[measure] for of in halves]) for measure in _OF_HALVES}
    return {
        _FRECHET: bootstrap_frechet(**pair, rng=rng).bounds,
        _ARTEFACTS: bootstrap_auroc(
            artefacts.labels, artefacts.scores, groups=artefacts.groups, draws=draws, rng=rng
        ).bounds,
        _FINE: mean.bounds,
        **{measure: (of.mean(), of.min(), of.max()) for measure, of in ranges.items()},
    }


_FRECHET, _ARTEFACTS = "Fréchet distance, radiomics (FRD v0)", "classifier two-sample test, AUROC"
_FINE = "power above 0.25 cycles a pixel"
_PATIENTS, _HALVES = "95 %, patients", "range of halves"
_ABOUT = {  # measure → what is better, what the interval is
    _FRECHET: ("as low as held-out", _PATIENTS),
    _ARTEFACTS: ("near 0.5", _PATIENTS),
    _FINE: ("as held-out", _PATIENTS),
    "precision": ("as high as held-out", _HALVES),
    "recall": ("as high as held-out", _HALVES),
    "density": ("as held-out", _HALVES),
    "coverage": ("as high as held-out", _HALVES),
    "dispersion": ("near 1", _HALVES),
}
_OF_HALVES = [measure for measure, (_, interval) in _ABOUT.items() if interval == _HALVES]
