"""Is a generator faithful enough that its privacy and its use say something? A gate, declared before any run.

Precision alone is no gate: the mean image of a class plus noise lies inside the real images' support.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.metrics.diversity.prdc import support
from lib.statistics.repetitions import Estimate

COMPONENTS, NEIGHBOURS, IMAGES = 48, 5, 600
COVERAGE, WIDTH, LABELS, SEEN = 0.5, 0.2, 0.8, 0.6  # the limits, in the order of `shortfalls`
_ROUNDING = 1e-9  # a limit that is met exactly is met


@dataclass(frozen=True)
class Fidelity:
    """What one repetition's generator reaches beside real images of further patients; see `fidelity`."""

    coverage: float
    coverage_disjoint: float
    precision: float
    recall: float
    sd_of_means: float  # ratio, synthetic over real: of the image means' SD over images
    sd_of_pixels: float  # ratio, synthetic over real: of the root mean square over pixels of their SD over images


def fidelity(
    *, real: ArrayLike, disjoint: ArrayLike, synthetic: ArrayLike, rng: np.random.Generator, images: int = IMAGES
) -> Fidelity:
    """Compare synthetic images (m, ...) with `real` ones (n, ...) of training, beside real ones of `disjoint` patients.

    Coverage, precision and recall of the first 48 principal components of the pixels of `real`, with k = 5; all three
    sets have the same number of `images`, or the fewest that one has, drawn without replacement. Raises ValueError
    for images of different sizes, or fewer than 48 of a set.
    """
    sets = {"real": np.asarray(real), "disjoint": np.asarray(disjoint), "synthetic": np.asarray(synthetic)}
    fewest = min(images, *map(len, sets.values()))
    for name, of in sets.items():
        if of.shape[1:] != sets["real"].shape[1:]:
            raise ValueError(f"{name} images are {of.shape[1:]} and real ones {sets['real'].shape[1:]}: give one size")
        if len(of) < COMPONENTS:
            raise ValueError(f"{name} holds {len(of)} images: the gate needs {COMPONENTS} or more of each set")
    chosen = {name: of[np.sort(rng.permutation(len(of))[:fewest])].reshape(fewest, -1) for name, of in sets.items()}
    chosen = {name: of.astype(np.float32) for name, of in chosen.items()}
    means, pixels = (
        [of(chosen[name]) for name in ("synthetic", "real")]
        for of in (lambda rows: rows.mean(axis=1).std(), lambda rows: rows.var(axis=0).mean() ** 0.5)
    )
    if min(means[1], pixels[1]) == 0:
        raise ValueError("the real images are all equal: there is nothing to be faithful to")
    from sklearn.decomposition import PCA  # a second to import, which whoever imports this module need not pay

    # Of vertebral units, the first components alone take a third of the time of all 600.
    solver = "arpack" if fewest > COMPONENTS else "full"
    space = PCA(COMPONENTS, svd_solver=solver, random_state=0).fit(chosen["real"])
    real_rows, further, made = (space.transform(of) for of in chosen.values())
    found = support(real=real_rows, synthetic=made, k=NEIGHBOURS)
    reached = support(real=real_rows, synthetic=further, k=NEIGHBOURS).coverage
    ratios = (float(of[0] / of[1]) for of in (means, pixels))
    return Fidelity(found.coverage, reached, found.precision, found.recall, *ratios)


def shortfalls(
    found: Sequence[Fidelity], *, on_real: Estimate | None = None, on_synthetic: Estimate | None = None
) -> list[str]:
    """Why the gate is not passed, a sentence each; empty where it is. It is decided by means over all repetitions.

    Coverage is at least half of what disjoint patients reach; both SDs are within 20 % of the real ones, in the mean of
    the distances, so that one too narrow and one too wide do not make a faithful one; and, for a
    generator of labelled images, (g − ½) ≥ .8 (r − ½) with r and g the AUROC of a classifier of real images
    `on_real` images and `on_synthetic` ones: asked only where r's 95 % interval lies above .6. Raises ValueError
    without a repetition, and where one AUROC is given without the other.
    """
    if not found:
        raise ValueError("no repetition was measured: the gate needs all of them")
    if (on_real is None) != (on_synthetic is None):
        raise ValueError("the gate needs the AUROC on real and on synthetic images, or neither")
    mean = {name: float(np.mean([getattr(of, name) for of in found])) for name in vars(found[0])}
    reasons = []
    if mean["coverage_disjoint"] == 0:
        reasons.append("disjoint patients cover none of the real images: coverage says nothing here")
    elif not mean["coverage"] >= COVERAGE * mean["coverage_disjoint"] - _ROUNDING:
        reasons.append(f"coverage {mean['coverage']:.2f}, disjoint patients reach {mean['coverage_disjoint']:.2f}")
    for name, what in (("sd_of_means", "image means"), ("sd_of_pixels", "pixels")):
        away = float(np.mean([abs(getattr(of, name) - 1) for of in found]))
        if not away <= WIDTH + _ROUNDING:
            mixed = f", and {away:.2f} away from it in the mean" if abs(mean[name] - 1) <= WIDTH + _ROUNDING else ""
            reasons.append(f"the SD of {what} is {mean[name]:.2f} of that of real images{mixed}")
    if on_real is not None and on_synthetic is not None and _is_seen(on_real):
        r, g = on_real.value, on_synthetic.value
        if not g - 0.5 >= LABELS * (r - 0.5) - _ROUNDING:
            reasons.append(f"a classifier of real images sees the labels with AUROC {g:.2f}, in real images {r:.2f}")
    return reasons


def outcome(reasons: Sequence[str], *, on_real: Sequence[Estimate] = ()) -> str:
    """What a table says of the gate: the `reasons` of `shortfalls`, or "passed", and whether labels were among it.

    `on_real` are the AUROCs, one for each label, that `shortfalls` was given: without one, or where none lies clearly
    above .6, labels were not tested.
    """
    return "; ".join(reasons) or ("passed" if any(map(_is_seen, on_real)) else "passed, labels not tested")


def _is_seen(on_real: Estimate) -> bool:
    """Whether a classifier of real images clearly sees a label in real images, so that it may be asked elsewhere."""
    return on_real.interval()[0] > SEEN
